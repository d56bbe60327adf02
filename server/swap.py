"""Which adapters every engine should have, and the change of the live checkpoint: check, load, probe, one row, done.

A deployment is a row that replaces the one it was judged against. Requests take the live name once, when they start, so
those in flight end on the weights they began with; a name is forgotten only when nobody uses it any more.
"""

import asyncio
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from db.errors import DatabaseUnavailable, DeploymentChanged
from db.queries import checkpoints, deployments
from db.session import Database
from server.catalog import ALIAS, Catalog, Weights
from server.engine import Card, Engine
from server.errors import ApiError, invalid, unavailable
from server.keeper import Adapter, Keeper
from server.manifest import Unfit, check_adapter, check_checkpoint, config_hash
from server.pool import Pool

log = logging.getLogger(__name__)

MAX_STEPS = 3  # adapters of a running round: two of its steps, and what its gate measures
MAX_GUESTS = 1  # published checkpoints that somebody pins, beside live and previous
NAME = re.compile(r"^round-[a-z0-9][a-z0-9.-]*$")


class Swap:
    """The wanted adapters of all engines, and the one place that changes what is live."""

    def __init__(self, database: Database, catalog: Catalog, pool: Pool, interval: float, load_seconds: float) -> None:
        self._database, self._catalog, self._pool = database, catalog, pool
        self._interval, self._load_seconds = interval, load_seconds
        self._candidate: Adapter | None = None
        self._guests: dict[str, Adapter] = {}
        self._steps: dict[str, Adapter] = {}
        self._retired: set[str] = set()  # steps that were here and are not wanted any more
        self._deploying = asyncio.Lock()
        self._observed: dict[str, dict[str, str]] = {}
        self.keepers = [
            Keeper(engine, pool, self.wanted, self._adopt, interval, load_seconds, self._inspect)
            for engine in pool.engines
        ]
        self.swaps = 0

    def wanted(self) -> list[Adapter]:
        """What every engine should have just now, most important first."""
        state = self._catalog.wanted
        serving = [] if state is None else [state.live, *([state.previous] if state.previous else [])]
        found = {one.model: _adapter(one) for one in serving if one.path is not None}
        for more in (*([self._candidate] if self._candidate else []), *self._guests.values(), *self._steps.values()):
            found.setdefault(more.name, more)
        return list(found.values())

    async def run(self) -> None:
        """Follow the wanted state until cancelled."""
        while True:
            if await self._catalog.refresh():
                self._wake()
            await self._note_observed()
            await asyncio.sleep(self._interval)

    async def deploy(self, name: str, by: str, reason: str, expected_live: str | None = None) -> dict[str, str | None]:
        """Make a checkpoint ("v3", or "previous") live: on every healthy engine, probed, then for everybody at once.

        Asking for what is live already changes nothing. Raises ApiError: 404 unknown, 409 when live is not
        `expected_live`, 422 when the checkpoint is unfit or an engine serves other weights, 503 without an engine.
        """
        async with self._deploying:
            await self._catalog.refresh()
            if self._catalog.trouble is not None or (state := self._catalog.wanted) is None:
                raise unavailable(f"nothing can be deployed now: {self._catalog.trouble}", "database_unavailable")
            target = state.previous if name == "previous" else self._catalog.known(name)
            if target is None:
                what = (
                    "there is no previous checkpoint to go back to" if name == "previous" else f"no checkpoint {name!r}"
                )
                raise ApiError(404, what, code="checkpoint_not_found", param="checkpoint")
            if target.id == state.live.id:
                return self._answer()
            if expected_live is not None and expected_live != state.live.name:
                raise _changed(expected_live, state.live.name)
            if target.state == "rejected":
                raise ApiError(409, f"{target.name} was rejected by its gate", code="checkpoint_rejected")
            try:
                if target.path is not None or target.kind != "base":
                    self._candidate = await self._fit(target)
                    await self._everywhere(self._candidate)
                await asyncio.to_thread(self._propose, target, by, reason, state.deployment_id)
                await self._catalog.refresh()
            except DeploymentChanged as error:
                raise _changed(state.live.name, str(error)) from error
            except DatabaseUnavailable as error:
                raise unavailable(f"not deployed: {error}", "database_unavailable") from error
            finally:
                self._candidate = None
                self._wake()
            self.swaps += 1
            log.info("%s is live, made so by %s: %s", target.name, by, reason)
            return self._answer()

    async def admit(self, target: Weights) -> None:
        """Have a published checkpoint that somebody pinned loaded. Raises ApiError when no engine takes it."""
        if target.path is None or self._pool.pick(target.model) or target.model in {a.name for a in self.wanted()}:
            return
        self._guests[target.model] = await self._fit(target)
        while len(self._guests) > MAX_GUESTS:
            del self._guests[next(iter(self._guests))]
        await self._everywhere(self._guests[target.model])

    async def add_step(self, name: str, path: str) -> list[str]:
        """Load an adapter of a running round on every engine; its name stays until removed. Returns the engines."""
        if not NAME.match(name):
            raise invalid(f"adapter name {name!r}: expected round-<id>-step-<k>", "name")
        adapter = _step(name, path)
        known = self._steps.get(name)
        if known is not None and known.path != adapter.path:
            raise ApiError(409, f"{name} is loaded from {known.path}; a name is never reused", code="name_in_use")
        try:
            await asyncio.to_thread(check_adapter, Path(adapter.path))
        except Unfit as error:
            raise _unfit(error) from error
        self._steps[name] = adapter
        self._trim()
        try:
            return await self._everywhere(adapter)
        except ApiError as error:
            if error.status != 503:
                self._steps.pop(name, None)
            raise

    def remove_step(self, name: str) -> None:
        """Forget an adapter of a round. Raises ApiError 404 for one that is not there."""
        if self._steps.pop(name, None) is None:
            raise ApiError(404, f"no adapter {name!r} is loaded", code="adapter_not_found")
        self._retired.add(name)
        self._wake()

    def internal_model(self, model: str) -> str:
        """The name under which the trainer may sample: a step, the base, what is kept loaded. Raises ApiError 404."""
        bases = {engine.base.id for engine in self._pool.engines if engine.base is not None}
        if model in bases or model in {adapter.name for adapter in self.wanted()}:
            return model
        raise ApiError(404, f"no adapter {model!r} is loaded; POST /internal/adapters first", code="model_not_found")

    def _trim(self) -> None:
        while len(self._steps) > MAX_STEPS:
            oldest = next(iter(self._steps))
            log.info("%s makes room for later adapters of its round", oldest)
            del self._steps[oldest]
            self._retired.add(oldest)

    def _adopt(self, card: Card) -> bool:
        """Keep a round's adapter that an earlier process of this gateway loaded: the round goes on."""
        if not NAME.match(card.id) or card.id in self._retired or len(self._steps) >= MAX_STEPS:
            return False
        self._steps[card.id] = Adapter(card.id, card.root)
        return True

    async def _fit(self, target: Weights) -> Adapter:
        if target.path is None:
            raise ApiError(422, f"{target.name} has no files yet", code="checkpoint_unfit")
        if target.kind != "adapter":
            raise ApiError(
                422, f"{target.name} is of kind {target.kind!r}; only adapters are swapped in place", code="unfit"
            )
        try:
            manifest = await asyncio.to_thread(check_checkpoint, target.path, target.name, self._base_hash())
        except Unfit as error:
            raise _unfit(error) from error
        return Adapter(target.model, str(target.path.resolve()), manifest["probe"])

    def _inspect(self, adapter: Adapter) -> None:
        """Look at the files once more right before a load: an engine that restarts gets nothing altered since."""
        if adapter.probe is None:
            check_adapter(Path(adapter.path))
        else:
            check_checkpoint(Path(adapter.path), adapter.name.removeprefix(f"{ALIAS}-"), self._base_hash())

    def _base_hash(self) -> str | None:
        roots = (engine.base.root for engine in self._pool.engines if engine.base is not None)
        return next((found for root in roots if (found := config_hash(Path(root)))), None)

    async def _everywhere(self, adapter: Adapter) -> list[str]:
        """Wait until every healthy engine has the adapter. A dead one does not block; it gets it when it comes back."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._load_seconds
        while True:
            healthy = [keeper for keeper in self.keepers if keeper.engine.healthy]
            if not healthy:
                raise unavailable("no engine is up; try again in a moment")
            verdicts = [(keeper, keeper.verdict(adapter)) for keeper in healthy]
            for keeper, verdict in verdicts:
                if verdict is not None and not verdict.ok:
                    message = f"engine {keeper.engine.url} does not take {adapter.name}: {verdict.detail}"
                    raise ApiError(422, message, code="adapter_refused")
            late = [keeper for keeper, verdict in verdicts if verdict is None]
            if not late:
                return [keeper.engine.url for keeper in healthy]
            try:
                await asyncio.wait_for(_any_look(late), deadline - loop.time())
            except TimeoutError:
                late_urls = ", ".join(keeper.engine.url for keeper in late)
                raise unavailable(f"{late_urls} did not load {adapter.name} in {self._load_seconds:g} s") from None

    def _propose(self, target: Weights, by: str, reason: str, expected: int) -> None:
        with self._database.transaction() as session:
            deployments.propose(session, live_id=target.id, by=by, reason=reason, expected_id=expected)
            if target.kind != "base":
                checkpoints.set_state(session, target.id, "published")

    def _answer(self) -> dict[str, str | None]:
        state = self._catalog.wanted
        assert state is not None
        return {"live": state.live.name, "previous": state.previous.name if state.previous else None}

    def _wake(self) -> None:
        for keeper in self.keepers:
            keeper.wake()

    async def _note_observed(self) -> None:
        """Write down what each engine has, where that changed. What can't be written is written at the next tick."""
        for engine in self._pool.engines:
            seen = dict(engine.loaded)
            if seen != self._observed.get(engine.url):
                try:
                    await asyncio.to_thread(self._observe, engine, seen)
                except DatabaseUnavailable:
                    return
                self._observed[engine.url] = seen

    def _observe(self, engine: Engine, seen: dict[str, str]) -> None:
        gone = set(self._observed.get(engine.url, {})) - set(seen)
        with self._database.transaction() as session:
            for name in seen:
                deployments.observe(session, engine.url, name, "loaded", "")
            for name in gone:
                deployments.observe(session, engine.url, name, "failed", engine.detail or "not loaded any more")


async def _any_look(keepers: Iterable[Keeper]) -> None:
    await asyncio.gather(*(keeper.next_look() for keeper in keepers))


def _step(name: str, path: str) -> Adapter:
    return Adapter(name, os.path.realpath(path))


def _adapter(one: Weights) -> Adapter:
    assert one.path is not None
    return Adapter(one.model, str(one.path.resolve()), one.manifest.get("probe"))


def _changed(expected: str, found: str) -> ApiError:
    return ApiError(
        409, f"live is not {expected} any more ({found}); look again and decide anew", code="deployment_changed"
    )


def _unfit(error: Unfit) -> ApiError:
    return ApiError(422, f"not loaded: {error}", code="checkpoint_unfit")
