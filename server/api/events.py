"""The events of a detached answer, for a client that comes back."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from server.api.common import House, Me
from server.pickup import place_of

router = APIRouter(tags=["chat"])


@router.get("/v1/chat/completions/{generation_id}/events", response_class=StreamingResponse)
async def events(
    gateway: House,
    me: Me,
    generation_id: str,
    after: Annotated[int, Query(ge=0, le=10**9)] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """What comes after event number `after` (or `Last-Event-ID`), and on to the answer's end as it is written.

    `x-ruminate-events` says where from: `stream`, or `record`, whose events begin at the beginning and are numbered
    `record-1` and so on. An answer that was interrupted ends with an error event that says so.
    """
    picked = await gateway.pickup.find(generation_id, me.user_id, place_of(last_event_id, after))
    headers = {
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        "x-ruminate-generation": generation_id,
        "x-ruminate-events": picked.source,
    }
    return StreamingResponse(picked.events, media_type="text/event-stream", headers=headers)
