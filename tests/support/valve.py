"""What stands between a gateway and its engine, so that a test can look at an answer that is being written.

Bytes pass as they are. A real engine writes a short answer in a second, which a busy machine's browser may not see
growing: with a `pause` the pieces of chats come one by one, and with `cut` the connection breaks at the next one.
"""

import asyncio
import contextlib
from urllib.parse import urlsplit

CHAT = b"POST /v1/chat/completions"
PIECE = 400  # bytes: about one event of a stream that tells its usage with each token
_END_S = 5.0


class Valve:
    """A TCP proxy before one engine. `pause` and `cut` may be set from any thread, and hold for chats alone."""

    def __init__(self, engine: str) -> None:
        parts = urlsplit(engine)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._open: set[asyncio.Task[None]] = set()
        self.pause, self.cut = 0.0, False

    async def start(self) -> str:
        """Listen; the address to use in the engine's place."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """End every connection."""
        self._server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=_END_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        up: asyncio.StreamWriter | None = None
        asking: asyncio.Task[None] | None = None
        asked = [b""]  # the head of the last request
        try:
            with contextlib.suppress(OSError):
                down, up = await asyncio.open_connection(self._host, self._port)
                asking = asyncio.create_task(self._ask(reader, up, asked))
                await self._answer(down, writer, asked)
        finally:
            self._open.discard(task)
            if asking is not None:
                asking.cancel()
            for end in (writer, up):
                if end is not None:
                    end.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, asked: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if data.startswith((b"GET ", b"POST ")):
                    asked[0] = data[: len(CHAT)]
                up.write(data)
                await up.drain()
        up.transport.abort()  # whoever asked has gone: the engine is to know at once

    async def _answer(self, down: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes]) -> None:
        while data := await down.read(65536):
            while data:
                slow = asked[0] == CHAT and self.pause > 0
                piece, data = (data[:PIECE], data[PIECE:]) if slow else (data, b"")
                if asked[0] == CHAT and self.cut:
                    return
                writer.write(piece)
                await writer.drain()
                if slow:
                    await asyncio.sleep(self.pause)
