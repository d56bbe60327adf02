"""The state of the house in one look: what is live and why, the engines, the open round, the prompts."""

from typing import Any

from fastapi import APIRouter

from db.queries import checkpoints, rounds
from server import __version__
from server.api.common import House, Me
from server.views import engine_view, round_view, when

router = APIRouter(tags=["status"])


@router.get("/api/status")
def status(gateway: House, _: Me) -> dict[str, Any]:
    wanted = gateway.catalog.wanted
    with gateway.database.reading() as session:
        names = checkpoints.names(session)
        open_round = rounds.open_round(session)
    recorded, trainable = gateway.prompts.get()
    live = None if wanted is None else {"name": wanted.live.name, "since": when(wanted.since), "reason": wanted.reason}
    return {
        "profile": gateway.settings.profile,
        "version": __version__,
        "live": live,
        "previous": wanted.previous.name if wanted is not None and wanted.previous is not None else None,
        "canary": None
        if wanted is None or wanted.canary is None
        else {
            "name": wanted.canary.name,
            "share": wanted.canary_share,
            "since": when(wanted.since),
            "trouble": gateway.watcher.trouble,
        },
        "engines": [engine_view(engine) for engine in list(gateway.pool.engines)],
        "round": None if open_round is None else round_view(open_round, names),
        "prompts": {"recorded": recorded, "trainable": trainable},
        "chats": gateway.pool.chats,
        "rollouts": {
            "limit": gateway.rollouts.limit,
            "running": gateway.rollouts.running,
            "waiting": gateway.rollouts.waiting,
            "reason": gateway.rollouts.reason,
        },
        "recording": {
            "recorded": gateway.recorder.recorded,
            "spooled": gateway.recorder.waiting,
            "trouble": gateway.recorder.trouble,
        },
    }
