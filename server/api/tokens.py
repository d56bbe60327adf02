"""Tokens as the engine's tokenizer has them: counted, listed, put back into text. Nothing is answered or recorded.

And the route of embeddings, which says that there are none.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request

from server.api.common import Asking, House, Me
from server.asking import SERVICE_ONLY, read_object, understand
from server.auth import Identity
from server.catalog import ALIAS
from server.errors import ApiError, unavailable
from server.exchange import read_request
from server.forms.messages_request import conversation
from server.gateway import Gateway
from server.limiting import lesser
from server.pool import Moved
from server.prompts import TOLD, count_of
from server.refusals import ANTHROPIC, ASKED, NOT_HERE, refused
from server.serving import MOVES

router = APIRouter(tags=["tokens"])

COUNTED = ("prompt", "messages", *TOLD, "return_token_strs")
"""What of a request tells which tokens it has; nothing else reaches the engine."""


def _an_object() -> dict[str, Any]:
    """For the OpenAPI document of a route that reads its body itself."""
    schema = {"type": "object", "additionalProperties": True}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post("/tokenize", openapi_extra=_an_object(), responses=refused(*ASKED))
async def tokenize(gateway: House, identity: Asking, request: Request) -> dict[str, Any]:
    """The tokens of a `prompt`, or of `messages` as the model reads them. `model` may be left out."""
    return await _count(gateway, identity, await _read(gateway, identity, request), dict(request.headers.raw))


@router.post("/detokenize", openapi_extra=_an_object(), responses=refused(*ASKED))
async def detokenize(gateway: House, identity: Asking, request: Request) -> dict[str, Any]:
    """The text of `tokens`."""
    given = await _read(gateway, identity, request)
    return await _ask(gateway, identity, "/detokenize", given.get("model") or ALIAS, {"tokens": given.get("tokens")})


@router.post("/v1/messages/count_tokens", openapi_extra=_an_object(), responses=refused(*ASKED, spoken=ANTHROPIC))
async def count_tokens(gateway: House, identity: Asking, request: Request) -> dict[str, Any]:
    """Anthropic's: how many tokens `messages`, `system` and `tools` are before they are answered."""
    body = conversation(await _read(gateway, identity, request))
    found = await _count(gateway, identity, body, dict(request.headers.raw))
    return {"input_tokens": found["count"]}


@router.post(
    "/v1/embeddings", status_code=400, response_model=None, openapi_extra=_an_object(), responses=refused(NOT_HERE)
)
async def embeddings(_: Me) -> None:
    """Refused: the models here write, they do not embed."""
    message = "no embeddings are made here: the models of this house write answers; ask a server of an embedding model"
    raise ApiError(400, message, code="unsupported_endpoint")


async def _read(gateway: Gateway, identity: Identity, request: Request) -> dict[str, Any]:
    most = lesser(gateway.settings.max_body_bytes, identity.limits.body_bytes)
    return read_object(await read_request(request.receive, dict(request.headers.raw), most))


async def _count(
    gateway: Gateway, identity: Identity, given: dict[str, Any], headers: Mapping[bytes, bytes]
) -> dict[str, Any]:
    body = {"model": ALIAS} | {name: value for name, value in given.items() if value is not None}
    ask = understand("chat" if "messages" in body else "text", body, headers)
    wanted = {name: ask.body[name] for name in COUNTED if name in ask.body}
    return await _ask(gateway, identity, "/tokenize", ask.model, wanted)


async def _ask(
    gateway: Gateway, identity: Identity, path: str, model: object, wanted: dict[str, Any]
) -> dict[str, Any]:
    """The engine's answer. It counts as a request of the key; ApiError with what the engine refuses."""
    assert not SERVICE_ONLY & wanted.keys()
    async with gateway.limiter.admit(identity.key_id or identity.user_id, 1, identity.limits):
        for _ in range(MOVES):
            try:
                return await _ask_now(gateway, path, model, wanted)
            except Moved:
                continue
    raise unavailable(f"{model!r} meant other weights {MOVES} times while it was asked for; try again")


async def _ask_now(gateway: Gateway, path: str, model: object, wanted: dict[str, Any]) -> dict[str, Any]:
    """By what the name means now. Raises Moved when that changed while it waited for an engine."""
    weights = gateway.catalog.resolve(model)
    with gateway.pool.using(weights.model):
        if model != ALIAS:
            await gateway.swap.admit(weights)
        payload = orjson.dumps(wanted | {"model": weights.asked_as})
        moved = lambda: gateway.catalog.resolve(model).id != weights.id  # noqa: E731
        answer = await gateway.relay.begin(path, payload, weights.model, False, moved)
        try:
            if path == "/tokenize":
                count_of(answer)
            return answer.read()
        finally:
            answer.close()
