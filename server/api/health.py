"""Whether this gateway can answer, for supervisors and load balancers. Needs no key and tells no names."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from server.api.common import House

router = APIRouter()


_WAITING = {"status": "starting", "engines": [{"state": "starting", "detail": ""}], "trouble": None}
_LATER = {"description": "Not now; see Retry-After.", "content": {"application/json": {"example": _WAITING}}}


@router.head("/health", include_in_schema=False)  # as monitors ask that want the status alone
@router.get("/health", tags=["health"], responses={503: _LATER})
async def health(gateway: House) -> JSONResponse:
    """200 when a chat would be answered now, else 503 with `starting` or `waiting` for an engine."""
    state = "ok" if gateway.ready else "waiting" if gateway.pool.seen else "starting"
    body = {
        "status": state,
        "engines": [{"state": engine.state, "detail": engine.detail} for engine in gateway.pool.engines],
        "trouble": gateway.trouble,
    }
    headers = {} if state == "ok" else {"Retry-After": "2"}
    return JSONResponse(body, 200 if state == "ok" else 503, headers)
