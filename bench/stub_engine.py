"""A stand-in for an engine that costs next to nothing: replays one fixed stream, so that a gateway is the bottleneck.

Speaks just enough HTTP/1.1 for one client library: keep-alive, a body by Content-Length, an answer in chunks.
"""

import argparse
import asyncio
import json
from typing import Any

EVENTS = 65  # in an answer, as in the figures that docs/performance.md compares with


def event(body: dict[str, Any]) -> bytes:
    data = b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def stream(events: int = EVENTS) -> list[bytes]:
    """The pieces of one answer: a role, tokens of thought and response, the end, token counts, [DONE]."""
    head = {"id": "stub", "object": "chat.completion.chunk", "created": 1, "model": "ruminate-v0"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return event(head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})

    pieces = [chunk({"role": "assistant", "content": ""})]
    pieces += [chunk({"reasoning": f" thought{i}"}) for i in range(20)]
    pieces += [chunk({"content": f" word{i}"}) for i in range(events - 24)]
    pieces.append(chunk({"content": ""}, "stop"))
    usage = {"prompt_tokens": 9, "completion_tokens": events - 4, "total_tokens": events + 5}
    pieces.append(event(head | {"choices": [], "usage": usage}))
    done = b"data: [DONE]\n\n"
    pieces.append(f"{len(done):x}\r\n".encode() + done + b"\r\n0\r\n\r\n")
    return pieces


PIECES = stream()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODELS = json.dumps(
    {"object": "list", "data": [{"id": "ruminate-v0", "root": "/stub", "parent": None, "max_model_len": 4096}]}
).encode()


WEIGHTS = b'{"weight_version":"default"}'  # as vLLM says of weights that were never replaced


def plain(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


class Stub(asyncio.Protocol):
    """One connection. `gap`: seconds between two pieces; 0 writes them at once."""

    gap = 0.0
    pieces = PIECES

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        if path == b"/v1/chat/completions":
            self._transport.write(HEAD)
            self._write(0)
        else:
            told = {b"/v1/models": MODELS, b"/weight_info": WEIGHTS}
            self._transport.write(plain(told.get(path, b"{}")))

    def _write(self, index: int) -> None:
        if self.gap == 0:
            for piece in self.pieces:
                self._transport.write(piece)
            return
        if self._transport.is_closing():
            return
        self._transport.write(self.pieces[index])
        if index + 1 < len(self.pieces):
            asyncio.get_running_loop().call_later(self.gap, self._write, index + 1)


async def serve(port: int, gap: float, events: int) -> None:
    Stub.gap, Stub.pieces = gap, stream(events)
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--gap", type=float, default=0.0)
    parser.add_argument("--events", type=int, default=EVENTS)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.gap, arguments.events))
