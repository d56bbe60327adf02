"""Which checkpoints still need their files. Rows stay for good: lineage is told from them."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.queries import deployments
from db.queries.common import utcnow
from db.queries.rounds import open_round
from db.schema import Checkpoint, EngineState, Wish
from db.values import CheckpointState

PRUNABLE = (CheckpointState.PUBLISHED, CheckpointState.RETIRED, CheckpointState.REJECTED)
"""Not a candidate or a canary: somebody works with it."""
OBSERVED_FOR = timedelta(days=7)
"""How long an engine counts as having what it was last seen to have; one that is gone takes nothing back."""


def release(session: Session, keep: int, used: set[str]) -> list[tuple[str, str]]:
    """Give up the files of all but the `keep` newest checkpoints and those in use: (name, path) of each given up.

    What can be made live counts among its own, so that rejected ones push out none of it; a rejected one is kept while
    it is among the `keep` newest of all.

    In use are live, previous and canary, what the open round stands on, what an engine was seen to have, what any
    gateway wishes, and the names in `used`. From here on nobody is given these paths; delete the files after the
    transaction has committed.
    """
    rows = session.scalars(
        select(Checkpoint).where(Checkpoint.path.is_not(None)).order_by(Checkpoint.id.desc()).with_for_update()
    ).all()
    needed = _needed(session)
    names = used | _observed(session)
    given_up = []
    servable = 0  # of those that are newer
    for place, row in enumerate(rows):
        rejected = row.state == CheckpointState.REJECTED
        late = (place if rejected else servable) >= keep
        servable += not rejected
        spare = late and row.id not in needed and row.name not in names
        if spare and row.kind != "base" and row.state in PRUNABLE and row.path is not None:
            given_up.append((row.name, row.path))
            row.path = None
            if row.state == CheckpointState.PUBLISHED:
                row.state = CheckpointState.RETIRED
    session.flush()
    return given_up


def without_files(session: Session) -> Sequence[str]:
    """Names of the checkpoints whose files were given up, or never came to be: what lies under them can go."""
    gone = select(Checkpoint.name).where(Checkpoint.path.is_(None), Checkpoint.state.in_(PRUNABLE))
    return session.scalars(gone.where(Checkpoint.kind != "base").order_by(Checkpoint.id)).all()


def _needed(session: Session) -> set[int | None]:
    wanted, running = deployments.current(session), open_round(session)
    needed: set[int | None] = set()
    if wanted is not None:
        needed |= {wanted.live_checkpoint_id, wanted.previous_checkpoint_id, wanted.canary_checkpoint_id}
    if running is not None:
        needed |= {running.parent_checkpoint_id, running.candidate_checkpoint_id}
    return needed


def _observed(session: Session) -> set[str]:
    recent = select(EngineState.checkpoint_name).where(
        EngineState.state == "loaded", EngineState.observed_at > utcnow() - OBSERVED_FOR
    )
    return {name.removeprefix("ruminate-") for name in (*session.scalars(recent), *session.scalars(select(Wish.name)))}
