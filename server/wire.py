"""Answers of an engine over HTTP/1.1: each piece is handed on within the event that brought it, without waking a task.

Knows as much HTTP as an answer takes: one POST at a time over connections that are kept, a body by length, in chunks or
to the connection's end. `docs/decisions/streaming.md` says what that is worth and what else was tried.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

CONNECT_SECONDS = 5.0  # on a private network a connection is there at once or not at all
KEEPALIVE_SECONDS = 3.0  # vLLM closes an idle connection after 5: let go first, so that none is used while it closes
PROBES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Of a connection on which nothing comes: a machine that lost its power closes none."""
AHEAD_BYTES = 256 * 1024  # of an answer that nobody takes on yet
FRAMES = frozenset({b"content-length", b"transfer-encoding"})  # without them an answer ends with its connection

Take = Callable[[bytes], Awaitable[None] | None]
"""Is given a piece; returns what is to be awaited before it gets the next one, or None."""


class Cut(ConnectionError):
    """The connection broke, or what came is no HTTP."""


def probe(made: socket.socket) -> None:
    """Have the system ask now and then whether the other end is still there."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in PROBES.items():
        if hasattr(socket, name):  # not everywhere
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def at_once(work: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Do `work` now, outside of any task. Returns None when it has ended, else what awaits the rest of it."""
    try:
        waits_for = work.send(None)
    except StopIteration:
        return None
    return _Rest(work, waits_for)


