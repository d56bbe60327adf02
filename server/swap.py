"""The change of the live checkpoint: check, have it loaded and probed everywhere, one row, done.

A deployment is a row that replaces the one it was judged against. Requests take the live name once, when they start, so
those in flight end on the weights they began with. Any gateway may deploy; the one that holds the lease has its keepers
load and forget, and this one waits for what they report.
"""

import asyncio
import logging
from contextlib import suppress
from typing import NamedTuple

from db.errors import DatabaseUnavailable, DeploymentChanged
from db.queries import checkpoints, deployments
from db.session import Database
from server.catalog import Catalog, Wanted, Weights
from server.engine import Engine
from server.errors import ApiError, unavailable
from server.ground import Grounds
from server.inspection import Inspection, without_files
from server.keeper import Adapter, Keeper
from server.lease import Lease
from server.lookups import Lookups
from server.notices import Notices
from server.observed import Observed
from server.pool import Pool
from server.reaching import Reach
from server.wanting import Wanting, adapter_of

log = logging.getLogger(__name__)


class Proposal(NamedTuple):
    """What is to be written: `target` live, or on trial in `share` of conversations, in the place of what is wanted.

    `back`: live is taken back, also where it did not grow out of the target; `disown`: and rejected.
    """

    target: Weights
    by: str
    reason: str
    instead_of: Wanted
    share: float
    back: bool
    disown: bool


