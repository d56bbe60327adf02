"""Stands before FastAPI, as ASGI middleware: no body is read of somebody unknown, and none without end.

FastAPI reads a body whole before it asks a route who may call it. Endpoints that write answers see to both themselves.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.auth import address_of
from server.errors import ApiError
from server.exchange import read_request
from server.gateway import Gateway
from server.limiting import lesser

INTERNAL = "/internal/"  # the trainer's paths
INTERNAL_BYTES = 256 * 1024 * 1024  # 4096 sequences of 8192 tokens, as JSON writes numbers


class Guarded:
    """Wraps the application. `refuse` writes an error in the form of the API that a request is in."""

    def __init__(self, app: ASGIApp, refuse: Callable[[Request, ApiError], Response]) -> None:
        self._app, self._refuse = app, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0":
            await self._app(scope, receive, send)  # there is no body
            return
        try:
            most = await self._allowed(scope, headers)
            body: bytes | None = await read_request(receive, headers, most)
        except ApiError as error:
            await self._refuse(Request(scope), error)(scope, receive, send)
            return

        async def read() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            whole, body = body, None
            return {"type": "http.request", "body": whole, "more_body": False}

        await self._app(scope, read, send)

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
