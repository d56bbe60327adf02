"""Splits a model's text into thought and response while it is still being written.

Any chunking of the same text gives the same split, no marker is ever emitted, and nothing is emitted that a later chunk
could turn into a marker. Where the text around a stray marker would become one once that is taken out, a space keeps it
apart. White space around a thought or a response belongs to the format and is dropped. Works on text alone, so that it
does not matter whether a tokenizer knows a marker as one token or as several.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thinking.format import ThinkingFormat

_START, _THOUGHT, _BETWEEN, _RESPONSE, _AFTER = range(5)


class Ending(StrEnum):
    """How a model's text ended. Only COMPLETE is well-formed for a model that was asked to think."""

    COMPLETE = "complete"  # a closed thought, then a response that the model ended by itself
    TRUNCATED_THOUGHT = "truncated_thought"  # cut off before there was any response
    TRUNCATED_RESPONSE = "truncated_response"  # cut off inside the response
    NO_THOUGHT = "no_thought"  # a response without any thought before it; right when thinking is off
    MALFORMED = "malformed"  # stray or missing markers, or nothing after the thought


@dataclass(frozen=True)
class Pieces:
    """What one chunk added to the thought and to the response; either may be empty."""

    reasoning: str = ""
    response: str = ""


class Splitter:
    """An incremental reader of one text. Feed it chunks, then finish it once."""

    def __init__(self, fmt: ThinkingFormat) -> None:
        self._fmt = fmt
        self._markers = fmt.markers
        self._longest = max((len(m) for m in self._markers), default=0)
        self._state = _RESPONSE if not fmt.thinks else _THOUGHT if fmt.prefilled else _START
        self._held = ""  # text that may still turn out to be (part of) a marker
        self._space = ""  # white space that is emitted only if more text of the same part follows
        self._started = False  # whether the present part has emitted anything
        self._last = ""  # the end of what it has emitted
        self._has_thought = fmt.prefilled
        self._has_response = False
        self._stray = False
        self._reasoning: list[str] = []
        self._response: list[str] = []

    @property
    def in_response(self) -> bool:
        """Whether the thought is over (or there was none) and what follows is response."""
        return self._state in (_RESPONSE, _AFTER)

    def feed(self, delta: str) -> Pieces:
        """Take the next chunk and return what is certain by now."""
        text = self._held + delta
        at = 0
        while True:
            found = self._next_marker(text, at)
            if found is None:
                break
            position, marker = found
            self._emit(text[at:position])
            self._mark(marker)
            at = position + len(marker)
        keep = self._partial_marker(text, at)
        self._emit(text[at : len(text) - keep])
        self._held = text[len(text) - keep :] if keep else ""
        return self._take()

    def finish(self, finished: bool) -> tuple[Pieces, Ending]:
        """End the text. `finished` is false when it was cut off. Returns the last pieces and how the text ended.

        The beginning of a marker at the very end (two characters or more) is dropped: it is a marker that was cut off.
        """
        if len(self._held) == 1 or not self._markers:
            self._emit(self._held)
        elif self._held and finished:
            self._stray = True
        self._held = ""
        return self._take(), self._ending(finished)

    def _ending(self, finished: bool) -> Ending:
        if not finished and self._state != _AFTER:
            thinking = self._fmt.thinks and not self._has_response
            return Ending.TRUNCATED_THOUGHT if thinking else Ending.TRUNCATED_RESPONSE
        if self._stray or not self._has_response:
            return Ending.MALFORMED
        return Ending.COMPLETE if self._has_thought or not self._fmt.thinks else Ending.NO_THOUGHT

    def _next_marker(self, text: str, start: int) -> tuple[int, str] | None:
        hits = [(position, marker) for marker in self._markers if (position := text.find(marker, start)) >= 0]
        return min(hits, default=None)

    def _partial_marker(self, text: str, start: int) -> int:
        """The length of the longest end of `text` (after `start`) that begins some marker."""
        for length in range(min(self._longest - 1, len(text) - start), 0, -1):
            tail = text[len(text) - length :]
            if any(marker.startswith(tail) for marker in self._markers):
                return length
        return 0

    def _mark(self, marker: str) -> None:
        fmt = self._fmt
        if marker == fmt.open and self._state == _START:
            self._enter(_THOUGHT)
            self._has_thought = True
        elif marker == fmt.close and self._state == _THOUGHT:
            self._enter(_RESPONSE if fmt.response_open is None else _BETWEEN)
        elif marker == fmt.response_open and self._state == _BETWEEN:
            self._enter(_RESPONSE)
        elif (
            marker == fmt.response_close
            and self._state == _RESPONSE
            and not self._stray
            and (self._has_thought or not fmt.thinks)
        ):
            self._state = _AFTER
            self._keep_apart()
        else:
            self._stray = True
            self._keep_apart()

    def _keep_apart(self) -> None:
        """See that what stands before a marker that is taken out makes none with what follows it."""
        if not self._space and self._partial_marker(self._last, 0):
            self._space = " "

    def _enter(self, state: int) -> None:
        self._state, self._space, self._started, self._last = state, "", False, ""

    def _emit(self, text: str) -> None:
        if not text:
            return
        body = text.strip()
        if body and self._state in (_START, _BETWEEN):  # no marker where one was due: this is response already
            self._stray = self._stray or self._state == _BETWEEN
            self._enter(_RESPONSE)
        if body and self._state == _AFTER:  # text after the end: kept, so that nothing is lost, but malformed
            self._stray = True
            self._state = _RESPONSE
        if not body:
            self._space += text if self._started else ""
            return
        lead = text[: len(text) - len(text.lstrip())]
        tail = text[len(text.rstrip()) :]
        out = (self._space + lead if self._started else "") + body
        self._space, self._started = tail, True
        self._last = (self._last + out)[1 - self._longest :] if self._longest else ""
        if self._state == _THOUGHT:
            self._reasoning.append(out)
        else:
            self._has_response = True
            self._response.append(out)

    def _take(self) -> Pieces:
        pieces = Pieces("".join(self._reasoning), "".join(self._response))
        self._reasoning.clear()
        self._response.clear()
        return pieces
