"""The least that a gateway in Python can do: uvicorn and aiohttp pass bytes on, and nothing else is done."""

import argparse
from collections.abc import MutableMapping
from typing import Any

import aiohttp


class Bare:
    """An ASGI application that knows no users, no record and one engine."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {"Content-Type": "application/json"}
        async with self._session.request(
            scope["method"], self._engine + scope["path"], data=body, headers=headers
        ) as answer:
            kind = answer.headers.get("Content-Type", "application/octet-stream").encode()
            await send({"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", kind)]})
            while data := await answer.content.readany():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


if __name__ == "__main__":
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--engine", required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        Bare(arguments.engine), port=arguments.port, loop="uvloop", http="httptools", lifespan="off",
        log_config=None, access_log=False, backlog=2048,
    )  # fmt: skip
