"""One HTTP exchange with a client, as plain ASGI: its request read, its answer sent whole or piece by piece."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, MutableMapping
from typing import Any, cast

from db.values import Turn
from server.errors import ApiError
from server.wire import at_once

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ALIVE_SECONDS = 10.0  # proxies and clients commonly give up after 30 to 60 seconds of silence
NO_BUFFER = (b"x-accel-buffering", b"no")  # else a reverse proxy such as nginx collects the stream


async def read_request(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The request's body. Raises ApiError 413 over `limit` bytes, 400 for one that is packed."""
    if (packed := headers.get(b"content-encoding", b"identity").lower()) not in (b"", b"identity"):
        said = packed.decode("latin-1")
        raise ApiError(400, f"the body comes as {said!r}, which is not unpacked here; send it without Content-Encoding")
    too_large = ApiError(413, f"the body is larger than {limit} bytes", code="body_too_large")
    if int(headers.get(b"content-length") or 0) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(400, "the client left while it sent its request")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large
        if not message.get("more_body"):
            return b"".join(parts)


class Exchange:
    """The answering side, for the task `work`. `left` tells whether the client went away, as one counts that takes
    nothing for `patience` seconds: else it would hold its place on an engine for ever."""

    def __init__(self, send: Send, work: asyncio.Task[Any], patience: float) -> None:
        self._send, self._work, self._patience = send, work, patience
        self.headers: list[tuple[bytes, bytes]] = []
        self.left = False
        self._begun = self._over = False
        self._last = time.monotonic()

    async def watch(self, receive: Receive) -> None:
        """Cancel the work as soon as the client goes away. One that has its whole answer may: the server says so of
        each, and what is left of the work is to be done."""
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self._over:
            self._leave()

    async def piece(self, data: bytes, more: bool = True) -> None:
        self._last = time.monotonic()
        if not self._begun:
            await self._start(b"text/event-stream; charset=utf-8", [(b"cache-control", b"no-cache"), NO_BUFFER])
        await self._taken({"type": "http.response.body", "body": data, "more_body": more})

    def push(self, data: bytes) -> Awaitable[None] | None:
        """Send a piece now, from outside of any task. Returns what is to be awaited before the next one: a client that
        does not keep up; else None."""
        if not self._begun:
            return at_once(self.piece(data))
        self._last = time.monotonic()
        return self._out({"type": "http.response.body", "body": data, "more_body": True})

    def alive(self) -> Awaitable[None] | None:
        """Say now and then that something happens, by a comment, which clients skip: silence makes them give up.
        Returns what `push` does."""
        return self.push(b": thinking\n\n") if time.monotonic() - self._last > ALIVE_SECONDS else None

    def opened(self, turn: Turn) -> None:
        """The answer to this turn begins. A client that is there needs nothing more."""

    async def end(self, data: bytes) -> None:
        """The last piece and the end of the answer, in one write."""
        await self.piece(data, more=False)

    async def close(self) -> None:
        await self._taken({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, data: bytes) -> None:
        await self._start(b"application/json", [(b"content-length", str(len(data)).encode())])
        await self._taken({"type": "http.response.body", "body": data, "more_body": False})

    async def _start(self, kind: bytes, more: list[tuple[bytes, bytes]]) -> None:
        self._begun = True
        headers = [(b"content-type", kind), *more, *self.headers]
        await self._taken({"type": "http.response.start", "status": 200, "headers": headers})

    async def _taken(self, message: Message) -> None:
        if (rest := self._out(message)) is not None:
            await rest
        if message["type"] == "http.response.body" and not message["more_body"]:
            self._over = True

    def _out(self, message: Message) -> Awaitable[None] | None:
        """Send now. Returns what is to be awaited when the client does not keep up, else None."""
        rest = at_once(cast(Coroutine[Any, Any, None], self._send(message)))  # the server's and Starlette's are such
        return None if rest is None else _Bounded(rest, self._patience, self._leave)

    def _leave(self) -> None:
        self.left = True
        self._work.cancel()


class _Bounded:
    """What is to be awaited, and `late` is called once that has taken `seconds`."""

    def __init__(self, rest: Awaitable[None], seconds: float, late: Callable[[], None]) -> None:
        self._rest, self._seconds, self._late = rest, seconds, late

    def __await__(self) -> Generator[Any, None, None]:
        timer = asyncio.get_running_loop().call_later(self._seconds, self._late)
        try:
            yield from self._rest.__await__()
        finally:
            timer.cancel()
