"""Where a checkpoint comes from; which ones learnt from somebody; forgetting, and rebuilding, by an administrator."""

import asyncio
import math
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from db.queries import audit, lineage, replays
from db.schema import Checkpoint
from server.api.common import Admin, House, Limit, Me, Number
from server.errors import ApiError
from server.forgetting import forget, withdraw
from server.refusals import DEPLOYED, INVALID, NO_ADMIN, NOT_FOUND, refused
from server.views import when

router = APIRouter(prefix="/api", tags=["lineage"])


Split = Literal["train", "heldout"] | None
Verdict = Literal["kept", "left"] | None
After = Annotated[int, Query(ge=-1, lt=2**31)]


class ForgetRequest(BaseModel):
    """Exactly one of user and conversation."""

    user: str | None = Field(None, max_length=200)
    """A user's name or id: everything of theirs goes, and so do their keys."""
    conversation: str | None = Field(None, max_length=200)
    rebuild: bool = False
    """Reject what learnt from it, serve the last clean checkpoint, and do the later rounds again without it."""
    keep_words: bool = False
    """Delete nothing: take back what may be trained on, as an opt-out of their own does, and go on from there."""


@router.get("/checkpoints/{name}/story", responses=refused(NOT_FOUND))
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


@router.get("/rounds/{round_id}/prompts/ids", responses=refused(NOT_FOUND))
def list_prompts(
    gateway: House,
    _: Admin,
    round_id: Number,
    split: Split = None,
    verdict: Verdict = None,
    after: After = -1,
    limit: Limit = 1000,
) -> dict[str, Any]:
    """Which prompts a round looked at, by their ids, and what became of each. None is told. `after` (the last one's
    `position`) goes on with the next page."""
    with gateway.database.reading() as session:
        return {"round": round_id, **_prompts(session, round_id, split, verdict, after, limit)}


@router.get("/checkpoints/{name}/prompts", responses=refused(NOT_FOUND))
def list_learnt(
    gateway: House,
    _: Admin,
    name: str,
    split: Split = "train",
    verdict: Verdict = "kept",
    after: After = -1,
    limit: Limit = 1000,
) -> dict[str, Any]:
    """From which prompts a checkpoint learnt, by their ids; with `split=heldout` which ones its gate asked."""
    with gateway.database.reading() as session:
        row = lineage.story(session, name).round
        found: dict[str, list[Any]] = {"data": [], "preferences": []}
        if row is not None:
            found = _prompts(session, row.id, split, verdict, after, limit)
        return {"checkpoint": name, "round": None if row is None else row.id, **found}


@router.get("/lineage", responses=refused(INVALID, NO_ADMIN, NOT_FOUND))
def who_learnt(gateway: House, me: Me, user: str | None = None, conversation: str | None = None) -> dict[str, Any]:
    """The checkpoints that learnt from this user (name or id) or conversation, and the last clean one. One's own
    conversation; to an administrator anybody's, and any user."""
    if user is not None and not me.is_admin:
        raise ApiError(403, "only an administrator may ask about a user", code="admin_only")
    with gateway.database.reading() as session:
        user_id, conversation_id = _whose(session, user, conversation, None if me.is_admin else me.user_id)
        return learnt_view(lineage.learnt(session, user_id=user_id, conversation_id=conversation_id))


@router.get("/generations/{generation_id}/lineage", responses=refused(NOT_FOUND))
def tell_answer(gateway: House, me: Me, generation_id: str) -> dict[str, Any]:
    """What went into the weights that gave an answer: each checkpoint back to the base, its round, and how many prompts
    of which source it trained on. One's own answer; to an administrator anybody's."""
    with gateway.database.reading() as session:
        answer, line = lineage.behind_answer(session, generation_id, None if me.is_admin else me.user_id)
        return {
            "generation_id": answer.id,
            "model": answer.model,
            "conversation_id": answer.conversation_id,
            "started_at": when(answer.started_at),
            "lineage": [
                {
                    "name": one.checkpoint.name,
                    "state": one.checkpoint.state,
                    "round": None if one.round is None else one.round.id,
                    "algorithm": None if one.round is None else one.round.algorithm,
                    "ended_at": None if one.round is None else when(one.round.ended_at),
                    "prompts": one.prompts,
                }
                for one in line
            ],
        }


@router.get("/conversations/{conversation_id}/lineage", responses=refused(NOT_FOUND))
def tell_conversation(gateway: House, me: Me, conversation_id: str) -> dict[str, Any]:
    """What rounds made of a conversation: the checkpoints that learnt from it, the open round if it trains on it, how
    many of its prompts were trained on, held out or left, and whether a round may train on it now. One's own
    conversation; to an administrator anybody's."""
    with gateway.database.reading() as session:
        found = lineage.uses(session, conversation_id, None if me.is_admin else me.user_id)
        return {
            "conversation_id": conversation_id,
            "learnt": [_learnt(one) | {"directly": direct} for direct, ones in ((True, found.own), (False, found.grown))
                       for one in ones],
            "open_round": found.open_round,
            "prompts": found.prompts,
            "may_train": found.may_train,
        }  # fmt: skip


