"""Where people stand by name: who did what to the house. A name goes with its user; that somebody did it stays."""

import re

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.schema import Audit, Deployment, Engine, Replay, Round

BY = (Round.requested_by, Deployment.by, Replay.by, Engine.by, Audit.actor)


def forget(session: Session, user_id: str, name: str, instead: str) -> None:
    """Write `instead` wherever this user stands by name."""
    for column in BY:
        statement = update(column.class_).where(column == name).values({column.key: instead})
        session.execute(statement, execution_options={"synchronize_session": False})
    said = re.compile(rf"\bby {re.escape(name)}(?![\w.@+-])")
    for row in session.scalars(select(Round).where(Round.error.contains(f"by {name}", autoescape=True))):
        row.error = said.sub(f"by {instead}", row.error or "")
    for noted in session.scalars(select(Audit).where(Audit.action.in_(("user.add", "user.disable", "key.add")))):
        if noted.detail.get("user") == user_id and "name" in noted.detail:
            noted.detail = noted.detail | {"name": instead}
    session.flush()
