"""Checkpoints and which of them is live."""

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from db.queries import audit, checkpoints, deployments
from server.api.common import Admin, House, Me
from server.errors import not_found
from server.gateway import Gateway
from server.refusals import DEPLOYED, NO_CANARY, NOT_FOUND, ON_TRIAL, TAKEN_BACK, refused
from server.retention import prune
from server.views import checkpoint_view, when

router = APIRouter(prefix="/api", tags=["checkpoints"])


class DeploymentRequest(BaseModel):
    checkpoint: str = Field(max_length=40)
    """A checkpoint's name, such as "v3", or "previous"."""
    reason: str = Field("", max_length=1000)
    expected_live: str | None = None
    """What is live as far as the asker knows; refused when it is not."""
    canary_share: float = Field(0.0, ge=0, le=0.5)
    """Above 0: not live yet, but on trial in this share of conversations. Making live live again ends a trial."""


class PruneRequest(BaseModel):
    keep: int = Field(10, ge=1)
    """So many of the newest checkpoints that can be made live keep their files in any case."""


@router.get("/checkpoints")
def list_checkpoints(gateway: House, _: Me, manifests: bool = True) -> dict[str, Any]:
    """Newest first. With `manifests=false` each `manifest` is null: after years of rounds they are large together."""
    live = gateway.catalog.live
    with gateway.database.reading() as session:
        rows = checkpoints.list_checkpoints(session, manifests)
        names = {row.id: row.name for row in rows}
        return {"data": [checkpoint_view(row, names, live, manifests) for row in reversed(rows)]}


@router.get("/checkpoints/{name}", responses=refused(NOT_FOUND))
def get_checkpoint(gateway: House, _: Me, name: str) -> dict[str, Any]:
    live = gateway.catalog.live
    with gateway.database.reading() as session:
        row = checkpoints.find_checkpoint(session, name)
        if row is None:
            raise not_found("checkpoint", name)
        line = checkpoints.lineage(session, row.id)
    names = {one.id: one.name for one in line}
    return checkpoint_view(row, names, live) | {"lineage": [one.name for one in line]}


@router.get("/deployments")
def list_deployments(gateway: House, _: Me) -> dict[str, Any]:
    """What was live since when, newest first."""
    with gateway.database.reading() as session:
        names = checkpoints.names(session)
        rows = deployments.history(session)
    data = [
        {
            "id": row.id,
            "live": names[row.live_checkpoint_id],
            "previous": names[row.previous_checkpoint_id] if row.previous_checkpoint_id is not None else None,
            "canary": names[row.canary_checkpoint_id] if row.canary_checkpoint_id is not None else None,
            "canary_share": row.canary_share,
            "by": row.by,
            "reason": row.reason,
            "created_at": when(row.created_at),
        }
        for row in rows
    ]
    return {"data": data}


@router.post("/deployments", responses=refused(*DEPLOYED, ON_TRIAL, TAKEN_BACK, NO_CANARY))
async def deploy(gateway: House, admin: Admin, wish: DeploymentRequest) -> dict[str, str | None]:
    """Make a checkpoint live. Answers once it is, on every healthy engine, with its probe passed."""
    done = await gateway.swap.deploy(
        wish.checkpoint, admin.name, wish.reason, wish.expected_live, share=wish.canary_share
    )
    await asyncio.to_thread(note_deployment, gateway, admin.name, wish, done)
    return done


@router.post("/prune")
async def prune_files(gateway: House, admin: Admin, wish: PruneRequest) -> dict[str, list[str]]:
    """Remove the files of checkpoints beyond the newest `keep`, of none that is in use. Their rows stay."""
    return await pruned(gateway, admin.name, wish)


async def pruned(gateway: Gateway, actor: str, wish: PruneRequest) -> dict[str, list[str]]:
    names = await prune(gateway, wish.keep)
    if names:
        await asyncio.to_thread(_note_pruning, gateway, actor, names)
    return {"pruned": names}


def _note_pruning(gateway: Gateway, actor: str, names: list[str]) -> None:
    with gateway.database.transaction() as session:
        audit.note(session, actor, "prune", {"checkpoints": names})


def note_deployment(gateway: House, actor: str, wish: DeploymentRequest, done: dict[str, str | None]) -> None:
    with gateway.database.transaction() as session:
        audit.note(session, actor, "deploy", {"asked": wish.checkpoint, "reason": wish.reason, **done})
