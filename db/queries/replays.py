"""Rebuilding without what was forgotten: from the last clean checkpoint the later rounds are done again, one by one.

A plan is rows, and each of its rounds is an ordinary one with a row that says which round it repeats: whoever is killed
in between finds there what is left. Trains nothing and deploys nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.errors import RoundAlreadyOpen
from db.queries import deployments, rounds
from db.queries.checkpoints import lineage, lock_checkpoint
from db.queries.common import utcnow
from db.queries.forget import checkpoints_that_learnt_from, rounds_that_learnt_from
from db.schema import Checkpoint, Deployment, Replay, Round
from db.values import CheckpointState

TRIGGER = "rebuild"


@dataclass(frozen=True)
class Rebuild:
    """What was decided. `clean`: the checkpoint to stand on; `taken_back`: whether live or the canary must give way."""

    clean: Checkpoint
    taken_back: bool
    rejected: list[Checkpoint]
    rounds: list[int]
    """To be done again, in this order; those of an earlier rebuild that still wait come last."""
    cancelled: int | None
    """The open round, if it was built on a tainted checkpoint or trained on what was forgotten."""


def plan(session: Session, by: str, *, user_id: str | None = None, conversation_id: str | None = None) -> Rebuild:
    """Reject what learnt from this user or conversation, and note which rounds are to be done again.

    Nobody starts a round until live is no longer rejected; deploy `clean` after the transaction. Doing it twice changes
    nothing. The base is never rejected: it learnt from nobody.
    """
    family = checkpoints_that_learnt_from(session, user_id=user_id, conversation_id=conversation_id)
    tainted = [lock_checkpoint(session, one.id) for one in family]  # then nobody makes one live meanwhile
    ids = {one.id for one in tainted}
    wanted = deployments.current(session)
    line = lineage(session, 0 if wanted is None else wanted.live_checkpoint_id)
    for one in tainted:
        one.state = CheckpointState.REJECTED
    clean = line[0] if line[0].id not in ids else next(one for one in line if one.id not in ids and can_serve(one))
    again = [one.round_id for one in reversed(line) if one.id > clean.id and one.round_id is not None]
    waiting = [one.of_round_id for one in left(session)]
    cancelled = _cancel(session, ids, user_id, conversation_id)
    if cancelled is not None and (broken_off := repeated(session, cancelled)) is not None:
        waiting.insert(0, broken_off)
    order = _queue(session, [*again, *waiting], by)
    return Rebuild(clean, _serves(wanted, ids), tainted, order, cancelled)


def abort(session: Session, by: str, *, user_id: str | None = None, conversation_id: str | None = None) -> int | None:
    """Cancel the open round if it has trained on this user or conversation; gives its id, or None.

    One that chose its prompts and has not begun to train goes on without them. One of a rebuild is done once more.
    """
    running = rounds.open_round(session)
    cancelled = None
    if running is not None and running.phase not in (None, "curate"):
        cancelled = _cancel(session, set(), user_id, conversation_id)
    if cancelled is not None and (broken_off := repeated(session, cancelled)) is not None:
        _queue(session, [broken_off, *(one.of_round_id for one in left(session))], by)
    return cancelled


def can_serve(one: Checkpoint) -> bool:
    """Whether it has what it takes to be live: its files, and no verdict against it."""
    return one.kind == "base" or (one.path is not None and one.state != CheckpointState.REJECTED)


def clean_ancestor(session: Session, checkpoint_id: int) -> Checkpoint:
    """The nearest one, from the checkpoint itself back to the base, that can serve."""
    return next(one for one in lineage(session, checkpoint_id) if can_serve(one))


def left(session: Session) -> Sequence[Replay]:
    """What is still to be done again, in order."""
    return session.scalars(select(Replay).where(Replay.round_id.is_(None)).order_by(Replay.id)).all()


def ask_next(session: Session) -> Round | None:
    """Ask for the next round that is to be done again, with its settings and its seed; None when none is, or another
    round is open."""
    waiting = left(session)
    if not waiting or rounds.open_round(session) is not None:
        return None
    first, old = waiting[0], rounds.get_round(session, waiting[0].of_round_id)
    config = _ran_with(session, old)
    seed = int(config.pop("seed", old.seed))
    why = f"round {old.id} again, without what was forgotten; {len(waiting) - 1} more to do"
    try:
        row = rounds.request_round(session, old.algorithm, config, first.by, TRIGGER, why, seed)
    except RoundAlreadyOpen:  # in this very moment; its turn comes after that one
        return None
    first.round_id = row.id
    session.flush()
    return row


def repeated(session: Session, round_id: int) -> int | None:
    """Which round this one does again; None for one that does none."""
    return session.scalars(select(Replay.of_round_id).where(Replay.round_id == round_id)).first()


def give_up(session: Session) -> list[int]:
    """Do none of what is left again. Gives the rounds that waited."""
    waiting = [one.of_round_id for one in left(session)]
    session.execute(delete(Replay).where(Replay.round_id.is_(None)))
    return waiting


def _cancel(session: Session, tainted: set[int], user_id: str | None, conversation_id: str | None) -> int | None:
    running = rounds.open_round(session)
    if running is None:
        return None
    learnt = rounds_that_learnt_from(session, user_id=user_id, conversation_id=conversation_id)
    if running.parent_checkpoint_id not in tainted and running.id not in learnt:
        return None
    return rounds.cancel_round(session, running.id, "it stood on, or trained on, what has been forgotten since").id


def _queue(session: Session, again: Sequence[int], by: str) -> list[int]:
    """Have these rounds done again, each once and in this order, instead of what waited."""
    session.execute(delete(Replay).where(Replay.round_id.is_(None)))
    order = list(dict.fromkeys(again))
    for of_round in order:
        session.add(Replay(of_round_id=of_round, by=by, created_at=utcnow()))
        session.flush()  # one by one: their ids are their order
    return order


def _serves(wanted: Deployment | None, tainted: set[int]) -> bool:
    return wanted is not None and bool({wanted.live_checkpoint_id, wanted.canary_checkpoint_id} & tainted)


def _ran_with(session: Session, old: Round) -> dict[str, Any]:
    """Every setting of the round, as its checkpoint has them; of a round that made none, what it was asked for with."""
    made = session.scalars(select(Checkpoint).where(Checkpoint.round_id == old.id)).first()
    manifest = (made.manifest if made is not None else None) or {}
    return dict(manifest.get("config") or old.config)
