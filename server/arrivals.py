"""Answers that a client has and the record has not yet: a turn waits on disk while the database is slow or was away."""

import asyncio
import time
from collections.abc import Sequence

from sqlalchemy import select

from db.ids import made_at
from db.schema import Generation
from db.session import Database
from server.lookups import Lookups

PATIENCE_SECONDS = 5.0
LATELY_SECONDS = 900.0
"""An answer that began so lately may be on its way into the record."""
LOOK_SECONDS = 0.05


async def arrived(lookups: Lookups, database: Database, ids: Sequence[str]) -> None:
    """Return once all of these generations are recorded, or can't be on their way, or have had time enough.

    Whose they are and whether there are such ones is for the caller to find out.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        known = await lookups.ask(_recorded, database, ids)
        if not any(began_within(one, LATELY_SECONDS) for one in ids if one not in known):
            return
        await asyncio.sleep(LOOK_SECONDS)


def _recorded(database: Database, ids: Sequence[str]) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(Generation.id).where(Generation.id.in_(ids))))


def began_within(generation_id: str, seconds: float) -> bool:
    """Whether an answer began so lately, by the time in its id; never of an id that is not ours."""
    made = made_at(generation_id)
    return made is not None and abs(time.time() - made) < seconds
