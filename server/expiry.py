"""Takes away what is older than the house keeps it. One gateway of a database does, the one that holds the lease.

It deletes as `server.forgetting` does, a few conversations at a time. Turns that still wait in a spool go once they
were recorded; those that were set aside there, each gateway takes away itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from db.errors import DatabaseUnavailable
from db.queries import audit, expiry
from db.session import Database
from server.lease import Lease
from server.placing import Places
from server.spool import Spool

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 3600.0  # a day is not counted by the minute
Find = Callable[[Session, datetime, str], list[str]]
"""Ids of what is older than a time: some of them, after an id."""
BY = "the house's retention times"
"""Who did it, in the audit."""


class Expiry:
    """`history_days` and `train_days` are the gateway's settings; 0 is for ever."""

    def __init__(
        self,
        database: Database,
        lease: Lease,
        places: Places,
        spool: Spool,
        history_days: float,
        train_days: float,
    ) -> None:
        self._database, self._lease, self._places, self._spool = database, lease, places, spool
        self._history_days, self._train_days = history_days, train_days

    async def run(self) -> None:
        """Look again and again until cancelled; a failure is tried again at the next look."""
        while self._history_days or self._train_days:
            await self._try(self.sweep_files)
            if self._lease.role == "holds":
                await self._try(self.sweep)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _try(self, sweep: Callable[[datetime], Awaitable[None]]) -> None:
        try:
            await sweep(datetime.now(UTC))
        except DatabaseUnavailable as error:
            log.warning("what is too old stays for now: %s", error)
        except Exception:  # as of a thumb that was given between two of its deletions
            log.exception("what is too old stays for now: taking it away failed")

    async def sweep_files(self, now: datetime) -> None:
        """The same of what this gateway has set aside on its disk."""
        if self._history_days:
            gone = await asyncio.to_thread(self._spool.expire, now - timedelta(days=self._history_days))
            if gone:
                log.info("%d turns that were set aside were deleted: they were too old", gone)

    async def sweep(self, now: datetime) -> None:
        """Take away what is too old at `now`."""
        deleted = withdrawn = 0
        if self._history_days:
            before = now - timedelta(days=self._history_days)
            deleted = await self._take(expiry.old_conversations, self._delete, before)
            deleted += await self._take(expiry.old_lone_turns, self._delete_turns, before)
            if deleted:
                await asyncio.to_thread(self._database.scrub)
        if self._train_days:
            before = now - timedelta(days=self._train_days)
            withdrawn = await self._take(expiry.old_lessons, self._withdraw, before)
        if deleted or withdrawn:
            log.info("%d turns were deleted and %d are trained on no more: they were too old", deleted, withdrawn)
            await asyncio.to_thread(self._note, {"deleted": deleted, "withdrawn": withdrawn})

    async def _take(self, find: Find, take: Callable[[list[str], datetime], int], before: datetime) -> int:
        """Page by page, until `find` finds nothing more. Gives how many `take` took."""
        taken, after = 0, ""
        while ids := await asyncio.to_thread(self._find, find, before, after):
            taken += await asyncio.to_thread(take, ids, before)
            after = ids[-1]
        return taken

    def _find(self, find: Find, before: datetime, after: str) -> list[str]:
        with self._database.reading() as session:
            return find(session, before, after)

    def _delete(self, ids: list[str], before: datetime) -> int:
        with self._database.transaction() as session:
            gone, places = expiry.delete_conversations(session, ids, before)
        for place in places:
            self._places.forget(place)
        return gone

    def _delete_turns(self, ids: list[str], before: datetime) -> int:
        with self._database.transaction() as session:
            return expiry.delete_turns(session, ids, before)

    def _withdraw(self, ids: list[str], before: datetime) -> int:
        with self._database.transaction() as session:
            return expiry.withdraw(session, ids, before)

    def _note(self, detail: dict[str, int]) -> None:
        with self._database.transaction() as session:
            audit.note(session, BY, "retention", detail)