class Swap:
    """The keepers of all engines, and the one place that changes what is live."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        pool: Pool,
        lease: Lease,
        lookups: Lookups,
        notices: Notices,
        interval: float,
        load_seconds: float,
        drain_seconds: float,
        max_rank: int,
    ) -> None:
        self._database, self._catalog, self._pool, self._lease = database, catalog, pool, lease
        self._notices = notices
        self._interval, self._load_seconds, self._drain_seconds = interval, load_seconds, drain_seconds
        self.ground = Grounds(catalog, pool)
        self._inspection = Inspection(self.ground, max_rank)
        self._deploying = asyncio.Lock()
        self._hurry = asyncio.Event()
        self._wanting = Wanting(database, catalog, lease.holder, lease.seconds, lease.ended, self._tell)
        self._shared = Observed(database, lookups, lease.holder)
        self.keepers: list[Keeper] = []
        self._reach = Reach(self.keepers, lease, self.ground, load_seconds, drain_seconds)
        self.swaps = 0
        lease.changed = self._wake
        notices.heard = self.hurry

    @property
    def changing(self) -> asyncio.Lock:
        """Held while this gateway makes live what has to be loaded first; who holds it keeps it from doing so."""
        return self._deploying

    def wanted(self) -> list[Adapter]:
        """What every engine should have just now, most important first."""
        return self._wanting.adapters()

    def join(self, engine: Engine) -> Keeper:
        """An engine is added: it takes requests once its keeper, which the caller runs, has found it in order."""
        keeper = Keeper(
            engine, self._pool, self._lease, self._shared, self.wanted, self._notices.send,
            self._interval, self._load_seconds, self._inspection.look, self.ground, self._drain_seconds,
        )  # fmt: skip
        self._pool.join(engine)
        self.keepers.append(keeper)
        return keeper

    def leave(self, keeper: Keeper) -> None:
        """An engine is removed: it takes nothing more, and answers that it writes go on to their end."""
        self._pool.engines.remove(keeper.engine)
        self.keepers.remove(keeper)
        keeper.remove()

    def hurry(self) -> None:
        """Read the rows now instead of at the next tick, and look at the engines: something changed."""
        self._hurry.set()
        self._wake()

    async def start(self) -> None:
        """Forget changes that ended with this gateway when it last did: no engine is to load what they were about."""
        await self._wanting.tidy(steps=False)

    async def run(self) -> None:
        """Follow the wanted state until cancelled."""
        while True:
            self._hurry.clear()
            if await self._catalog.refresh():
                self._wake()
                self._pool.notify()
            if self._lease.role == "holds":
                await self._wanting.tidy()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._hurry.wait()

    async def deploy(
        self,
        name: str,
        by: str,
        reason: str,
        expected_live: str | None = None,
        *,
        share: float = 0.0,
        disown: bool = False,
    ) -> dict[str, str | None]:
        """Make a checkpoint ("v3", or "previous") live: on every healthy engine, probed, then for everybody at once.

        `share`: put it on trial instead, in this share of conversations. Another canary's trial ends; asking for what
        is live already changes nothing else. `disown`: reject what is given up, be it live or the canary.
        Raises ApiError: 404 unknown, 409 when live is not `expected_live`, another canary is on trial or "previous" was
        itself taken back, 422 when the checkpoint is unfit or an engine serves other weights, 503 without an engine.
        Where engines must change the weights under their adapters, it is live once one has it; the others follow.
        """
        wish = await self._plan(name, by, reason, expected_live, share, disown)
        if wish is None:
            return self._answer()
        if self._at_hand(wish):  # waits for no other deployment: that one finds the row changed
            return await self._carry_out(wish)
        if name == "previous":
            expected_live = wish.instead_of.live.name  # whoever asked meant what was live then
        async with self._deploying:
            wish = await self._plan(name, by, reason, expected_live, share, disown)
            return self._answer() if wish is None else await self._carry_out(wish)

    async def _plan(
        self, name: str, by: str, reason: str, expected_live: str | None, share: float, disown: bool
    ) -> Proposal | None:
        """What is to be done by the rows as they are now; None: nothing is. Raises ApiError as `deploy` does."""
        await self._catalog.refresh()
        if self._catalog.trouble is not None or (state := self._catalog.wanted) is None:
            raise unavailable(f"nothing can be deployed now: {self._catalog.trouble}", "database_unavailable")
        target = state.previous if name == "previous" else self._catalog.known(name)
        if target is None:
            what = "there is no previous checkpoint to go back to" if name == "previous" else f"no checkpoint {name!r}"
            raise ApiError(404, what, code="checkpoint_not_found", param="checkpoint")
        if name == "previous" and target.state in ("retired", "rejected"):
            older = next((one.name for one in self._catalog.listed() if one.id < state.live.id), None)
            raise _taken_back_already(target, state.live, older)
        if target.id == state.live.id and state.canary is None:
            return None
        if expected_live is not None and expected_live != state.live.name:
            raise _changed(expected_live, state.live.name)
        if target.state == "rejected":
            raise _rejected(target)
        if share and state.canary is not None and target.id != state.live.id:
            if target.id == state.canary.id:
                return None
            what = f"{state.canary.name} is on trial; make it live, or end its trial by making {state.live.name} live"
            raise ApiError(409, what, code="canary_on_trial")
        if share and target.ground != state.live.ground:
            what = f"{target.name} can't be on trial beside {state.live.name}: an engine has one set of weights"
            raise ApiError(422, what, code="no_canary", param="canary_share")
        share = share if target.id != state.live.id else 0.0
        return Proposal(target, by, reason, state, share, disown or name == "previous", disown)

    def _at_hand(self, wish: Proposal) -> bool:
        """Whether engines have it, proven, so that nothing is to be loaded, nor read from files that may be gone.

        All that are healthy must; but where live is taken back, one is enough: an engine that has no files for what
        takes its place, or refuses it, must not keep bad weights before people. It is left out until it has it.
        """
        target, live = wish.target, wish.instead_of.live
        if target.ground != live.ground:
            return False
        if target.kind == "base" or target.id == live.id:
            return True
        healthy = [keeper for keeper in self.keepers if keeper.engine.healthy]
        if target.path is None or not healthy:
            return False
        return (any if wish.back else all)(keeper.has(adapter_of(target)) for keeper in healthy)

    async def _carry_out(self, wish: Proposal) -> dict[str, str | None]:
        """Have engines get it, where they don't have it, and write the row."""
        target, state = wish.target, wish.instead_of
        try:
            if self._at_hand(wish):
                await asyncio.to_thread(self._propose, wish)
            else:
                await self._inspection.fit(target)
                async with self._wanting.candidate(target):
                    if target.ground != state.live.ground:
                        await self._reach.ahead(target)
                    else:
                        await self._reach.everywhere(adapter_of(target), one=wish.back)
                    await asyncio.to_thread(self._propose, wish)
                    await self._catalog.refresh()  # people get it from here on; the wish is taken back after that
        except DeploymentChanged as error:
            raise _changed(state.live.name, str(error)) from error
        except DatabaseUnavailable as error:
            raise unavailable(f"not deployed: {error}", "database_unavailable") from error
        finally:
            await self._catalog.refresh()
            self._tell()
        self.swaps += 1
        log.info("%s is %s, made so by %s: %s", target.name, "on trial" if wish.share else "live", wish.by, wish.reason)
        return self._answer()

    async def admit(self, target: Weights) -> None:
        """Have a published checkpoint that somebody pinned loaded. Raises ApiError when no engine takes it."""
        if target.path is None or self._pool.pick(target.model) or self.is_wanted(target.model):
            return
        await self._inspection.fit(target)
        adapter = adapter_of(target)
        await self._wanting.guest(adapter)
        await self._reach.everywhere(adapter)

    def is_wanted(self, model: str) -> bool:
        """Whether engines have this adapter or these full weights, or are to load them."""
        live = self._catalog.live
        return model in {adapter.name for adapter in self.wanted()} or (live is not None and model == live.ground)

    async def add_step(self, name: str, path: str) -> list[str]:
        """Load an adapter of a running round on every engine; its name stays until removed. Returns the engines."""
        self._refuse_trainer()
        adapter = await self._wanting.step(name, await self._inspection.fit_step(name, path))
        try:
            return await self._reach.everywhere(adapter)
        except ApiError as error:
            if error.status != 503:
                await self._wanting.no_step(name)
            raise

    async def remove_step(self, name: str) -> None:
        """Forget an adapter of a round; when this returns no healthy engine has it, so that its files may go.

        Raises ApiError 404 for one that is not there, 503 when an engine still has it after `load_seconds`: somebody
        uses it, or the engine does not let it go. Then ask again.
        """
        if not await self._wanting.no_step(name) and not self._reach.having(name):
            raise ApiError(404, f"no adapter {name!r} is loaded", code="adapter_not_found")
        await self._reach.gone(name)

    def internal_model(self, model: str) -> str:
        """The name under which the trainer may sample: a step, the base, what is kept loaded. Raises ApiError 404."""
        self._refuse_trainer()
        bases = {engine.base.id for engine in self._pool.engines if engine.base is not None}
        if model in bases or self.is_wanted(model):
            return model
        raise ApiError(404, f"no adapter {model!r} is loaded; POST /internal/adapters first", code="model_not_found")

    async def can_try(self, name: str) -> bool:
        """Whether this checkpoint could be on trial beside live: both must stand on the same weights."""
        await self._catalog.refresh()
        target, live = self._catalog.known(name), self._catalog.live
        return target is None or live is None or target.ground == live.ground

    def _refuse_trainer(self) -> None:
        live = self._catalog.live
        if live is not None and live.kind == "full":
            what = f"{live.name}, which is live, is full weights: adapters don't fit them, and rounds don't sample here"
            raise ApiError(409, f"{what}; train with weights=full, on an engine of its own", code="full_weights")

    def _propose(self, wish: Proposal) -> None:
        target, state = wish.target, wish.instead_of
        live, canary, expected = state.live, state.canary, state.deployment_id
        with self._database.transaction() as session:
            row = checkpoints.lock_checkpoint(session, target.id)
            if row.kind != "base" and row.path is None:  # pruned by another gateway since it was looked at
                raise without_files(target)
            if row.state == "rejected":  # it learnt from what somebody had forgotten just now
                raise _rejected(target)
            if wish.share:
                deployments.propose(
                    session, live.id, wish.by, wish.reason, expected, canary_id=target.id, canary_share=wish.share
                )
                checkpoints.set_state(session, target.id, "canary")
                return
            deployments.propose(session, target.id, wish.by, wish.reason, expected)
            if target.kind != "base":
                checkpoints.set_state(session, target.id, "published")
            if canary is not None and canary.id != target.id:
                checkpoints.put_away(session, canary.id, wish.disown)
            if target.id != live.id and (wish.back or deployments.is_rollback(session, live.id, target.id)):
                if live.kind != "base":
                    checkpoints.put_away(session, live.id, wish.disown)
                why = f"built on {live.name}, which was rolled back to {target.name} by {wish.by}: {wish.reason}"
                deployments.abort_built_on(session, live.id, why)

    def _answer(self) -> dict[str, str | None]:
        state = self._catalog.wanted
        assert state is not None
        found = {"live": state.live.name, "previous": state.previous.name if state.previous else None}
        return found if state.canary is None else found | {"canary": state.canary.name}

    def _tell(self) -> None:
        """Something is wanted otherwise: the own keepers look now, other gateways are told."""
        self._wake()
        self._pool.notify()
        self._notices.send()

    def _wake(self) -> None:
        for keeper in self.keepers:
            keeper.wake()


def _changed(expected: str, found: str) -> ApiError:
    return ApiError(
        409, f"live is not {expected} any more ({found}); look again and decide anew", code="deployment_changed"
    )


def _rejected(target: Weights, more: str = "") -> ApiError:
    what = f"{target.name} was rejected; its round, the deployments, or the audit of what was forgotten say why{more}"
    return ApiError(409, what, code="checkpoint_rejected")


def _taken_back_already(previous: Weights, live: Weights, older: str | None) -> ApiError:
    further = (
        f"nothing older than {live.name} is kept"
        if older is None
        else f"to go further back promote an older version by its name, such as {older}"
    )
    if previous.state == "rejected":
        return _rejected(previous, f"; {further}")
    what = f"{previous.name} was taken back when {live.name} became live again"
    what += f"; to serve it after all promote it by its name; {further}"
    return ApiError(409, what, code="taken_back_already", param="checkpoint")
