"""One HTTP exchange with a client, as plain ASGI: its request read, its answer sent whole or piece by piece."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
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
    """The request's body. Raises ApiError 413 over `limit` bytes."""
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
    """The answering side. `left` tells whether the client went away."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.headers: list[tuple[bytes, bytes]] = []
        self.left = False
        self._begun = False
        self._last = time.monotonic()

    async def watch(self, receive: Receive, work: asyncio.Task[Any]) -> None:
        """Cancel `work` as soon as the client goes away."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left = True
        work.cancel()

    async def piece(self, data: bytes, more: bool = True) -> None:
        self._last = time.monotonic()
        if not self._begun:
            await self._start(b"text/event-stream; charset=utf-8", [(b"cache-control", b"no-cache"), NO_BUFFER])
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def push(self, data: bytes) -> Awaitable[None] | None:
        """Send a piece now, from outside of any task. Returns what is to be awaited before the next one: a client that
        does not keep up; else None."""
        if not self._begun:
            return at_once(self.piece(data))
        self._last = time.monotonic()
        sent = self._send({"type": "http.response.body", "body": data, "more_body": True})
        return at_once(cast(Coroutine[Any, Any, None], sent))  # the server's and Starlette's are coroutines

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
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, data: bytes) -> None:
        await self._start(b"application/json", [(b"content-length", str(len(data)).encode())])
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def _start(self, kind: bytes, more: list[tuple[bytes, bytes]]) -> None:
        self._begun = True
        headers = [(b"content-type", kind), *more, *self.headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