@router.post("/forget", responses=refused(INVALID, NOT_FOUND, *DEPLOYED))
async def forget_somebody(gateway: House, admin: Admin, wish: ForgetRequest) -> dict[str, Any]:
    """Delete all that a user, or one conversation, left here; tell which checkpoints had learnt from it.

    With `keep_words` their words stay and their consent to train on them goes; `withdrawn` has what became of copies.
    The open round is cancelled if it has trained on it: `cancelled` is its id.
    With `rebuild` those are rejected, and `rebuild` in the answer says what is live and which rounds are done again. An
    answer other than 200 after the deletion can be followed by the same request: it goes on where that one ended.
    """
    told, plan = await asyncio.to_thread(_forgotten, gateway, admin, wish)
    if plan is None:
        return told
    if plan.taken_back:
        what = "withdrawn" if wish.keep_words else "forgotten"
        reason = f"{', '.join(one.name for one in plan.rejected)} learnt from what was {what}"
        await gateway.swap.deploy(plan.clean.name, admin.name, reason, disown=True)
    live = gateway.catalog.live
    return told | {"rebuild": rebuild_view(plan) | {"live": None if live is None else live.name}}


@router.get("/rebuild")
def rebuild_left(gateway: House, _: Admin) -> dict[str, Any]:
    """Which rounds are still to be done again, in order."""
    with gateway.database.reading() as session:
        return {"rounds": [one.of_round_id for one in replays.left(session)]}


@router.delete("/rebuild")
def give_rebuild_up(gateway: House, admin: Admin) -> dict[str, Any]:
    """Do none of the rounds that are left again. What is live stays; a round that runs goes on."""
    with gateway.database.transaction() as session:
        given_up = replays.give_up(session)
        audit.note(session, admin.name, "rebuild.stop", {"rounds": given_up})
        return {"rounds": given_up}


def _forgotten(gateway: House, admin: Admin, wish: ForgetRequest) -> tuple[dict[str, Any], replays.Rebuild | None]:
    with gateway.database.reading() as session:
        user_id, conversation_id = _whose(session, wish.user, wish.conversation)
    told: dict[str, Any]
    if wish.keep_words:
        left = withdraw(gateway, user_id=user_id, conversation_id=conversation_id)
        told = {"withdrawn": {"round_prompts": left.round_prompts, "regressions": left.regressions}}
    else:
        gone = forget(gateway, user_id=user_id, conversation_id=conversation_id)
        told = {"deleted": asdict(gone.rows) | {"spooled": gone.spooled}}
    actor = admin.name if user_id != admin.user_id else admin.user_id
    with gateway.database.transaction() as session:
        plan = cancelled = None
        if wish.rebuild:
            plan = replays.plan(session, actor, user_id=user_id, conversation_id=conversation_id)
        else:
            cancelled = replays.abort(session, actor, user_id=user_id, conversation_id=conversation_id)
        detail = {"user": user_id, "conversation": conversation_id, "cancelled": cancelled}
        detail |= {"kept_words": True} if wish.keep_words else {}
        detail |= {} if plan is None else rebuild_view(plan)
        audit.note(session, actor, "forget", detail)
        found = lineage.learnt(session, user_id=user_id, conversation_id=conversation_id)
        return told | {"cancelled": cancelled} | learnt_view(found), plan


def _prompts(
    session: Any, round_id: int, split: str | None, verdict: str | None, after: int, limit: int
) -> dict[str, list[Any]]:
    rows = lineage.prompts(session, round_id, after, limit, split=split, verdict=verdict)
    data = [
        {
            "position": row.position,
            "source": row.source,
            "split": row.split,
            "verdict": row.verdict,
            "why": row.why,
            "message": row.message_id,
            "conversation": row.conversation_id,
            "forgotten": when(row.erased_at),
        }
        for row in rows
    ]
    known = lineage.preferences(session, round_id)
    chosen = dict.fromkeys((one.message_id, one.conversation_id) for one in known)
    return {"data": data, "preferences": [{"message": one, "conversation": place} for one, place in chosen]}


def rebuild_view(plan: replays.Rebuild) -> dict[str, Any]:
    return {
        "from": plan.clean.name,
        "rejected": [one.name for one in plan.rejected],
        "rounds": plan.rounds,
        "cancelled": plan.cancelled,
    }


def learnt_view(found: lineage.Learnt) -> dict[str, Any]:
    return {
        "learnt": [_learnt(one) for one in found.checkpoints],
        "last_clean": found.last_clean.name,
    }


def _learnt(one: Checkpoint) -> dict[str, Any]:
    return {"name": one.name, "state": one.state, "round": one.round_id, "created_at": when(one.created_at)}


def _whose(
    session: Any, user: str | None, conversation: str | None, owner: str | None = None
) -> tuple[str | None, str | None]:
    try:
        return lineage.whose(session, user, conversation, owner)
    except ValueError as error:
        raise ApiError(400, str(error), code="invalid_value") from error


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
