"""What a Prometheus server scrapes. Open to this machine's own programs; from elsewhere to the service key."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from server.api.common import House
from server.auth import address_of

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response)
async def metrics(gateway: House, request: Request) -> Response:
    """Counts, times and depths of this gateway; no words and no names of users."""
    gateway.door.require_service(dict(request.headers.raw), address_of(request.scope))
    text = await gateway.recorder.aside(gateway.metrics.text)  # else it would stand behind what reads the database
    return Response(text, media_type=CONTENT_TYPE_LATEST)
