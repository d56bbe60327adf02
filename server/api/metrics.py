"""What a Prometheus server scrapes. Open to this machine's own programs; from elsewhere to the service key."""

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from server.api.common import WATCHING, House

router = APIRouter(tags=["health"])

TOLD = (
    "# HELP ruminate_chats Answers being written for people.\n# TYPE ruminate_chats gauge\nruminate_chats 2.0\n"
    "# HELP ruminate_waiting Requests that wait for an engine, or for room on one.\n# TYPE ruminate_waiting gauge\n"
    "ruminate_waiting 0.0\n"
)


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[WATCHING],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": TOLD}}}},
)
async def metrics(gateway: House) -> Response:
    """Counts, times and depths of this gateway; no words and no names of users."""
    text = await gateway.recorder.aside(gateway.metrics.text)  # else it would stand behind what reads the database
    return Response(text, media_type=CONTENT_TYPE_LATEST)
