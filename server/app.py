"""The HTTP application: routes, and errors in OpenAI's form. The work is in `server.serving` and `server.api`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from db.errors import DatabaseUnavailable, NotFound, StorageError
from db.session import Database
from server.api import (
    admin,
    checkpoints,
    comparisons,
    conversations,
    events,
    health,
    internal,
    lineage,
    me,
    metrics,
    models,
    rounds,
    status,
)
from server.asking import PATHS
from server.counting import Counted
from server.errors import ApiError, not_found, unavailable
from server.gateway import Gateway
from server.openapi import describe
from server.settings import ServerSettings

log = logging.getLogger(__name__)


def create_app(settings: ServerSettings, database: Database | None = None) -> FastAPI:
    """The gateway as an ASGI application; its parts start and stop with the application's lifespan.

    `database` is opened from the settings, and migrated, unless one is given.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
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
        # Routes of plain ASGI endpoints: what streams by them is not touched by anything in between.
        app.router.routes.insert(0, Route(PATHS["chat"], gateway.chat, methods=["POST"]))
        app.router.routes.insert(1, Route(PATHS["text"], gateway.text, methods=["POST"]))
        try:
            yield
        finally:
            await gateway.stop()
            if database is None:
                own.close()

    app = FastAPI(title="Ruminate", version=version("ruminate"), lifespan=lifespan, docs_url="/docs", redoc_url=None)
    app.state.failure = None  # why the parts could not be started, for the entry point to say
    for part in (health, metrics, models, events, status, conversations, comparisons, me):
        app.include_router(part.router)
    for part in (rounds, checkpoints, lineage, admin, internal):
        app.include_router(part.router)
    describe(app)
    app.add_middleware(Counted, streaming=frozenset(PATHS.values()))
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StorageError, _storage)
    app.add_exception_handler(Exception, _defect)
    return app


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    return ApiError(400, f"{place or 'the body'}: {first['msg']}", param=place or None, code="invalid_value").response()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: f"there is no {request.method} {request.url.path} here",
        405: f"{request.url.path} does not take {request.method}",
    }
    headers = dict(error.headers or {})
    return ApiError(error.status_code, words.get(error.status_code, str(error.detail)), headers=headers).response()


async def _storage(_: Request, error: Exception) -> Response:
    if isinstance(error, NotFound):
        return not_found(error.what, error.key).response()
    if isinstance(error, DatabaseUnavailable):
        return unavailable(str(error), "database_unavailable").response()
    return ApiError(409, str(error), code=type(error).__name__).response()


async def _defect(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return ApiError(500, "the gateway failed on this request; its log has the cause", code="internal_error").response()
