"""Rounds of training: asking for one, looking at them, stopping one. The trainer finds the rows by itself."""

import secrets
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from db.errors import RoundAlreadyOpen
from db.queries import audit, checkpoints, curation, replays, rounds
from server.api.common import Admin, House, Limit, Me, Number
from server.errors import ApiError, invalid
from server.refusals import INVALID, NOT_FOUND, ROUND_OPEN, refused
from server.views import round_view, series

router = APIRouter(prefix="/api/rounds", tags=["rounds"])


class RoundRequest(BaseModel):
    algorithm: str = Field("", max_length=40)
    """Empty: the one that the trainer is set to."""
    config: dict[str, Any] = {}
    """Settings of this round that differ from the trainer's own."""
    reason: str = Field("", max_length=1000)
    seed: int | None = Field(None, ge=0, lt=2**31)


class Cancellation(BaseModel):
    reason: str = Field("", max_length=1000)


@router.post("", status_code=201, responses=refused(INVALID, ROUND_OPEN))
def start_round(gateway: House, admin: Admin, wish: RoundRequest) -> dict[str, Any]:
    """Ask for a round. 409 with its id while another one is open."""
    rank, most = wish.config.get("lora_rank"), gateway.settings.max_lora_rank
    if isinstance(rank, int) and rank > most:
        raise invalid(
            f"lora_rank = {rank}: the engines take adapters of rank {most} at most; lower it, or start engine, gateway "
            f"and trainer with a higher RUMINATE_MAX_LORA_RANK",
            param="config.lora_rank",
        )
    among = wish.config.get("seed")  # where it counts as well, and the row is to say so
    seed = among if isinstance(among, int) and 0 <= among < 2**31 else wish.seed
    seed = secrets.randbelow(2**31) if seed is None else seed
    try:
        with gateway.database.transaction() as session:
            row = rounds.request_round(
                session, wish.algorithm, wish.config, admin.name, trigger="person", reason=wish.reason, seed=seed
            )
            audit.note(session, admin.name, "round.request", {"round": row.id, "algorithm": wish.algorithm})
            return round_view(row, {})
    except RoundAlreadyOpen as error:
        raise ApiError(409, str(error), code="round_already_open", extra={"round_id": error.round_id}) from error


@router.get("")
def list_rounds(gateway: House, _: Me, limit: Limit = 100) -> dict[str, Any]:
    """Newest first."""
    with gateway.database.reading() as session:
        names = checkpoints.names(session)
        return {"data": [round_view(row, names) for row in rounds.list_rounds(session, limit)]}


@router.get("/{round_id}", responses=refused(NOT_FOUND))
def get_round(gateway: House, _: Me, round_id: Number) -> dict[str, Any]:
    """One round with its metrics by step."""
    with gateway.database.reading() as session:
        names = checkpoints.names(session)
        row = rounds.get_round(session, round_id)
        return round_view(row, names) | {"metrics": series(rounds.metrics(session, round_id))}


@router.get("/{round_id}/prompts", responses=refused(NOT_FOUND))
def get_funnel(gateway: House, _: Admin, round_id: Number) -> dict[str, Any]:
    """How many prompts curation kept and left, by source and reason. No prompt is told."""
    with gateway.database.reading() as session:
        found = curation.funnel(session, round_id)
    names = ("source", "split", "verdict", "why", "prompts")
    return {"round": round_id, "data": [dict(zip(names, row, strict=True)) for row in found]}


@router.post("/{round_id}/cancel", responses=refused(NOT_FOUND))
def cancel_round(gateway: House, admin: Admin, round_id: Number, wish: Cancellation | None = None) -> dict[str, Any]:
    """Stop a round; its trainer learns so at its next write. One that has ended stays as it is.

    With a round of a rebuild the rounds that it was still to do again are given up.
    """
    reason = wish.reason.strip() if wish is not None else ""
    with gateway.database.transaction() as session:
        if rounds.get_round(session, round_id).open and replays.repeated(session, round_id) is not None:
            replays.give_up(session)
        row = rounds.cancel_round(session, round_id, f"stopped by {admin.name}: {reason}" if reason else None)
        audit.note(session, admin.name, "round.cancel", {"round": round_id, "state": row.state, "reason": reason})
        return round_view(row, {})