class _Rest:
    """A coroutine that has begun already, and what it waits for."""

    def __init__(self, work: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._work, self._waits_for = work, waits_for

    def __await__(self) -> Generator[Any, None, None]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    yield waits_for
                except BaseException as error:  # noqa: BLE001  its task was cancelled: the coroutine is to know
                    waits_for = self._work.throw(error)
                else:
                    waits_for = self._work.send(None)
            except StopIteration:
                return


class Wire(asyncio.Protocol):
    """A connection. `left` is told when it is gone."""

    def __init__(self, left: Callable[["Wire"], None]) -> None:
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._take: Take | None = None
        self._news: asyncio.Future[None] | None = None
        self._rest: Awaitable[None] | None = None  # what the last piece waits for
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.ended = False  # the answer, regularly
        self._whole = self._framed = False
        self._error: Exception | None = None
        self._came: list[bytes] = []  # pieces that nobody took yet

    @property
    def usable(self) -> bool:
        """Whether another request may be sent over it."""
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes, whole: bool) -> None:
        """Send a request, head and body. `whole`: its answer is wanted in one piece."""
        self._begin()
        self._whole = whole
        assert self._transport is not None
        self._transport.write(request)

    async def first(self) -> bytes:
        """Wait for the status and the first piece of an answer, or for all of it when it is wanted so or is no 200.

        Empty when it ended before. Raises Cut.
        """
        while not self._over():
            if self._came and self.status == 200 and not self._whole:
                break
            await self._wait()
        return self._taken()

    async def follow(self, take: Take, silence: float) -> None:
        """Give every further piece to `take`, which may not keep it waiting, until the answer has ended.

        Raises Cut, also when nothing comes for `silence` seconds, and what `take` raises.
        """
        self._heard = time.monotonic()
        self._watch(silence)
        self._take = take
        try:
            self._hand_on()
            while True:
                if self._rest is not None:
                    await self._rest
                    self._rest = None
                    self._heard = time.monotonic()  # the engine could not be heard meanwhile
                    self._hand_on()
                    continue
                self._resume()
                if self._over():
                    return
                await self._wait()
        finally:
            self._take = self._rest = None
            if self._timer is not None:
                self._timer.cancel()

    def rest(self) -> None:
        """Nothing is asked over it for now. It reads on, also where the last answer's taker left before it had all."""
        self.idle_since = time.monotonic()
        self._resume()

    def close(self) -> None:
        """Give the connection up: an engine that still writes sees that, and stops."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # as far as its methods go: uvloop's is no subclass
        probe(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            if self._rest is None:
                self._hand_on()
            self._fail(Cut(f"what it sent is no HTTP: {error}"))
            return
        self._heard = time.monotonic()
        if self._take is not None and self._rest is None:
            self._hand_on()
            if self.ended or self._rest is not None:
                self._tell()
        else:
            ahead = not self._whole and self.status == 200 and sum(map(len, self._came)) > AHEAD_BYTES
            if ahead or self._take is not None:
                self._pause()
            self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if error is None and self.status and not self._framed:
            self.ended = True
        elif not self.ended:
            self._error = self._error or Cut(str(error) if error else "the connection was closed")
        self._left(self)
        self._tell()

    def on_message_begin(self) -> None:
        if self.ended:
            self._fail(Cut("it sent more than it was asked for"))

    def on_header(self, name: bytes, _: bytes) -> None:
        self._framed = self._framed or name.lower() in FRAMES

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._came.append(body)

    def on_message_complete(self) -> None:
        if self.status < 200:  # a word before the answer
            self.status = 0
            return
        self.ended = True
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()

    def _over(self) -> bool:
        """Whether the answer has ended. Raises what kept it from its end."""
        if self._error is not None:
            raise self._error
        return self.ended

    def _taken(self) -> bytes:
        came, self._came = self._came, []
        return came[0] if len(came) == 1 else b"".join(came)

    def _hand_on(self) -> None:
        """Give away what came, together, unless the last piece is being waited for."""
        if not self._came or self._take is None:
            return
        try:
            self._rest = self._take(self._taken())
        except Exception as error:  # noqa: BLE001  its caller is a transport; `follow` raises it
            self._fail(error)
            return
        if self._rest is not None:
            self._pause()

    def _pause(self) -> None:
        if not self._paused and self.usable:
            self._paused = True
            self._transport.pause_reading()  # type: ignore[union-attr]

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self.usable:
                self._transport.resume_reading()  # type: ignore[union-attr]

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self.close()
        self._tell()

    def _watch(self, silence: float) -> None:
        """Look when it was heard last, no more often than needed: pieces come by the thousand."""
        left = self._heard + silence - time.monotonic()
        if left <= 0 and self._rest is None:
            self._fail(Cut(f"it sent nothing for {silence:g} s"))
            return
        self._timer = self._loop.call_later(left if left > 0 else silence, self._watch, silence)

    async def _wait(self) -> None:
        """For anything to happen."""
        self._news = self._loop.create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class Wires:
    """The connections to one engine that are kept."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        name = f"[{self._host}]" if ":" in self._host else self._host
        self._lines = (
            f"POST {parts.path.replace('%', '%%')}%s HTTP/1.1\r\nHost: {name}:{self._port}\r\nAccept: */*\r\n"
            "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        self._idle: list[Wire] = []

    async def ask(self, path: str, body: bytes, whole: bool) -> Wire:
        """Send a request; its answer is to be read from what is returned. Raises OSError, TimeoutError."""
        wire = self._kept() or await self._connect()
        wire.ask((self._lines % (path, len(body))).encode() + body, whole)
        return wire

    def give_back(self, wire: Wire) -> None:
        """Done with an answer. Where it has not ended the connection goes with it."""
        if not wire.ended:
            wire.close()
        elif wire.usable:
            wire.rest()
            self._idle.append(wire)

    def close(self) -> None:
        """Let go of what nobody uses."""
        for wire in self._idle:
            wire.close()
        self._idle = []

    def _kept(self) -> Wire | None:
        """The connection used last: those used before are too old when it is."""
        while self._idle:
            wire = self._idle.pop()
            if wire.usable and time.monotonic() - wire.idle_since < KEEPALIVE_SECONDS:
                return wire
            wire.close()
        return None

    async def _connect(self) -> Wire:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, wire = await loop.create_connection(lambda: Wire(self._gone), self._host, self._port, ssl=self._tls)
        return wire

    def _gone(self, wire: Wire) -> None:
        with suppress(ValueError):
            self._idle.remove(wire)
