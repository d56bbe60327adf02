"""The HTTP application: routes, and errors in OpenAI's form. The work is in `server.serving` and `server.api`."""

import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from db.errors import DatabaseUnavailable, NotFound, StorageError
from db.session import Database
from server import __version__, docs_page, tracing
from server.api import (
    absent,
    admin,
    checkpoints,
    comparisons,
    conversations,
    engines,
    events,
    health,
    internal,
    lineage,
    me,
    metrics,
    models,
    regressions,
    rounds,
    status,
    tokens,
)
from server.counting import Counted
from server.errors import FAILED, ApiError, not_found, unavailable
from server.forms.messages_answer import speaks, told
from server.gateway import Gateway
from server.guarding import Guarded
from server.openapi import describe
from server.settings import ServerSettings

log = logging.getLogger(__name__)

ROUTES = (
    *(health, metrics, models, tokens, events, status, conversations, comparisons, regressions, me, docs_page),
    *(rounds, checkpoints, lineage, admin, engines, internal, absent),
)


class House(FastAPI):
    """FastAPI for all but what writes answers, which stands before it: it would wrap every piece of them."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.answering: dict[str, ASGIApp] = {}
        """Plain ASGI endpoints that are POSTed to, by path."""

    def build_middleware_stack(self) -> ASGIApp:
        around = super().build_middleware_stack()

        async def straight(scope: Scope, receive: Receive, send: Send) -> None:
            endpoint = None
            if scope["type"] == "http" and scope["method"] == "POST":
                endpoint = self.answering.get(scope["path"])
            if endpoint is None:
                await around(scope, receive, send)
                return
            tracing.begin(scope, dict(scope["headers"]))
            try:
                await endpoint(scope, receive, send)
            except Exception as error:  # noqa: BLE001  each kind has its handler, the last one is for any
                handler = next(
                    self.exception_handlers[kind] for kind in type(error).__mro__ if kind in self.exception_handlers
                )
                response = await cast(Awaitable[Response], handler(Request(scope), error))
                await response(scope, receive, send)

        return straight


def create_app(settings: ServerSettings, database: Database | None = None) -> FastAPI:
    """The gateway as an ASGI application; its parts start and stop with the application's lifespan.

    `database` is opened from the settings, and migrated, unless one is given.
    """

    @asynccontextmanager
    async def lifespan(app: House) -> AsyncIterator[None]:
        settings.home.mkdir(parents=True, exist_ok=True)
        own = database or Database(settings.database)
        own.migrate()
        try:
            gateway = Gateway(settings, own)
            await gateway.start()
        except Exception as error:
            app.state.failure = error
            raise
        app.state.gateway = gateway
        app.answering |= gateway.answering
        # For requests by other methods, which are told what these paths take.
        app.router.routes[:0] = [
            Route(path, endpoint, methods=["POST"]) for path, endpoint in gateway.answering.items()
        ]
        try:
            yield
        finally:
            await gateway.stop(app.state.ends_at)
            if database is None:
                own.close()

    app = House(title="Ruminate", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.failure = None  # why the parts could not be started, for the entry point to say
    app.state.ends_at = 0.0  # until when answers may go on once it is told to end; the entry point's to say
    for part in ROUTES:
        app.router.routes += part.router.routes  # as they are; `include_router` would make each of them anew
    describe(app, settings.loopback_without_key)
    app.add_middleware(Guarded, refuse=_refusal)
    app.add_middleware(Counted)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StorageError, _storage)
    app.add_exception_handler(Exception, _defect)
    return app


def _refusal(request: Request, error: ApiError) -> Response:
    """An error in the form of the API that the request is in."""
    anthropic = speaks(request.url.path)
    answer = told(error) if anthropic else error.response()
    for name, value in tracing.named(request.scope):
        answer.headers[name.decode()] = value.decode()
        if anthropic:
            answer.headers["request-id"] = value.decode()
    return answer


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _refusal(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    words = f"{place or 'the body'}: {first['msg']}"
    return _refusal(request, ApiError(400, words, param=place or None, code="invalid_value"))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: f"there is no {request.method} {request.url.path} here",
        405: f"{request.url.path} does not take {request.method}",
    }
    headers = dict(error.headers or {})
    said = words.get(error.status_code, str(error.detail))
    return _refusal(request, ApiError(error.status_code, said, headers=headers))


async def _storage(request: Request, error: Exception) -> Response:
    if isinstance(error, NotFound):
        return _refusal(request, not_found(error.what, error.key))
    if isinstance(error, DatabaseUnavailable):
        return _refusal(request, unavailable(str(error), "database_unavailable"))
    return _refusal(request, ApiError(409, str(error), code=type(error).__name__))


async def _defect(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _refusal(request, ApiError(500, FAILED, code="internal_error"))
