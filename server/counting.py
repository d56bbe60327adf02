"""Names, counts and logs requests, as ASGI middleware. Endpoints that write answers do so themselves."""

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp

from server import tracing
from server.exchange import Message, Receive, Send


class Counted:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        tracing.begin(scope, dict(scope["headers"]))
        status = 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                if all(name != tracing.HEADER for name, _ in headers):
                    message = {**message, "headers": headers + tracing.named(scope)}
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            # The route's own pattern: an id in a path, or a path that nobody made, must not become a label.
            route = getattr(scope.get("route"), "path", "unknown")
            known = scope["method"] in ("GET", "POST", "PUT", "PATCH", "DELETE")
            scope["app"].state.gateway.metrics.request(route, scope["method"] if known else "other", status)
            tracing.end(scope, status)
