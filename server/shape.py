"""Answers in another shape than the engine's: without the thought, or with it under its older name as well.

Only where a request or a setting asks for it: such an answer is parsed and written again, event by event; all others
stay the engine's bytes. The record is made from the engine's bytes either way.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from server.errors import ApiError

_GAP = b"\n\n"
_DATA = b"data: "
_TOKENS = ("logprobs", "token_ids")  # of a choice: they spell the thought out once more


@dataclass(frozen=True)
class Shape:
    """What a client is to get. Without either wish nothing is touched."""

    hide: bool = False
    mirror: bool = False

    def events(self, data: bytes) -> bytes:
        """Whole server-sent events, reshaped. What is hidden altogether leaves nothing."""
        if not data or not (self.hide or self.mirror):
            return data
        return b"".join(self._event(event) for event in data.split(_GAP)[:-1])

    def body(self, data: bytes) -> bytes:
        """An answer in one piece, reshaped."""
        if not (self.hide or self.mirror):
            return data
        answer = orjson.loads(data)
        for choice in answer["choices"]:
            self._choice(choice, "message")
        return orjson.dumps(answer)

    def broken(self, error: ApiError) -> bytes:
        """The last event of a stream that could not be ended."""
        return error.event()

    def _event(self, event: bytes) -> bytes:
        if not event.startswith(_DATA + b"{"):
            return event + _GAP
        piece = orjson.loads(event[len(_DATA) :])
        if not piece.get("choices"):  # an error, or the event of token counts
            return event + _GAP
        piece["choices"] = [choice for choice in piece["choices"] if self._choice(choice, "delta")]
        if not piece["choices"]:
            return b""
        return _DATA + orjson.dumps(piece) + _GAP

    def _choice(self, choice: dict[str, Any], part: str) -> bool:
        """Reshape in place; False when nothing is left of it that a client has to know."""
        words = choice.get(part) or {}
        thought = words.get("reasoning")
        if not self.hide:
            if thought is not None:
                words["reasoning_content"] = thought
            return True
        for name in ("reasoning", "reasoning_content"):
            words.pop(name, None)
        for name in _TOKENS:
            choice.pop(name, None)
        return choice.get("finish_reason") is not None or any(value is not None for value in words.values())
