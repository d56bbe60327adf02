"""What a form has to give, and the engine's own form: chat completions and completions, which need no translation."""

import re
from collections.abc import Mapping
from typing import Protocol

from server.asking import PATHS, Ask, Kind, read_object, understand
from server.auth import Identity
from server.errors import ApiError
from server.outcome import UNREADABLE, Outcome, read_body, unreadable
from server.shape import Shape

RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"


class Writer(Protocol):
    """Writes one answer. It is given the engine's bytes: whole server-sent events in order, or one body."""

    def events(self, data: bytes) -> bytes: ...

    def body(self, data: bytes) -> bytes: ...

    def broken(self, error: ApiError) -> bytes:
        """The last event of a stream that could not be ended."""
        ...


class Renamed:
    """Another writer, with the model's name in the engine's bytes put right first.

    The name is looked for as a field; the pattern can't stand inside a JSON string, where a quote is escaped.
    """

    def __init__(self, writer: Writer, old: str, new: str) -> None:
        self._writer = writer
        self._old = re.compile(rb'("model":\s?)"%s"' % re.escape(old.encode()))
        self._new = rb'\1"%s"' % new.encode()

    def events(self, data: bytes) -> bytes:
        return self._writer.events(self._old.sub(self._new, data))

    def body(self, data: bytes) -> bytes:
        return self._writer.body(self._old.sub(self._new, data))

    def broken(self, error: ApiError) -> bytes:
        return self._writer.broken(error)


class Form(Protocol):
    """One API."""

    @property
    def path(self) -> str: ...

    @property
    def kind(self) -> Kind:
        """What the engine is asked for."""
        ...

    @property
    def id_header(self) -> bytes:
        """Under which name its clients look for a request's id."""
        ...

    async def ask(self, raw: bytes, headers: Mapping[bytes, bytes], identity: Identity) -> Ask:
        """Read a request. Raises ApiError 400 with the field that is wrong."""
        ...

    def writer(self, ask: Ask, generation_id: str) -> Writer: ...


class Plain:
    """The engine's own form. Nothing is reshaped unless the request or a setting asks for it."""

    id_header = b"x-request-id"

    def __init__(self, kind: Kind, mirror: bool = False) -> None:
        self.kind: Kind = kind
        self.path = PATHS[kind]
        self._mirror = mirror

    async def ask(self, raw: bytes, headers: Mapping[bytes, bytes], identity: Identity) -> Ask:
        return understand(self.kind, read_object(raw), headers)

    def writer(self, ask: Ask, generation_id: str) -> Shape:
        return Shape(ask.hides_thought, self._mirror)


def read_whole(said: bytes, writer: Writer) -> tuple[Outcome, bytes]:
    """What an answer in one piece is, and what its client gets; nothing where it can't be read."""
    outcome = read_body(said)
    if outcome.error is not None:
        return outcome, b""
    try:
        return outcome, writer.body(said)
    except UNREADABLE as error:
        return Outcome(error=unreadable(error)), b""
