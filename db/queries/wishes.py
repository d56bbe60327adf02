"""Adapters that engines should have beside what is deployed: a candidate, pinned versions, the steps of a round.

Rows, so that every gateway may ask and whichever one looks after the engines sees it, after a restart as well.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from db.queries.common import insert, shared_now
from db.schema import EngineState, Wish

CANDIDATE, GUEST, STEP = "candidate", "guest", "step"


def wish(session: Session, kind: str, name: str, path: str, by: str, seconds: float | None = None) -> None:
    """Want adapter `name` of the folder `path`, for `seconds` or until it is taken back. Engines that failed at it
    before are to try again."""
    now = shared_now(session)
    until = None if seconds is None else now + timedelta(seconds=seconds)
    session.execute(delete(Wish).where(Wish.until < now))
    session.execute(delete(EngineState).where(EngineState.checkpoint_name == name, EngineState.state == "failed"))
    asked = {"path": path, "by": by, "at": now, "until": until}
    row = insert(session, Wish).values(kind=kind, name=name, **asked)
    session.execute(row.on_conflict_do_update(index_elements=["kind", "name"], set_=asked))


def renew(session: Session, kind: str, name: str, by: str, seconds: float) -> None:
    """Want it for so much longer, from now on by this gateway's word. One that is gone stays gone."""
    until = shared_now(session) + timedelta(seconds=seconds)
    session.execute(update(Wish).where(Wish.kind == kind, Wish.name == name).values(until=until, by=by))


def unwish(session: Session, kind: str, name: str, by: str | None = None) -> bool:
    """Take it back, where `by` is given only if it is that gateway's. False: it was not wanted."""
    wish = delete(Wish).where(Wish.kind == kind, Wish.name == name)
    gone = session.execute((wish if by is None else wish.where(Wish.by == by)).returning(Wish.name))
    return bool(gone.all())


def wanted(session: Session) -> Sequence[Wish]:
    """Those that hold now, oldest first."""
    now = shared_now(session)
    return session.scalars(
        select(Wish).where(or_(Wish.until.is_(None), Wish.until >= now)).order_by(Wish.at, Wish.name)
    ).all()


def keep_newest(session: Session, kind: str, most: int) -> list[str]:
    """Take back all of a kind but the `most` newest. Gives the names that went."""
    names = session.scalars(select(Wish.name).where(Wish.kind == kind).order_by(Wish.at.desc(), Wish.name.desc())).all()
    session.execute(delete(Wish).where(Wish.kind == kind, Wish.name.in_(names[most:])))
    return list(names[most:])
