"""What a trainer looks at before it asks for a round by itself: the newest round, what is new since, who is there."""

from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db.ids import first_id_at
from db.queries.common import utcnow
from db.queries.curation import trainable_prompts
from db.queries.replays import TRIGGER
from db.schema import Generation, Round
from db.values import Origin, TrainablePrompt

AHEAD = timedelta(minutes=10)
"""What is dated further ahead than this was written by a clock that was wrong, and tells nothing of when it was: else a
house whose clock once stood in a later year would start no round by itself until then."""
LONGEST_ANSWER = timedelta(hours=1)
"""How long before a window an answer may have begun that was still being written in it."""


def newest_round(session: Session, now: datetime | None = None) -> Round | None:
    """The round that was asked for last, however it ended; none of a rebuild, which trains on nothing new."""
    wanted = select(Round).where(Round.trigger != TRIGGER, Round.created_at <= _latest(now))
    return session.scalars(wanted.order_by(Round.id.desc()).limit(1)).one_or_none()


def count_new(session: Session, since: datetime | None, most: int, now: datetime | None = None) -> int:
    """How many prompts that may be trained on were recorded since then (None: ever); stops counting at `most`."""
    latest = _latest(now)
    believed = first_id_at(latest)  # a process whose clock was set back goes on with ids of the time before

    def is_new(one: TrainablePrompt) -> bool:
        return one.created_at <= latest and (since is None or one.message_id < believed or one.created_at >= since)

    return sum(1 for _ in islice(filter(is_new, trainable_prompts(session, since)), most))


def anyone_since(session: Session, since: datetime, now: datetime | None = None) -> bool:
    """Whether an answer for a person or a client was being written at any time since then."""
    found = select(Generation.id).where(
        Generation.id >= first_id_at(since - LONGEST_ANSWER),
        Generation.origin.in_([Origin.CHAT.value, Origin.API.value]),
        or_(Generation.ended_at.is_(None), Generation.ended_at.between(since, _latest(now))),
    )
    return session.execute(found.limit(1)).first() is not None


def _latest(now: datetime | None) -> datetime:
    """The latest time that is believed, where it is `now` (None: by this machine's clock)."""
    return (now or utcnow()) + AHEAD
