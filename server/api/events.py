"""The events of a detached answer, for a client that comes back."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from server.api.common import House, Me
from server.openapi_parts import EVENT
from server.pickup import place_of
from server.refusals import ELSEWHERE, INVALID, NOT_FOUND, NOT_KEPT, refused

router = APIRouter(tags=["chat"])
_TOLD = (
    'id: 4\ndata: {"object":"chat.completion.chunk","model":"ruminate-v3",'
    '"choices":[{"index":0,"delta":{"content":"Monday"},"finish_reason":null}]}\n\n'
    "id: 5\ndata: [DONE]\n\n"
)


@router.get(
    "/v1/chat/completions/{generation_id}/events",
    response_class=StreamingResponse,
    responses=refused(INVALID, NOT_FOUND, ELSEWHERE, NOT_KEPT)
    | {200: {"content": {"text/event-stream": {"schema": EVENT, "example": _TOLD}}}},
)
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
