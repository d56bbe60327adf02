"""Engines that were added to those of the gateways' settings, or removed from them, while gateways run."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.queries.common import insert, utcnow
from db.schema import Engine, EngineState


def changes(session: Session) -> dict[str, bool]:
    """By URL: whether it is wanted. What nobody changed is not in it."""
    return {row.url: row.wanted for row in session.scalars(select(Engine).order_by(Engine.at, Engine.url))}


def want(session: Session, url: str, wanted: bool, by: str) -> None:
    """Add it or remove it. What is known of its adapters is forgotten: it may be another process by now."""
    session.execute(delete(EngineState).where(EngineState.engine == url))
    changed = {"wanted": wanted, "by": by, "at": utcnow()}
    row = insert(session, Engine).values(url=url, **changed)
    session.execute(row.on_conflict_do_update(index_elements=["url"], set_=changed))
