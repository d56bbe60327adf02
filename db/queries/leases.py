"""Who may do what only one process may do at a time: a row with a holder and an end, taken over when it has passed."""

from datetime import timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from db.errors import LeaseTaken
from db.queries.common import insert, shared_now
from db.schema import Lease


def take(session: Session, name: str, holder: str, seconds: float, gone: str | None = None) -> str:
    """Take the lease, or hold it for longer; gives who holds it now: somebody else, or "" if it was just given up.

    `gone` is a holder that is known to have ended: its lease is free before its time has passed.
    """
    now = shared_now(session)
    until = now + timedelta(seconds=seconds)
    statement = insert(session, Lease).values(name=name, holder=holder, until=until)
    free = or_(Lease.holder == holder, Lease.until < now)
    if gone is not None:
        free = or_(free, Lease.holder == gone)
    session.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"holder": holder, "until": until}, where=free)
    )
    return session.scalars(select(Lease.holder).where(Lease.name == name)).one_or_none() or ""


def held(session: Session, name: str) -> tuple[str, float] | None:
    """Who holds it and for how many seconds more, below 0 where its time has passed; None: nobody."""
    row = session.get(Lease, name)
    return None if row is None else (row.holder, (row.until - shared_now(session)).total_seconds())


def renew(session: Session, name: str, holder: str, seconds: float) -> None:
    """Hold it for longer. One that was given up or taken over meanwhile stays as it is."""
    until = shared_now(session) + timedelta(seconds=seconds)
    session.execute(update(Lease).where(Lease.name == name, Lease.holder == holder).values(until=until))


def drop_ended(session: Session, prefix: str) -> None:
    """Forget leases whose names begin with `prefix` and whose time has passed: nobody may ask for them again."""
    over = select(Lease.name).where(Lease.name.startswith(prefix, autoescape=True), Lease.until < shared_now(session))
    names = session.scalars(over.with_for_update(skip_locked=True)).all()  # a locked one is being taken just now
    if names:
        session.execute(delete(Lease).where(Lease.name.in_(names)), execution_options={"synchronize_session": False})


def release(session: Session, name: str, holder: str) -> None:
    """Give it up, so that nobody has to wait for its end. Somebody else's stays."""
    session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))


def require(session: Session, name: str, holder: str) -> None:
    """Go on only as the holder, and stay it until the transaction ends. Raises LeaseTaken.

    It counts until somebody else takes it, even when late: nobody else has acted on it meanwhile.
    """
    held = session.scalars(select(Lease.holder).where(Lease.name == name).with_for_update(read=True)).one_or_none()
    if held != holder:
        raise LeaseTaken(name, holder, held)
