"""What administrators did, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ids import new_id
from db.queries.common import utcnow
from db.schema import Audit


def note(session: Session, actor: str, action: str, detail: Mapping[str, Any]) -> None:
    """`detail` must hold ids and settings only, nothing that a user said."""
    session.add(Audit(id=new_id(), at=utcnow(), actor=actor, action=action, detail=dict(detail)))
    session.flush()


def noted(session: Session, limit: int = 100) -> Sequence[Audit]:
    """Newest first."""
    return session.scalars(select(Audit).order_by(Audit.id.desc()).limit(limit)).all()
