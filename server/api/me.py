"""A user's own say: what may be done with what they write, and the deletion of all of it."""

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from db.queries import forget, users
from server.api.common import House, Me
from server.forgetting import erase_files

router = APIRouter(prefix="/api/me", tags=["me"])


class ConsentChoice(BaseModel):
    consent: Literal["none", "history", "train"]


@router.get("/consent")
def get_consent(gateway: House, me: Me) -> dict[str, Any]:
    with gateway.database.reading() as session:
        return {"consent": users.get_user(session, me.user_id).consent}


@router.put("/consent")
def set_consent(gateway: House, me: Me, choice: ConsentChoice) -> dict[str, Any]:
    """From now on. Taking `train` back also takes back what was allowed before."""
    with gateway.database.transaction() as session:
        users.set_consent(session, me.user_id, choice.consent)
    gateway.door.forget(me.user_id)
    return {"consent": choice.consent}


@router.delete("/data")
def delete_data(gateway: House, me: Me) -> dict[str, Any]:
    """Everything that this user said and was told, also what still waits on disk. Keys go on working."""
    spooled = erase_files(gateway, lambda turn: turn.user_id == me.user_id)
    with gateway.database.transaction() as session:
        gone = forget.delete_user_data(session, me.user_id)
    gateway.database.scrub()
    return {"deleted": asdict(gone) | {"spooled": spooled}}
