"""Routes of OpenAI's and Anthropic's APIs that are absent here by choice: each says so, and what to do instead.

They need no key and stand in no document; docs/gateway.md lists them.
"""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Request

from server.errors import ApiError

router = APIRouter(include_in_schema=False)

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
KEPT = "what is kept is at /api/conversations, to read and to delete"
BATCHES = "no batches are taken: send their requests to POST /v1/messages one by one"
ABSENT: Mapping[str, tuple[list[str], str]] = {
    "/v1/responses/compact": (["POST"], "histories are not compacted: send as `input` what the model is to read"),
    "/v1/responses/input_tokens": (["POST"], "this house counts tokens at POST /tokenize"),
    "/v1/responses/{response_id}": (
        METHODS,
        f"answers are not fetched or deleted by id: {KEPT}; `previous_response_id` goes on from one",
    ),
    "/v1/responses/{response_id}/cancel": (
        METHODS,
        "answers are not written in the background: one is cancelled by closing its connection",
    ),
    "/v1/responses/{response_id}/input_items": (METHODS, f"inputs are not listed by answer: {KEPT}"),
    "/v1/chat/completions": (["GET"], f"stored chat completions are not listed: {KEPT}"),
    "/v1/chat/completions/{completion_id}": (
        METHODS,
        f"chat completions are not fetched, changed or deleted by id: {KEPT}",
    ),
    "/v1/chat/completions/{completion_id}/messages": (METHODS, f"messages are not listed by answer: {KEPT}"),
    "/v1/messages/batches": (METHODS, BATCHES),
    "/v1/messages/batches/{rest:path}": (METHODS, BATCHES),
}
"""Path → methods, and why there is no such thing here."""


def _refusing(why: str) -> Callable[[Request], Awaitable[None]]:
    async def refuse(request: Request) -> None:
        raise ApiError(404, f"there is no {request.method} {request.url.path} here: {why}", code="unsupported_endpoint")

    return refuse


for path, (methods, why) in ABSENT.items():
    router.add_api_route(path, _refusing(why), methods=methods, response_model=None)
