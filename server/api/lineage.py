"""Where a checkpoint comes from; which ones learnt from somebody; and forgetting, by an administrator."""

import math
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from db.queries import audit, lineage
from server.api.common import Admin, House, Me
from server.errors import ApiError
from server.forgetting import forget
from server.views import when

router = APIRouter(prefix="/api", tags=["lineage"])


class ForgetRequest(BaseModel):
    """Exactly one of the two."""

    user: str | None = Field(None, max_length=200)
    """A user's name or id: everything of theirs goes, and so do their keys."""
    conversation: str | None = Field(None, max_length=200)


@router.get("/checkpoints/{name}/story")
def tell_story(gateway: House, _: Me, name: str) -> dict[str, Any]:
    """Parent, round, what changed, the gate's verdict, metrics first and last, prompts by source."""
    with gateway.database.reading() as session:
        found = lineage.story(session, name)
    row, manifest = found.round, found.checkpoint.manifest or {}
    return {
        "name": found.checkpoint.name,
        "state": found.checkpoint.state,
        "created_at": when(found.checkpoint.created_at),
        "lineage": [one.name for one in found.line],
        "parent": found.line[1].name if len(found.line) > 1 else None,
        "base": manifest.get("base"),
        "round": None if row is None else {"id": row.id, "algorithm": row.algorithm, "seed": row.seed,
                                           "trigger": row.trigger, "by": row.requested_by, "reason": row.reason,
                                           "steps": row.total_steps},
        "changed": {key: {"parent": before, "own": own} for key, (before, own) in found.changed.items()},
        "verdict": (row.verdict if row is not None else None) or manifest.get("verdict"),
        "prompts": found.prompts,
        "metrics": {key: [_number(first), _number(last)] for key, (first, last) in found.metrics.items()},
        "samples": manifest.get("samples") or [],
    }  # fmt: skip


@router.get("/lineage")
def who_learnt(gateway: House, _: Admin, user: str | None = None, conversation: str | None = None) -> dict[str, Any]:
    """The checkpoints that learnt from this user (name or id) or conversation, and the last clean one."""
    with gateway.database.reading() as session:
        user_id, conversation_id = _whose(session, user, conversation)
        return learnt_view(lineage.learnt(session, user_id=user_id, conversation_id=conversation_id))


@router.post("/forget")
def forget_somebody(gateway: House, admin: Admin, wish: ForgetRequest) -> dict[str, Any]:
    """Delete all that a user, or one conversation, left here; tell which checkpoints had learnt from it."""
    with gateway.database.reading() as session:
        user_id, conversation_id = _whose(session, wish.user, wish.conversation)
    gone = forget(gateway, user_id=user_id, conversation_id=conversation_id)
    with gateway.database.transaction() as session:
        audit.note(session, admin.name if user_id != admin.user_id else admin.user_id, "forget",
                   {"user": user_id, "conversation": conversation_id})  # fmt: skip
        found = lineage.learnt(session, user_id=user_id, conversation_id=conversation_id)
        return {"deleted": asdict(gone.rows) | {"spooled": gone.spooled}} | learnt_view(found)


def learnt_view(found: lineage.Learnt) -> dict[str, Any]:
    return {
        "learnt": [
            {"name": one.name, "state": one.state, "round": one.round_id, "created_at": when(one.created_at)}
            for one in found.checkpoints
        ],
        "last_clean": found.last_clean.name,
    }


def _whose(session: Any, user: str | None, conversation: str | None) -> tuple[str | None, str | None]:
    try:
        return lineage.whose(session, user, conversation)
    except ValueError as error:
        raise ApiError(400, str(error), code="invalid_value") from error


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
