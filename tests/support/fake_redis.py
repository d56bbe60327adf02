"""A small stand-in for a Redis server: the few commands that counting a minute takes, over Redis' own protocol.

The one script that it runs is the library's "increment, and expire when new"; its effect is written out here.
"""

import asyncio
import time


class FakeRedis:
    """Start it with `await start()`. A restart keeps the port and forgets all counts, as without a disk."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.ends: dict[str, float] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()
        self.counts.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while head := await reader.readline():
                words = [await self._word(reader) for _ in range(int(head[1:]))]
                writer.write(self._do(words[0].upper(), words[1:]))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _word(self, reader: asyncio.StreamReader) -> str:
        size = int((await reader.readline())[1:])
        return (await reader.readexactly(size + 2))[:-2].decode()

    def _do(self, command: str, words: list[str]) -> bytes:
        if command == "HELLO":
            return b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n"
        if command in ("CLIENT", "SELECT"):
            return b"+OK\r\n"
        if command == "PING":
            return b"+PONG\r\n"
        if command == "EVALSHA":
            _, keys, key, seconds, amount = words
            assert keys == "1"
            self.counts[key] = self.counts.get(key, 0) + int(amount)
            self.ends.setdefault(key, time.monotonic() + int(seconds))
            return b":%d\r\n" % self.counts[key]
        if command == "GET":
            value = str(self.counts.get(words[0], 0)).encode()
            return b"$%d\r\n%s\r\n" % (len(value), value)
        if command == "TTL":
            return b":%d\r\n" % round(self.ends.get(words[0], time.monotonic()) - time.monotonic())
        return b"-ERR unknown command '%s'\r\n" % command.encode()
