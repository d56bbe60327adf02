"""Whether this gateway is the one that looks after the engines: a lease in the database, renewed or taken over.

`holds`: it alone loads and unloads. `follows`: another one does. `alone`: the database can't be asked; then it only
adds what is missing and takes nothing away, since another gateway may know better. Loads nothing itself.

A SQLite file has one machine, where everybody sees whether the holder has ended. So there the lease is a long one,
which is looked at often and written rarely, and that of a gateway which has ended is taken over at the next look.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

from db.errors import DatabaseUnavailable
from db.queries import leases
from db.session import Database

log = logging.getLogger(__name__)

ENGINES = "engines"  # the lease's name
BEATS = 3  # tries within one term, so that a single slow one costs nobody the lease
LOCAL_SECONDS = 60.0  # of a lease on one machine; a holder that hangs is waited for that long

Role = Literal["holds", "follows", "alone"]


class Lease:
    """One gateway's share in the lease. `changed` is called when its role has become another one.

    `seconds` is how long a role lasts after a look at the row. `ended` says whether a holder of this machine is gone.
    """

    def __init__(self, database: Database, holder: str, seconds: float, ended: Callable[[str], bool]) -> None:
        self._database, self.holder, self.seconds = database, holder, seconds
        self.ended = ended
        self._held_until = self._heard_until = 0.0
        self._last: Role = "alone"
        self.changed: Callable[[], None] = lambda: None

    @property
    def role(self) -> Role:
        """By this machine's clock, from before each try: it stops counting as held before anybody can take it."""
        now = time.monotonic()
        if now < self._held_until:
            return "holds"
        return "follows" if now < self._heard_until else "alone"

    async def run(self) -> None:
        """Keep it, or wait for it, until cancelled."""
        while True:
            await asyncio.sleep(self.seconds / BEATS)
            await self.beat()

    async def beat(self) -> None:
        """Take it or renew it, where that is possible."""
        began = time.monotonic()
        try:
            found = await asyncio.to_thread(self._take_locally if self._database.kind == "sqlite" else self._take)
        except DatabaseUnavailable:
            found = None
        if found == self.holder:
            self._held_until = began + self.seconds
        elif found is not None:
            self._held_until, self._heard_until = 0.0, began + self.seconds
        if self.role != self._last:
            log.info("this gateway %s the lease on the engines (%s)", self.role, found or "the database is down")
            self._last = self.role
            self.changed()

    async def release(self) -> None:
        """Give it up at a regular end, so that the next one need not wait."""
        if self.role != "holds":
            return
        self._held_until = 0.0
        try:
            await asyncio.to_thread(self._release)
        except DatabaseUnavailable as error:
            log.warning("the lease on the engines runs out by itself: %s", error)

    def _take(self) -> str:
        with self._database.transaction() as session:
            return leases.take(session, ENGINES, self.holder, self.seconds)

    def _take_locally(self) -> str:
        """The same where nothing is written while nothing changes: an idle laptop's disk is left alone."""
        term, gone = max(self.seconds, LOCAL_SECONDS), None
        with self._database.reading() as session:
            found = leases.held(session, ENGINES)
        if found is not None:
            holder, left = found
            if holder == self.holder and left > max(term / 2, self.seconds):
                return holder
            if holder != self.holder and left > 0:
                if not self.ended(holder):
                    return holder
                gone = holder
        with self._database.transaction() as session:
            return leases.take(session, ENGINES, self.holder, term, gone)

    def _release(self) -> None:
        with self._database.transaction() as session:
            leases.release(session, ENGINES, self.holder)
