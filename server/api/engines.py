"""The engines, for administrators: what each one does, and adding and removing them while everybody chats."""

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from db.queries import audit, engines
from server.api.common import House, Operator
from server.errors import ApiError, not_found, unavailable
from server.gateway import Gateway
from server.refusals import ENGINE_EXISTS, ENGINE_NEEDED, ENGINE_UNFIT, NOT_FOUND, refused
from server.settings import EngineUrl
from server.views import engine_view

router = APIRouter(prefix="/api/admin/engines", tags=["admin"])


class NewEngine(BaseModel):
    url: EngineUrl
    """Base URL of a vLLM server that runs already, with the base model of the others, such as http://10.0.0.7:8100."""


@router.get("")
def list_engines(gateway: House, _: Operator) -> dict[str, Any]:
    """Every engine as this gateway sees it."""
    given = gateway.fleet.given
    return {"data": [engine_view(one) | {"in_settings": one.url in given} for one in list(gateway.pool.engines)]}


@router.post("", status_code=201, responses=refused(ENGINE_EXISTS, ENGINE_UNFIT))
async def add_engine(gateway: House, by: Operator, wish: NewEngine) -> dict[str, Any]:
    """It takes requests at every gateway as soon as it has what is live, probed. 409 when it is there, 422 when it does
    not answer or has another base model."""
    if wish.url in gateway.fleet.wanted:
        raise ApiError(409, f"engine {wish.url} is there already", code="engine_exists", param="url")
    await gateway.fleet.examine(wish.url)
    await _change(gateway, wish.url, True, by)
    there = next((one for one in gateway.pool.engines if one.url == wish.url), None)
    if there is None:  # the rows could not be read again, or it was removed in the same moment
        raise unavailable(f"engine {wish.url} was added, and this gateway does not see it; look at the list again")
    return engine_view(there)


@router.delete("", status_code=204, responses=refused(NOT_FOUND, ENGINE_NEEDED))
async def remove_engine(gateway: House, by: Operator, url: EngineUrl) -> Response:
    """It gets nothing more; answers that it writes go on to their end, so stop it when its `in_flight` was 0 or they
    have ended. 409 for the last one."""
    wanted = gateway.fleet.wanted
    if url not in wanted:
        raise not_found("engine", url)
    if len(wanted) == 1:
        raise ApiError(409, f"{url} is the only engine; add another one first", code="engine_needed", param="url")
    await _change(gateway, url, False, by)
    return Response(status_code=204)


async def _change(gateway: Gateway, url: str, wanted: bool, by: str) -> None:
    def write() -> None:
        with gateway.database.transaction() as session:
            engines.want(session, url, wanted, by)
            audit.note(session, by, "engine.add" if wanted else "engine.remove", {"url": url})

    await asyncio.to_thread(write)
    await gateway.catalog.refresh()  # which makes this gateway's engines agree
    gateway.notices.send()
