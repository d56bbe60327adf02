"""Looks at live traffic so that nobody has to: ends a canary's trial, and takes back a live checkpoint that declines.

Only the gateway that holds the lease looks, and writes by compare-and-set what it saw; the others read the row. What it
knows stands in the database, so that any gateway goes on where another one ended.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from db.errors import DatabaseUnavailable
from db.queries import arms, deployments, replays
from db.session import Database
from server import decline, timing, trial
from server.catalog import Catalog, Wanted, Weights
from server.engine import EngineFailed
from server.errors import ApiError
from server.lease import Lease
from server.pool import Pool
from server.swap import Swap

log = logging.getLogger(__name__)

CANARY, WATCH = "the canary's trial", "the watch on live traffic"
"""By whom these deployments are, in their rows."""
HOPE = timedelta(minutes=10)
"""An engine that keeps a canary from being promoted is waited for so long, once the trial's time is over; and so is one
that has live and the checkpoint before it, to ask both."""
UNFIT = ("adapter_refused", "checkpoint_unfit")
AGAIN = timedelta(minutes=10)
"""After it was found that the machine is slow, and not live, both are asked again."""


@dataclass(frozen=True)
class Rules:
    """See the gateway's settings of the same names."""

    canary_level: float
    canary_hours: float
    rollback_level: float
    rollback_margin: float
    rollback_slower: float


