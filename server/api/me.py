"""A user's own say: who they are, their keys, what may be done with what they write, and the deletion of all of it."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from db.errors import NotFound
from db.queries import conversations, users
from server.api.common import BeforeId, House, Limit, Me
from server.api.conversations import whole
from server.errors import invalid
from server.forgetting import forget_data
from server.refusals import INVALID, NOT_FOUND, refused
from server.views import key_view

router = APIRouter(prefix="/api/me", tags=["me"])
GONE = refused(NOT_FOUND)
MOST = 200  # conversations in one answer


class ConsentChoice(BaseModel):
    consent: Literal["none", "history", "train"]


@router.get("", responses=GONE)
def get_me(gateway: House, me: Me) -> dict[str, Any]:
    """Who is asking, and with which key (null where none is needed)."""
    with gateway.database.reading() as session:
        user = users.get_user(session, me.user_id)
        key = None if me.key_id is None else key_view(users.get_key(session, me.key_id))
        return {"id": user.id, "name": user.name, "role": user.role, "consent": user.consent, "key": key}


@router.get("/keys")
def list_own_keys(gateway: House, me: Me) -> dict[str, Any]:
    """All keys of this user, revoked ones too; never the keys themselves."""
    with gateway.database.reading() as session:
        return {"data": [key_view(key) for key in users.list_keys(session, me.user_id)]}


@router.delete("/keys/{key_id}", status_code=204, responses=GONE)
def revoke_own_key(gateway: House, me: Me, key_id: str) -> Response:
    """It opens nothing any more, here at once, at other gateways within seconds."""
    with gateway.database.transaction() as session:
        if users.get_key(session, key_id).user_id != me.user_id:
            raise NotFound("key", key_id)
        users.revoke_key(session, key_id)
    gateway.door.forget(me.user_id)
    return Response(status_code=204)


@router.get("/consent", responses=GONE)
def get_consent(gateway: House, me: Me) -> dict[str, Any]:
    with gateway.database.reading() as session:
        return {"consent": users.get_user(session, me.user_id).consent}


@router.put("/consent", responses=GONE)
def set_consent(gateway: House, me: Me, choice: ConsentChoice) -> dict[str, Any]:
    """From now on. Taking `train` back also takes back what was allowed before."""
    with gateway.database.transaction() as session:
        users.set_consent(session, me.user_id, choice.consent)
    gateway.door.forget(me.user_id)
    return {"consent": choice.consent}


@router.get("/data", responses=refused(INVALID))
def export_data(
    gateway: House, me: Me, limit: Limit = 50, before: datetime | None = None, before_id: BeforeId = None
) -> dict[str, Any]:
    """Everything that is kept of this user, conversation by conversation, in an order that what they say meanwhile does
    not change. `before_id` (`id` of the last one) goes on with the next page; an empty one is the end. `before` counts
    for nothing beside it.
    """
    if before is not None and before_id is None:
        raise invalid(
            "`before` alone names no conversation to go on from; send the last one's id as `before_id`", "before_id"
        )
    with gateway.database.reading() as session:
        return {
            "data": whole(session, conversations.all_conversations(session, me.user_id, min(limit, MOST), before_id))
        }


@router.delete("/data", responses=GONE)
def delete_data(gateway: House, me: Me) -> dict[str, Any]:
    """Everything that this user said and was told, also what still waits on disk. Keys go on working."""
    gone = forget_data(gateway, me.user_id)
    return {"deleted": asdict(gone.rows) | {"spooled": gone.spooled}}
