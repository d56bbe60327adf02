"""Stands before FastAPI, as ASGI middleware: no body is read of somebody unknown, and none without end; none of the app
API comes in that is no JSON; and no more of its requests are taken than can be worked on.

FastAPI reads a body whole before it asks a route who may call it, by a reader that takes NaN and half of a character,
which no answer could tell again; and routes that read the database share 40 threads. Endpoints that write answers see
to all of this themselves.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.asking import read_json
from server.auth import address_of
from server.errors import ApiError, unavailable
from server.exchange import read_request
from server.gateway import Gateway
from server.limiting import lesser

APP = "/api/"
INTERNAL = "/internal/"  # the trainer's paths
INTERNAL_BYTES = 256 * 1024 * 1024  # 4096 sequences of 8192 tokens, as JSON writes numbers


class Guarded:
    """Wraps the application. `refuse` writes an error in the form of the API that a request is in."""

    def __init__(self, app: ASGIApp, refuse: Callable[[Request, ApiError], Response]) -> None:
        self._app, self._refuse = app, refuse
        self._inside = 0  # requests of the app API

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers, most = dict(scope["headers"]), 0
            if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
                most = await self._allowed(scope, headers)
            if scope["path"].startswith(APP):
                await self._take_in(scope, receive, send, most)
            else:
                await self._app(scope, await _read(scope, receive, most), send)
        except ApiError as error:  # routes have their own way of saying theirs
            await self._refuse(Request(scope), error)(scope, receive, send)

    async def _take_in(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        allowed = scope["app"].state.gateway.settings.app_requests
        if self._inside >= allowed:
            raise unavailable(f"{allowed} requests of the app API are being worked on already", "overloaded")
        self._inside += 1
        try:
            await self._app(scope, await _read(scope, receive, most), send)
        finally:
            self._inside -= 1

    async def _allowed(self, scope: Scope, headers: dict[bytes, bytes]) -> int:
        """How many bytes whoever asks may send. Raises ApiError 401 for somebody unknown."""
        gateway: Gateway = scope["app"].state.gateway
        if scope["path"].startswith(INTERNAL):
            gateway.door.require_service(headers)
            return INTERNAL_BYTES
        house = gateway.settings.max_body_bytes
        if gateway.door.is_service(headers):
            return house
        identity = await gateway.door.identify(headers, address_of(scope))
        return lesser(house, identity.limits.body_bytes)


async def _read(scope: Scope, receive: Receive, most: int) -> Receive:
    """Read a body of up to `most` bytes, for the application to be given it; without one, `most` is 0."""
    if not most:
        return receive
    body: bytes | None = await read_request(receive, dict(scope["headers"]), most)
    if body and scope["path"].startswith(APP):
        read_json(body)

    async def again() -> Message:
        nonlocal body
        if body is None:
            return await receive()
        whole, body = body, None
        return {"type": "http.request", "body": whole, "more_body": False}

    return again
