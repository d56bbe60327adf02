"""Asks for a round when a trigger says so. One trainer of many asks, once; what made it ask is in the round's row."""

import logging
import secrets
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from db.errors import RoundAlreadyOpen
from db.queries import leases, rounds, triggers
from db.session import Database
from trainer.settings import TrainerSettings
from trainer.triggers import Reason, Seen, due

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0  # between two looks at the record: no trigger is finer than a minute
LEASE, LEASE_SECONDS = "triggers", 60.0  # one trainer decides; another one may when it has been silent for so long


class Wake:
    """The triggers of one trainer. `seconds`: between two looks."""

    def __init__(
        self, database: Database, settings: TrainerSettings, owner: str, seconds: float = LOOK_SECONDS
    ) -> None:
        self._database, self._settings, self._owner, self._seconds = database, settings, owner, seconds
        self._next = 0.0

    def ask(self, now: datetime | None = None) -> int | None:
        """The id of the round that was just asked for; None when there is no reason, or it is not yet time to look."""
        if not self._settings.any_trigger or time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + self._seconds
        now = now or datetime.now(UTC)
        with self._database.reading() as session:  # nobody waits for a look
            if self._reason(session, now) is None:
                return None
        try:
            with self._database.transaction() as session:
                if leases.take(session, LEASE, self._owner, LEASE_SECONDS) != self._owner:
                    return None
                reason = self._reason(session, now)  # again, now that nobody else can ask
                return None if reason is None else self._request(session, reason)
        except RoundAlreadyOpen:  # by a person, in this very moment
            return None

    def _reason(self, session: Session, now: datetime) -> Reason | None:
        settings, newest = self._settings, triggers.newest_round(session, now)
        if rounds.open_round(session) is not None:
            return None
        last = None if newest is None else newest.created_at
        new = triggers.count_new(session, last, settings.counts_to, now)
        idle = bool(settings.trigger_idle_minutes) and not triggers.anyone_since(
            session, now - timedelta(minutes=settings.trigger_idle_minutes), now
        )
        return due(settings, Seen(now, last, new, idle))

    def _request(self, session: Session, reason: Reason) -> int:
        seed = secrets.randbelow(2**31)
        row = rounds.request_round(
            session, self._settings.algorithm, {}, "the trainer", reason.trigger, reason.words, seed
        )
        log.info("round %d starts by itself: %s", row.id, reason.words)
        return row.id
