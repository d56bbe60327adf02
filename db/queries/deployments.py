"""Which checkpoint is wanted live, changed by compare-and-set, and what each engine was seen to have."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.errors import DeploymentChanged
from db.queries.checkpoints import get_checkpoint, lineage
from db.queries.common import insert, utcnow
from db.queries.rounds import cancel_round, open_round
from db.schema import Deployment, EngineState


def current(session: Session) -> Deployment | None:
    """The wanted state; None before the first."""
    return session.scalars(select(Deployment).order_by(Deployment.id.desc()).limit(1)).first()


def propose(
    session: Session,
    live_id: int,
    by: str,
    reason: str,
    expected_id: int | None,
    *,
    canary_id: int | None = None,
    canary_share: float = 0.0,
) -> Deployment:
    """Want checkpoint `live_id` live, if row `expected_id` is still the newest (None: if there is none yet).

    What was live becomes `previous`; proposing what is already live keeps `previous`. Raises DeploymentChanged when
    somebody else was quicker, also in a transaction that has not committed when this one began.
    """
    get_checkpoint(session, live_id)
    newest = current(session)
    newest_id = None if newest is None else newest.id
    if newest_id != expected_id:
        raise DeploymentChanged(expected_id, newest_id)
    previous = None
    if newest is not None:
        same = newest.live_checkpoint_id == live_id
        previous = newest.previous_checkpoint_id if same else newest.live_checkpoint_id
    wanted = Deployment(
        supersedes=expected_id or 0,
        live_checkpoint_id=live_id,
        previous_checkpoint_id=previous,
        canary_checkpoint_id=canary_id,
        canary_share=canary_share,
        by=by,
        reason=reason,
        created_at=utcnow(),
    )
    try:
        with session.begin_nested():
            session.add(wanted)
    except IntegrityError as error:
        newest = current(session)
        newest_id = None if newest is None else newest.id
        if newest_id == expected_id:
            raise  # not the race: a canary that does not exist, a share that is no share
        raise DeploymentChanged(expected_id, newest_id) from error
    return wanted


def live_since(session: Session) -> datetime | None:
    """When what is live became so; rows that began or ended a canary meanwhile don't count. None before the first."""
    newest = current(session)
    if newest is None:
        return None
    other = select(func.max(Deployment.id)).where(Deployment.live_checkpoint_id != newest.live_checkpoint_id)
    last = session.scalars(other).one() or 0
    return session.scalars(select(func.min(Deployment.created_at)).where(Deployment.id > last)).one()


def is_rollback(session: Session, live_id: int, target_id: int) -> bool:
    """Whether `live_id` was built on `target_id`, so that making that one live takes something back."""
    return target_id != live_id and target_id in {one.id for one in lineage(session, live_id)}


def abort_built_on(session: Session, checkpoint_id: int, why: str) -> int | None:
    """Cancel the open round if its parent is this checkpoint, or was built on it. Gives its id, or None."""
    running = open_round(session)
    if running is None or running.parent_checkpoint_id is None:
        return None
    if checkpoint_id not in {one.id for one in lineage(session, running.parent_checkpoint_id)}:
        return None
    return cancel_round(session, running.id, why).id


def history(session: Session, limit: int = 100) -> Sequence[Deployment]:
    """Newest first."""
    return session.scalars(select(Deployment).order_by(Deployment.id.desc()).limit(limit)).all()


def observe(session: Session, engine: str, name: str, state: str, detail: str = "") -> None:
    """Engine `engine` was seen just now to have checkpoint `name` (state `loaded`), or to have `failed` at it."""
    seen = {"state": state, "detail": detail, "observed_at": utcnow()}
    row = insert(session, EngineState).values(engine=engine, checkpoint_name=name, **seen)
    session.execute(row.on_conflict_do_update(index_elements=["engine", "checkpoint_name"], set_=seen))


def unobserve(session: Session, engine: str, name: str | None = None) -> None:
    """The engine no longer has `name`, or, without one, is gone or was restarted and has nothing."""
    gone = delete(EngineState).where(EngineState.engine == engine)
    session.execute(gone if name is None else gone.where(EngineState.checkpoint_name == name))


def observed(session: Session) -> Sequence[EngineState]:
    return session.scalars(select(EngineState).order_by(EngineState.engine, EngineState.checkpoint_name)).all()
