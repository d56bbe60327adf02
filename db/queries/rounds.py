"""Rounds of training: asked for, claimed under a lease, carried forward, ended. One is open at a time.

Whoever writes for a running round says who they are; one whose lease ran out and was taken by another is refused, so
that two trainers never write to one round. What a round learnt from is in `db.queries.curation`.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.errors import LeaseLost, NotFound, RoundAlreadyOpen
from db.queries.common import insert, shared_now, utcnow
from db.schema import Checkpoint, Deployment, Round, RoundMetric
from db.values import CheckpointState, RoundState

ENDED = (RoundState.PUBLISHED, RoundState.REJECTED, RoundState.FAILED, RoundState.CANCELLED)


def request_round(
    session: Session,
    algorithm: str,
    config: Mapping[str, Any],
    requested_by: str,
    trigger: str = "person",
    reason: str = "",
    seed: int = 0,
) -> Round:
    """Ask for a round. Raises RoundAlreadyOpen with the id of the one that has not ended."""
    wanted = Round(
        open=True,
        state=RoundState.REQUESTED,
        algorithm=algorithm,
        config=dict(config),
        seed=seed,
        requested_by=requested_by,
        reason=reason,
        trigger=trigger,
        attempts=0,
        stops=0,
        step=0,
        created_at=utcnow(),
    )
    try:
        with session.begin_nested():
            session.add(wanted)
    except IntegrityError as error:
        unfinished = open_round(session)
        if unfinished is None:
            raise
        raise RoundAlreadyOpen(unfinished.id) from error
    return wanted


def open_round(session: Session) -> Round | None:
    """The one that is requested or running."""
    return session.scalars(select(Round).where(Round.open.is_(True))).one_or_none()


def claim_round(session: Session, owner: str, lease_seconds: float) -> Round | None:
    """The round that waits for a trainer, or whose trainer let its lease run out; None when there is none.

    Of many who ask at once one gets it. A claim counts as an attempt; phase and step say where to resume. One that was
    not begun waits while a canary is on trial: what it would start from is being decided. So it does while live is
    rejected, which is no parent.
    """
    now = shared_now(session)
    free = or_(Round.state == RoundState.REQUESTED, and_(Round.state == RoundState.RUNNING, Round.lease_until < now))
    row = session.scalars(
        select(Round).where(free).order_by(Round.id).limit(1).with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    if row.state == RoundState.REQUESTED and (canary_on_trial(session) or live_is_rejected(session)):
        return None
    row.state = RoundState.RUNNING
    row.lease_owner = owner
    row.lease_until = now + timedelta(seconds=lease_seconds)
    row.attempts += 1
    row.started_at = row.started_at or now
    session.flush()
    return row


def canary_on_trial(session: Session) -> bool:
    newest = select(Deployment.canary_checkpoint_id).order_by(Deployment.id.desc()).limit(1)
    return session.scalars(newest).first() is not None


def live_is_rejected(session: Session) -> bool:
    """As while a checkpoint that learnt from what was forgotten is being taken back."""
    newest = select(Deployment.live_checkpoint_id).order_by(Deployment.id.desc()).limit(1)
    state = select(Checkpoint.state).where(Checkpoint.id == newest.scalar_subquery())
    return session.scalars(state).first() == CheckpointState.REJECTED


def heartbeat(session: Session, round_id: int, owner: str, lease_seconds: float) -> bool:
    """Extend the lease. False: it is lost, or the round was cancelled; stop working on it."""
    try:
        row = _held(session, round_id, owner)
    except LeaseLost:
        return False
    row.lease_until = shared_now(session) + timedelta(seconds=lease_seconds)
    session.flush()
    return True


def put_back(session: Session, round_id: int, owner: str) -> None:
    """Its trainer was asked to stop: free at once for whoever resumes it, and no attempt that ended by itself."""
    try:
        row = _held(session, round_id, owner)
    except LeaseLost:
        return
    row.lease_until = shared_now(session)
    row.stops += 1
    session.flush()


def save_progress(
    session: Session,
    round_id: int,
    owner: str,
    phase: str,
    step: int,
    *,
    total_steps: int | None = None,
    parent_id: int | None = None,
    algorithm: str | None = None,
) -> None:
    """The round is in `phase` (curate, train, gate, publish), with `step` steps done. Raises LeaseLost."""
    row = _held(session, round_id, owner)
    row.phase, row.step = phase, step
    if total_steps is not None:
        row.total_steps = total_steps
    if parent_id is not None:
        row.parent_checkpoint_id = parent_id
    if algorithm is not None:
        row.algorithm = algorithm
    session.flush()


def add_metrics(
    session: Session, round_id: int, step: int, values: Mapping[str, float], *, owner: str | None = None
) -> None:
    """Measurements of one step. A step done again replaces its own. Given an `owner`, raises LeaseLost."""
    if owner is not None:
        _held(session, round_id, owner)
    rows = [{"round_id": round_id, "step": step, "name": name, "value": value} for name, value in values.items()]
    if rows:
        statement = insert(session, RoundMetric)
        replaced = {"value": statement.excluded.value}
        session.execute(
            statement.on_conflict_do_update(index_elements=["round_id", "step", "name"], set_=replaced), rows
        )


def note_error(session: Session, round_id: int, owner: str, error: str) -> None:
    """What went wrong in a round that has not ended; its end replaces it. Raises LeaseLost."""
    _held(session, round_id, owner).error = error
    session.flush()


def finish_round(
    session: Session,
    round_id: int,
    owner: str,
    state: str,
    verdict: Mapping[str, Any] | None = None,
    error: str | None = None,
    candidate: int | None = None,
) -> Round:
    """End it as published, rejected, failed or cancelled; `candidate` is a checkpoint's id. Raises LeaseLost."""
    if state not in ENDED:
        raise ValueError(f"a round ends as one of {', '.join(ENDED)}, not as {state!r}")
    row = _held(session, round_id, owner)
    row.verdict = None if verdict is None else dict(verdict)
    row.error = error
    row.candidate_checkpoint_id = candidate if candidate is not None else row.candidate_checkpoint_id
    _end(session, row, state)
    session.flush()
    return row


