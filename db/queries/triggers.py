"""What a trainer looks at before it asks for a round by itself: the newest round, what is new since, who is there."""

from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db.ids import first_id_at
from db.queries.curation import trainable_prompts
from db.queries.replays import TRIGGER
from db.schema import Generation, Round
from db.values import Origin

LONGEST_ANSWER = timedelta(hours=1)
"""How long before a window an answer may have begun that was still being written in it."""


def newest_round(session: Session) -> Round | None:
    """The round that was asked for last, however it ended; none of a rebuild, which trains on nothing new."""
    wanted = select(Round).where(Round.trigger != TRIGGER).order_by(Round.id.desc()).limit(1)
    return session.scalars(wanted).one_or_none()


def count_new(session: Session, since: datetime | None, most: int) -> int:
    """How many prompts that may be trained on were recorded since then (None: ever); stops counting at `most`."""
    return sum(1 for _ in islice(trainable_prompts(session, since), most))


def anyone_since(session: Session, since: datetime) -> bool:
    """Whether an answer for a person or a client was being written at any time since then."""
    found = select(Generation.id).where(
        Generation.id >= first_id_at(since - LONGEST_ANSWER),
        Generation.origin.in_([Origin.CHAT.value, Origin.API.value]),
        or_(Generation.ended_at.is_(None), Generation.ended_at >= since),
    )
    return session.execute(found.limit(1)).first() is not None
