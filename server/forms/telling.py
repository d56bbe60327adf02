"""What the written forms share: an answer's parts (thought, text, calls of tools), opened, filled and closed in order.

A part ends where one of another kind begins. What the parts look like is each form's own. A body is made by the same
steps as a stream, so that both say the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from server.errors import ApiError
from server.forms.pieces import Begun, Called, Counts, Ended, Failed, Finished, Piece, Said, of_body, of_events

Event = dict[str, Any]  # its `type` is also the event's name
LENGTH = "length"  # the finish reason of an answer that was cut off


@dataclass
class Part:
    """`index` is its place in the answer. A call's `said` are its arguments, as JSON text."""

    kind: Literal["thought", "text", "call"]
    index: int
    call: int = 0  # which of the calls
    id: str = ""
    name: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.said)


class Telling(ABC):
    """Writes one answer in a form: a `Writer`. `hide`: the thought is left out."""

    def __init__(self, generation_id: str, hide: bool) -> None:
        self.generation_id = generation_id
        self.head: Begun | None = None
        self.parts: list[Part] = []
        self.finish = Finished("stop")
        self.counts = Counts()
        self._hide = hide
        self._open: Part | None = None
        self._over = False
        self._failure: ApiError | None = None

    def events(self, data: bytes) -> bytes:
        return b"".join(encoded(event) for piece in of_events(data) for event in self.take(piece))

    def body(self, data: bytes) -> bytes:
        for piece in of_body(data):
            for _ in self.take(piece):
                pass
        return orjson.dumps(self.whole())

    def broken(self, error: ApiError) -> bytes:
        if self._over:
            return b""
        self._over = True
        return b"".join(encoded(event) for event in self.fail(self._failure or error))

    def take(self, piece: Piece) -> Iterator[Event]:
        """The events that a piece of the engine's answer makes."""
        if self._over or (self._failure is not None and not isinstance(piece, Ended)):
            return
        match piece:
            case Begun():
                if self.head is None:
                    self.head = piece
                    yield from self.begin()
            case Said(part, text):
                if not (self._hide and part == "thought"):
                    if self._open is None or self._open.kind != part:
                        yield from self._begin_part(Part(part, len(self.parts)))
                    yield from self._add(text)
            case Called():
                opened = self._open
                if opened is None or opened.kind != "call" or opened.call != piece.index:
                    name = piece.id or f"call_{self.generation_id}_{piece.index}"
                    yield from self._begin_part(Part("call", len(self.parts), piece.index, name, piece.name))
                if piece.arguments:
                    yield from self._add(piece.arguments)
            case Finished():
                self.finish = piece
                yield from self._end_part()
            case Counts():
                self.counts = piece
            case Failed(words):
                self._failure = ApiError(500, words, code="engine_error")  # told at the end, once the turn is recorded
            case Ended():
                self._over = True
                if self._failure is not None:
                    yield from self.fail(self._failure)
                    return
                yield from self._end_part()
                yield from self.end()

    @abstractmethod
    def begin(self) -> Iterable[Event]: ...

    @abstractmethod
    def open(self, part: Part) -> Iterable[Event]: ...

    @abstractmethod
    def add(self, part: Part, text: str) -> Iterable[Event]: ...

    @abstractmethod
    def close(self, part: Part) -> Iterable[Event]:
        """`part` is whole, or the last one of an answer that was cut off."""

    @abstractmethod
    def end(self) -> Iterable[Event]: ...

    @abstractmethod
    def fail(self, error: ApiError) -> Iterable[Event]: ...

    @abstractmethod
    def whole(self) -> dict[str, Any]:
        """The answer as one object, once it has ended."""

    def _begin_part(self, part: Part) -> Iterator[Event]:
        yield from self._end_part()
        self.parts.append(part)
        self._open = part
        yield from self.open(part)

    def _add(self, text: str) -> Iterator[Event]:
        part = self.parts[-1]
        part.said.append(text)
        yield from self.add(part, text)

    def _end_part(self) -> Iterator[Event]:
        if self._open is not None:
            part, self._open = self._open, None
            yield from self.close(part)


def encoded(event: Event) -> bytes:
    return b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"