def cancel_round(session: Session, round_id: int, why: str | None = None) -> Round:
    """End it whoever holds it; its trainer learns so at its next write. One that has ended stays as it is."""
    row = _locked(session, round_id)
    if row.open:
        _end(session, row, RoundState.CANCELLED)
        row.error = why
        session.flush()
    return row


def get_round(session: Session, round_id: int) -> Round:
    row = session.get(Round, round_id)
    if row is None:
        raise NotFound("round", round_id)
    return row


def list_rounds(session: Session, limit: int = 100) -> Sequence[Round]:
    """Newest first."""
    return session.scalars(select(Round).order_by(Round.id.desc()).limit(limit)).all()


def metrics(session: Session, round_id: int) -> dict[str, list[tuple[int, float]]]:
    """Each metric's (step, value) pairs in the order of steps; a value that was no number is NaN."""
    series: dict[str, list[tuple[int, float]]] = {}
    rows = select(RoundMetric.name, RoundMetric.step, RoundMetric.value).where(RoundMetric.round_id == round_id)
    for name, step, value in session.execute(rows.order_by(RoundMetric.name, RoundMetric.step)):
        series.setdefault(name, []).append((step, value))
    return series


def _locked(session: Session, round_id: int) -> Round:
    """The row as it is now, and held until the transaction ends."""
    row = session.scalars(
        select(Round).where(Round.id == round_id).with_for_update().execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NotFound("round", round_id)
    return row


def _held(session: Session, round_id: int, owner: str) -> Round:
    """The lease counts until another trainer takes it, even when late: nobody else has written meanwhile."""
    row = _locked(session, round_id)
    if row.state != RoundState.RUNNING or row.lease_owner != owner:
        raise LeaseLost(round_id, owner, row.state, row.lease_owner)
    return row


def _end(session: Session, row: Round, state: str) -> None:
    """What a round made that came to nothing, and nobody served, may not be promoted, and its files go."""
    if state in (RoundState.CANCELLED, RoundState.FAILED):
        left = update(Checkpoint).where(
            Checkpoint.round_id == row.id, Checkpoint.state == CheckpointState.CANDIDATE.value
        )
        session.execute(left.values(state=CheckpointState.REJECTED.value))
    row.state = state
    row.open = None
    row.lease_until = None
    row.ended_at = utcnow()
