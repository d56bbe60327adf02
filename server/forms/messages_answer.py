"""An answer in the words of Anthropic's Messages API: blocks of thinking, text and tool_use, their events, errors."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from server.errors import ApiError
from server.forms.form import MESSAGES
from server.forms.pieces import Counts
from server.forms.telling import LENGTH, Event, Part, Telling

KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip
"""The type of an error, by its HTTP status."""
UNREADABLE = "INVALID_JSON"
"""Under this name a tool gets arguments that are no JSON object, as when the answer was cut off in them."""


class MessagesTelling(Telling):
    """Its thinking blocks have no signature: nothing here checks one when they come back.

    `ends`: texts that the request did not name and at which an answer ends properly.
    """

    def __init__(self, generation_id: str, hide: bool, ends: Sequence[str] = ()) -> None:
        super().__init__(generation_id, hide)
        self._ends = ends

    def begin(self) -> Iterator[Event]:
        prompt = self.head.prompt_tokens if self.head else 0
        yield {"type": "message_start", "message": self._message([], Counts(prompt=prompt), None, None)}

    def open(self, part: Part) -> Iterator[Event]:
        block = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        yield {"type": "content_block_start", "index": part.index,
               "content_block": block if part.kind == "call" else _block(part, "")}  # fmt: skip

    def add(self, part: Part, text: str) -> Iterator[Event]:
        kind, name = _DELTAS[part.kind]
        yield {"type": "content_block_delta", "index": part.index, "delta": {"type": kind, name: text}}

    def close(self, part: Part) -> Iterator[Event]:
        yield {"type": "content_block_stop", "index": part.index}

    def end(self) -> Iterator[Event]:
        reason, stop = self._stop()
        delta = {"stop_reason": reason, "stop_sequence": stop}
        yield {"type": "message_delta", "delta": delta, "usage": _usage(self.counts)}
        yield {"type": "message_stop"}

    def fail(self, error: ApiError) -> Iterator[Event]:
        yield error_body(error)

    def whole(self) -> dict[str, Any]:
        return self._message([_block(part, part.text) for part in self.parts], self.counts, *self._stop())

    def _message(
        self, content: list[dict[str, Any]], counts: Counts, reason: str | None, stop: str | None
    ) -> dict[str, Any]:
        return {
            "id": f"msg_{self.generation_id}",
            "type": "message",
            "role": "assistant",
            "model": self.head.model if self.head else "",
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": _usage(counts),
        }

    def _stop(self) -> tuple[str, str | None]:
        if self.finish.reason == LENGTH:
            return "max_tokens", None
        if any(part.kind == "call" for part in self.parts):
            return "tool_use", None
        stop = self.finish.stop
        return ("end_turn", None) if stop is None or stop in self._ends else ("stop_sequence", stop)


_DELTAS = {
    "thought": ("thinking_delta", "thinking"), "text": ("text_delta", "text"),
    "call": ("input_json_delta", "partial_json"),
}  # fmt: skip


def _block(part: Part, text: str) -> dict[str, Any]:
    if part.kind == "thought":
        return {"type": "thinking", "thinking": text, "signature": ""}
    if part.kind == "text":
        return {"type": "text", "text": text}
    return {"type": "tool_use", "id": part.id, "name": part.name, "input": _arguments(text)}


def _arguments(text: str) -> dict[str, Any]:
    try:
        given = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        given = None
    return given if isinstance(given, dict) else {UNREADABLE: text}


def _usage(counts: Counts) -> dict[str, Any]:
    """Anthropic counts what was read from the cache apart from the rest of the prompt."""
    return {
        "input_tokens": counts.prompt - counts.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counts.cached,
        "output_tokens": counts.completion,
        "output_tokens_details": {"thinking_tokens": counts.thought},
    }


def speaks(path: str) -> bool:
    """Whether a path is this API's."""
    return path == MESSAGES or path.startswith(MESSAGES + "/")


def told(error: ApiError) -> Response:
    """An error as this API's clients expect it."""
    return Response(orjson.dumps(error_body(error)), error.status, error.headers, "application/json")


def error_body(error: ApiError) -> dict[str, Any]:
    kind = KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    known = {"param": error.param, "code": error.code, **error.extra}
    said = {name: value for name, value in known.items() if value is not None}
    return {"type": "error", "error": {"type": kind, "message": error.message, **said}}
