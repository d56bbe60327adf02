"""Streams asked for over raw HTTP/1.1 connections: a client that costs little, since it shares the machine."""

import asyncio
import json
import statistics
import time
from typing import Any

END = b"\r\n0\r\n\r\n"


class Client(asyncio.Protocol):
    """One keep-alive connection that asks again and again; as cheap as possible, since it shares the machine."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self._done: asyncio.Future[None] | None = None
        self._tail = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.seen.append(time.perf_counter())
        if len(self.seen) == 1 and not data.startswith(b"HTTP/1.1 200"):
            self._fail(RuntimeError(data[:500].decode(errors="replace")))
        self._tail = (self._tail + data)[-len(END) :]
        if self._tail == END and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or RuntimeError("the server closed the connection"))

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    async def ask(self, request: bytes) -> tuple[float, list[float]]:
        """(seconds to the first event, times of what was read)."""
        self.seen, self._tail = [], b""
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self.transport.write(request)
        await self._done
        return self.seen[0] - began, self.seen


def request(port: int, key: str) -> bytes:
    """A streamed chat, as it goes over the wire."""
    messages = [{"role": "user", "content": "Plan three dinners for two."}]
    body = json.dumps({"model": "ruminate-v0", "messages": messages, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
    return (head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


async def load(port: int, key: str, concurrency: int, requests: int) -> dict[str, float]:
    """Ask `requests` times over `concurrency` connections."""
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(concurrency)]
    wire = request(port, key)
    firsts: list[float] = []
    gaps: list[float] = []
    left = iter(range(requests))

    async def work(client: Client) -> None:
        for _ in left:
            first, seen = await client.ask(wire)
            firsts.append(first)
            gaps.extend(b - a for a, b in zip(seen, seen[1:], strict=False))

    await asyncio.gather(*(client.ask(wire) for client in clients))  # connections and caches are warm
    began = time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    took = time.perf_counter() - began
    for client in clients:
        client.transport.close()
    gaps.sort()
    return {
        "requests_per_s": requests / took,
        "first_ms_p50": statistics.median(firsts) * 1000,
        "first_ms_p95": sorted(firsts)[int(len(firsts) * 0.95)] * 1000,
        "gap_ms_p99": gaps[int(len(gaps) * 0.99)] * 1000 if gaps else 0.0,
    }