class Watcher:
    """The one that decides on checkpoints by what came of their answers."""

    def __init__(
        self, database: Database, catalog: Catalog, pool: Pool, lease: Lease, swap: Swap, rules: Rules, interval: float
    ) -> None:
        self._database, self._catalog, self._pool, self._lease, self._swap = database, catalog, pool, lease, swap
        self._rules, self._interval = rules, interval
        self._acquitted: tuple[int, datetime] | None = None  # a deployment whose live is not slow itself, and when
        self._unasked: tuple[int, datetime] | None = None  # one whose live seems slow but can't be asked, since when
        self._hindered: tuple[int, datetime, str] | None = None  # one whose canary can't be promoted, since when, why

    @property
    def trouble(self) -> str | None:
        """What keeps a canary that is to be promoted from it, in words."""
        state, hindered = self._catalog.wanted, self._hindered
        return None if state is None or hindered is None or hindered[0] != state.deployment_id else hindered[2]

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            if self._lease.role == "holds":
                try:
                    await self.look()
                except Exception:
                    log.exception("what is deployed stays for now: the look at live traffic failed")

    async def look(self) -> None:
        """Decide on what is deployed now, where it is clear by now. A refusal is tried again at the next look."""
        await self._catalog.refresh()
        state = self._catalog.wanted
        if state is None or self._catalog.trouble is not None:
            return
        try:
            if state.live.state == "rejected":
                await self._leave(state)
                return
            if state.canary is not None and state.canary.state == "rejected":  # the same of a canary
                reason = f"{state.canary.name} was rejected while it was on trial"
                await self._decide(state.live.name, CANARY, reason, state, disown=True)
                return
            if state.canary is not None:
                await self._end_trial(state)
            await self._take_back(state)
        except (ApiError, EngineFailed, DatabaseUnavailable) as error:
            log.warning("what is deployed stays for now: %s", error)

    async def _leave(self, state: Wanted) -> None:
        """Live learnt from what was forgotten, and whoever had it forgotten did not get to taking it back."""
        clean = await asyncio.to_thread(self._clean, state)
        await self._decide(clean, WATCH, f"{state.live.name} learnt from what was forgotten", state, disown=True)

    def _clean(self, state: Wanted) -> str:
        with self._database.reading() as session:
            return replays.clean_ancestor(session, state.live.id).name

    async def _end_trial(self, state: Wanted) -> None:
        assert state.canary is not None
        verdict = await asyncio.to_thread(self._judge, state)
        if verdict is None:
            return
        target = state.canary if verdict.promote else state.live
        try:
            await self._decide(target.name, CANARY, verdict.reason, state, disown=not verdict.promote)
        except ApiError as error:
            up = any(engine.healthy for engine in self._pool.engines)
            if not verdict.promote or not (error.code in UNFIT or (error.code == "engine_unavailable" and up)):
                raise
            await self._give_up(state, state.canary, error.message)

    async def _give_up(self, state: Wanted, canary: Weights, why: str) -> None:
        """End a trial whose canary can't be promoted, once its time is over: rounds wait for its end. Nothing is shown
        against the canary, so a person may still make it live."""
        now, limit = datetime.now(UTC), timedelta(hours=self._rules.canary_hours)
        known = self._hindered is not None and self._hindered[0] == state.deployment_id
        since = self._hindered[1] if known and self._hindered is not None else now
        self._hindered = state.deployment_id, since, f"canary {canary.name} can't be promoted: {why}"
        log.warning("%s", self._hindered[2])
        if now - state.since >= limit and now - since >= HOPE:
            reason = f"canary {canary.name} rolled back: {self._rules.canary_hours:g} hours are over, and {why}"
            await self._decide(state.live.name, CANARY, reason, state, disown=False)

    async def _take_back(self, state: Wanted) -> None:
        """Back to the previous checkpoint, unless that was itself taken back: retired by hand, or rejected."""
        now = self._catalog.wanted  # read anew meanwhile where a trial was decided on in vain
        if not self._rules.rollback_level or now is None or now.deployment_id != state.deployment_id:
            return
        state, previous = now, now.previous
        if previous is None or (previous.kind != "base" and previous.state != "published"):
            return
        found = await asyncio.to_thread(self._decline, state)
        if found is None:
            return
        why = await self._pace(state, previous, found) if found.pace else found.words
        if why is not None:
            reason = f"{state.live.name} rolled back to {previous.name}: {why}"
            await self._decide(previous.name, WATCH, reason, state, disown=True)

    async def _pace(self, state: Wanted, previous: Weights, found: decline.Decline) -> str | None:
        """Why live should be taken back whose answers take long; None where it is the machine that is slow."""
        now = datetime.now(UTC)
        if self._acquitted is not None:
            deployment, at = self._acquitted
            if deployment == state.deployment_id and now - at < AGAIN:
                return None
        times = await timing.times_slower(self._pool, state.live, previous)
        if times is None:
            known = self._unasked is not None and self._unasked[0] == state.deployment_id
            since = self._unasked[1] if known and self._unasked is not None else now
            self._unasked = state.deployment_id, since
            if state.live.ground == previous.ground and now - since < HOPE:
                if not known:  # engines that have just been started get both in a moment
                    log.warning("%s stays live until an engine can be asked for both: %s", state.live.name, found.words)
                return None
            return f"{found.words}; no engine has both, so that nothing tells whether the machine is slow"
        self._unasked = None
        if times >= timing.CLEARLY:
            return f"{found.words}; asked in turns, it takes {times:.1f} times as long to write as much"
        self._acquitted = state.deployment_id, now
        log.warning(
            "%s stays live: %s, but asked in turns it writes as fast as %s (%.2f times its time): the machine is slow",
            state.live.name, found.words, previous.name, times,
        )  # fmt: skip
        return None

    async def _decide(self, name: str, by: str, reason: str, state: Wanted, disown: bool) -> None:
        if self._lease.role == "holds":
            await self._swap.deploy(name, by, reason, state.live.name, disown=disown)
            log.warning("%s", reason)

    def _judge(self, state: Wanted) -> trial.Decision | None:
        assert state.canary is not None
        canary, live = state.canary, state.live
        with self._database.reading() as session:
            seen = trial.Seen(
                arms.answered(session, [canary.id, live.id], since=state.since),
                arms.thumbs(session, [canary.id, live.id], state.since),
                arms.choices(session, canary.id, live.id, state.since),
            )
        now = datetime.now(UTC)
        found = trial.figures(seen, canary.id, live.id, state.canary_share, now)
        limit = timedelta(hours=self._rules.canary_hours)
        return trial.decide(found, (canary.name, live.name), self._rules.canary_level, now - state.since, limit)

    def _decline(self, state: Wanted) -> decline.Decline | None:
        assert state.previous is not None
        rules = self._rules
        with self._database.reading() as session:
            since = deployments.live_since(session)
            live = arms.answered(session, [state.live.id], since=since, most=decline.MOST)
            before = arms.answered(session, [state.previous.id], before=since, most=decline.MOST, newest=True)
        return decline.decline(
            live, before, decline.Bounds(rules.rollback_level, rules.rollback_margin, rules.rollback_slower)
        )
