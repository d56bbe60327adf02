"""Which requests with a key are being answered, at whichever gateway: a lease each in the database, while it takes.

A lease of a gateway that has ended is free at once on that gateway's machine, elsewhere when it has run out. A database
that can't be asked refuses nobody: then a name is held nowhere but in this gateway's memory, by whoever asks.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.orm import Session

from db.errors import DatabaseUnavailable
from db.queries import leases
from db.session import Database
from server.lookups import Lookups

log = logging.getLogger(__name__)

PREFIX = "idem-"  # what the names of these leases begin with
SECONDS = 30.0  # how long a gateway of another machine is waited for that can't be heard any more
BEAT_SECONDS = 1.0  # how often is looked for what can be let go late
BEATS = 10  # of them between two renewals


class Holding:
    """What this gateway, `me`, holds. `ended`: whether a gateway has ended; `pending`: turns wait for the database.

    Who holds a name notes with it what it is held for, so that others can tell another request under the same key.
    """

    def __init__(
        self,
        database: Database,
        lookups: Lookups,
        me: str,
        ended: Callable[[str], bool],
        pending: Callable[[], bool],
    ) -> None:
        self._database, self._lookups, self._me = database, lookups, me
        self._ended, self._pending = ended, pending
        self._held: dict[str, str] = {}  # name → holder, as in the leases
        self._late: set[str] = set()  # of these: to be let go once no turn waits for the database

    def elsewhere(self, session: Session, name: str) -> str | None:
        """What another gateway, as far as is known a living one, holds it for; None: it is free."""
        found = leases.held(session, name)
        if found is None or found[1] <= 0:
            return None
        gateway, _, what = found[0].rpartition(" ")
        return None if gateway == self._me or self._ended(gateway) else what

    def take(self, session: Session, name: str, what: str) -> str | None:
        """Hold a name that was free; None. Else what another gateway, which was quicker, holds it for."""
        found = leases.held(session, name)
        if found is not None and self.elsewhere(session, name) is not None:
            return found[0].rpartition(" ")[2]
        holder, gone = f"{self._me} {what}", None
        if found is not None and found[1] > 0:  # of a gateway that has ended, or an earlier try here
            gone = found[0]
        taken = leases.take(session, name, holder, SECONDS, gone)
        return None if taken == holder else taken.rpartition(" ")[2]

    def keep(self, name: str, what: str) -> None:
        """It was taken: renew it until it is let go."""
        self._held[name] = f"{self._me} {what}"
        self._late.discard(name)

    async def let_go(self, name: str, late: bool) -> None:
        """`late`: only once no turn waits for the database any more, so that nobody makes a turn again meanwhile."""
        if name in self._held and late:
            self._late.add(name)
        elif (holder := self._held.pop(name, None)) is not None:
            with suppress(DatabaseUnavailable):  # else it runs out by itself
                await self._lookups.ask(self._release, name, holder)

    async def run(self) -> None:
        """Renew what is held, until cancelled."""
        beats = 0
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            beats += 1
            while self._late and not self._pending():  # one that is held anew meanwhile is late no more
                await self.let_go(self._late.pop(), late=False)
            if self._held and beats % BEATS == 0:
                try:
                    await self._lookups.ask(self._renew, dict(self._held))
                except DatabaseUnavailable as error:
                    log.warning("keys that are being answered may be free at other gateways: %s", error)

    def _release(self, name: str, holder: str) -> None:
        with self._database.transaction() as session:
            leases.release(session, name, holder)

    def _renew(self, held: dict[str, str]) -> None:
        with self._database.transaction() as session:
            for name in sorted(held):
                leases.renew(session, name, held[name], SECONDS)
        with self._database.transaction() as session:
            leases.drop_ended(session, PREFIX)
