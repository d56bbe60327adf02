"""Makes one engine have what it should have: looks, loads, probes, unloads, ejects and readmits.

That is the weights that adapters stand on, which are the base unless full weights are live (`server.full` replaces
them), and adapters.

What is wanted comes from `server.swap`. Every gateway has a keeper for each engine, and those of the gateway that holds
the lease load and unload; the others look, and send requests to what stands in the shared rows. A loaded adapter counts
only once its probe has passed, so an engine that comes back serves nothing that was not checked again. One that comes
back with another base model serves nothing at all.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db.errors import DatabaseUnavailable, LeaseTaken
from server.engine import AS_STARTED, Card, Engine, EngineDown, EngineFailed
from server.full import FullWeights, Replaced, name_of, prove, put_in_place
from server.ground import Grounds
from server.lease import Lease
from server.manifest import Unfit, config_hash, if_readable
from server.observed import Observed, Verdict
from server.pool import Pool
from server.probe import ProbeFailed, check
from server.verdicts import Verdicts

log = logging.getLogger(__name__)

STRIKES = 2  # late answers in a row until an engine is ejected; a refused connection ejects at once
TURN_SECONDS = 0.05  # between two looks of one that waits for another engine to have its new weights
THERE_ALREADY = "already been loaded"  # vLLM's words


@dataclass(frozen=True)
class Adapter:
    """What an engine should have under `name`. Without a probe (a step of a round) a load is believed."""

    name: str
    path: str
    probe: dict[str, Any] | None = None


class Keeper:
    """The one that looks after `engine`. `wanted` gives the adapters it should have just now, most important first."""

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        lease: Lease,
        shared: Observed,
        wanted: Callable[[], list[Adapter]],
        changed: Callable[[], None],
        interval: float,
        load_seconds: float,
        inspect: Callable[[Adapter | FullWeights], None],
        ground: Grounds,
        drain_seconds: float,
    ) -> None:
        """`inspect` looks at files before the engine does, in a thread, and raises Unfit.

        `changed` is told when this keeper has changed what the `shared` rows say.
        """
        self.engine = engine
        self._pool, self._lease, self._wanted = pool, lease, wanted
        self._verdicts = Verdicts(engine.url, lease, shared, changed)
        self._interval, self._load_seconds = interval, load_seconds
        self._inspect = inspect
        self._ground, self._drain_seconds = ground, drain_seconds
        self._compared: tuple[Card, str | None] | None = None  # the base it was seen with, and what it was to be
        self._proven = ""  # the version of full weights that passed its probe
        self._strikes = 0
        self._wake = asyncio.Event()
        self._there: dict[str, str] = {}  # what it said itself when it was last looked at
        self._started: str | None = None  # when its process began that a probe last failed on
        self._begun = self._ended = 0
        self._removed = False
        self._round = asyncio.Event()

    def wake(self) -> None:
        """Look now instead of at the next tick."""
        self._wake.set()

    def verdict(self, adapter: Adapter | FullWeights) -> Verdict | None:
        """What came of this adapter, or of these weights, here; None while it is not known."""
        if self.has(adapter):
            return Verdict(True, self._verdicts.said(adapter.name))
        return self._verdicts.against(adapter.name, adapter.path)

    def has(self, wanted: Adapter | FullWeights) -> bool:
        """Whether it is there, and proven."""
        if isinstance(wanted, FullWeights):
            return self.engine.healthy and self.engine.in_place == wanted.name
        return self.engine.healthy and self.engine.loaded.get(wanted.name) == wanted.path

    def lists(self, name: str) -> bool:
        """Whether it had an adapter of this name when it was last looked at, and has not forgotten it since."""
        return name in self._there

    async def next_look(self, adapter: Adapter | None = None) -> None:
        """Return after a look that began after this call has ended, or after one that loaded this adapter meanwhile."""
        running = self._begun
        had = adapter is None or self.has(adapter)
        self._wake.set()
        while self._ended <= running and not self._removed:
            await self._round.wait()
            if not had and adapter is not None and self.has(adapter):
                return

    def remove(self) -> None:
        """Send its engine nothing more; whoever waits for a look waits no longer."""
        self._removed = True
        self.engine.remove()
        self._round.set()
        self._pool.notify()

    async def run(self) -> None:
        """Look after the engine until cancelled."""
        while True:
            self._wake.clear()
            self._begun += 1
            await self._look()
            self._ended = self._begun
            done, self._round = self._round, asyncio.Event()
            done.set()
            self._pool.notify()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()

    async def _look(self) -> None:
        engine = self.engine
        try:
            version = engine.version
            cards = await engine.observe(self._ground.changes)
            there = {card.id: card.root for card in cards if card.parent is not None}
            if await self._restarted(there, version):
                self._verdicts.forget()  # what another process did says nothing about this one
            await self._agree(there)
            if engine.takes_images is None:
                await engine.find_out_images()
            self._strikes = 0
        except EngineDown as error:
            self._eject(error.what)
        except EngineFailed as error:
            self._strikes += 1
            engine.detail = error.what
            if self._strikes >= STRIKES:
                self._eject(error.what)

    def _eject(self, why: str) -> None:
        if self.engine.healthy:
            log.error("engine %s is down: %s", self.engine.url, why)
        self._verdicts.forget()
        self.engine.mark_down(why)

    async def _restarted(self, there: dict[str, str], version: str) -> bool:
        """Whether it is another process than it was, as far as that shows: what it had loaded is gone, or its weights
        are those of a start again. Where it had nothing, it is asked, but only while a probe's verdict depends on it.

        `version`: of its weights, when it was last looked at or changed.
        """
        engine, had = self.engine, self._there | self.engine.loaded
        if any(there.get(name) != path for name, path in had.items()):
            return True
        if version != AS_STARTED and engine.version == AS_STARTED:
            return True
        if there or self._started is None or not self._verdicts.is_final:
            return False
        return await engine.started_at() not in (None, self._started)

    async def _agree(self, there: dict[str, str]) -> None:
        engine = self.engine
        self._there = there
        for name in [name for name, path in engine.loaded.items() if there.get(name) != path]:
            del engine.loaded[name]  # it restarted between two looks
        await self._compare()
        if not engine.healthy:
            log.info("engine %s answers", engine.url)
            engine.mark_up()
        try:
            await self._verdicts.read()  # after the list: see server.observed
            if self._lease.role == "follows":
                self._believe(there)
            else:
                await self._stand(there)
        except DatabaseUnavailable:
            if self._lease.role == "alone":
                await self._stand(there)
        except LeaseTaken as error:
            log.warning("%s", error)
        ground = self._ground.of(engine)
        behind = [] if ground is None or ground.name == engine.in_place else [ground.name]
        if not behind and (ground is None or not ground.path):
            behind = [adapter.name for adapter in self._wanted() if adapter.name not in engine.loaded]
        engine.state = "behind" if behind else "ready"
        engine.detail = "; ".join(f"{name}: {self._verdicts.said(name)}" for name in behind)

    async def _compare(self) -> None:
        """Raises EngineDown for one that was started with another base model, where its files can be read here."""
        base, wanted = self.engine.base, self._ground.base_hash
        if base is None or (self.engine.healthy and self._compared == (base, wanted)):
            return
        found = await asyncio.to_thread(if_readable, config_hash, Path(base.root))
        if None not in (found, wanted) and found != wanted:
            why = f"its base model in {base.root} is not the one that v0 is; start it with that one"
            if self.engine.detail != why:
                log.error("engine %s is left out: %s", self.engine.url, why)
            raise EngineDown(self.engine.url, why)
        self._compared = (base, wanted)

    def _believe(self, there: dict[str, str]) -> None:
        """As the one who looks after the engine says in the rows."""
        engine = self.engine
        ok = {name for name, verdict in self._verdicts.told.items() if verdict.ok}
        name = name_of(engine.version, engine.base_id)
        engine.in_place = name if engine.version == AS_STARTED or name in ok else None
        stands = engine.in_place == engine.base_id
        engine.loaded = {name: path for name, path in there.items() if name in ok} if stands else {}

    async def _stand(self, there: dict[str, str]) -> None:
        """See to the weights under the adapters, and then, where these are the base, to the adapters."""
        engine, ground = self.engine, self._ground.of(self.engine)
        if self._ground.changes and self._lease.role == "holds":
            await self._wake_up()
        name = name_of(engine.version, engine.base_id)
        told = self._verdicts.told.get(name) if name is not None else None
        sure = engine.version in (AS_STARTED, self._proven) or (told is not None and told.ok)
        engine.in_place = name if sure else None
        if ground is not None and engine.in_place != ground.name:
            await self._change(ground, there)
        if engine.in_place == engine.base_id:
            await self._reconcile(there)

    async def _wake_up(self) -> None:
        """Nothing is being replaced here now, so an engine that is paused was left so by one that died."""
        try:
            if await self.engine.paused():
                log.warning("engine %s was left paused; it goes on", self.engine.url)
                await self.engine.resume()
        except EngineDown:
            raise
        except EngineFailed as error:  # busy, or without control endpoints
            log.info("%s", error)

    async def _change(self, wanted: FullWeights, there: dict[str, str]) -> None:
        """Prove or replace its weights, when it is this engine's turn. A failure is kept as a verdict."""
        engine = self.engine
        if self._lease.role != "holds" and engine.version != AS_STARTED:
            return
        if not self._verdicts.worth_trying(wanted.name, wanted.path):
            return
        if self._ground.turns.locked():
            asyncio.get_running_loop().call_later(TURN_SECONDS, self.wake)
            return
        async with self._ground.turns:
            began = time.monotonic()
            try:
                if wanted.path:
                    await asyncio.to_thread(self._inspect, wanted)
                engine.reloading, engine.in_place = True, None  # from here on it is sent nothing new
                verdict = Verdict(True, await self._put(wanted, there))
            except EngineDown:
                raise
            except Replaced:
                self.wake()
                return
            except EngineFailed as error:
                verdict = Verdict(False, error.what)
            except Unfit as error:
                verdict = Verdict(False, f"not loaded: {error}")
            except ProbeFailed as error:
                verdict = await self._final(error)
            finally:
                engine.reloading = False
            self._verdicts.note(wanted.name, wanted.path, verdict)
            await self._verdicts.tell({wanted.name: verdict})
        if verdict.ok:
            self._proven, engine.in_place = engine.version, wanted.name
            took = time.monotonic() - began
            log.info("engine %s is %s after %.2f s %s", engine.url, wanted.name, took, verdict.detail)
        else:
            log.error("engine %s does not take %s: %s", engine.url, wanted.name, verdict.detail)
        self._pool.notify()

    async def _put(self, wanted: FullWeights, there: dict[str, str]) -> str:
        """Returns the probe's words. Raises EngineFailed, ProbeFailed or Replaced."""
        engine = self.engine
        if name_of(engine.version, engine.base_id) == wanted.name:
            try:
                return await prove(engine, wanted, engine.base_id)
            except ProbeFailed as error:
                log.warning("engine %s has %s no more (%s); loaded again", engine.url, wanted.name, error)
        engine.loaded.clear()
        await self._verdicts.tell_nothing((*self._verdicts.told, wanted.name))
        for name in list(there):  # they stand on the base, and an engine would apply them to any weights
            self._verdicts.drop(name)
            await engine.unload(name, self._load_seconds)
            del there[name]
        path = wanted.path or (engine.base.root if engine.base is not None else "")
        sure = engine.version in (AS_STARTED, self._proven)
        return await put_in_place(engine, wanted, path, engine.base_id, self._load_seconds, self._drain_seconds, sure)

    async def _reconcile(self, there: dict[str, str]) -> None:
        wanted = {adapter.name: adapter for adapter in self._wanted()}
        for name in [name for name in there if name not in wanted]:
            await self._unload(name)
        for adapter in wanted.values():
            has = self.engine.loaded.get(adapter.name) == adapter.path
            if not has and self._verdicts.worth_trying(adapter.name, adapter.path):
                await self._load(adapter, there.get(adapter.name))
        await self._verdicts.tell({name: self._known(adapter) for name, adapter in wanted.items()})
        stands = (*wanted, *there, self.engine.in_place)
        await self._verdicts.tell_nothing([name for name in self._verdicts.told if name not in stands])

    async def _load(self, adapter: Adapter, there: str | None) -> None:
        """Load and probe. A failure is kept as a verdict and ends nothing else; a dead engine is raised."""
        engine = self.engine
        began = time.monotonic()
        try:
            if there is not None and there != adapter.path:
                if not await self._unload(adapter.name):
                    return
                there = None
            if there is None:
                await asyncio.to_thread(self._inspect, adapter)
                await self._verdicts.tell_nothing([adapter.name])
                await engine.load(adapter.name, adapter.path, self._load_seconds)
            said = "" if adapter.probe is None else await check(engine, adapter.name, adapter.probe)
            verdict = Verdict(True, said)
        except EngineDown:
            raise
        except EngineFailed as error:
            if THERE_ALREADY in error.what:  # another gateway was quicker: it is probed at the next look
                self._wake.set()
                return
            verdict = Verdict(False, error.what)
        except Unfit as error:  # not final: the files may be put back
            verdict = Verdict(False, f"not loaded: {error}")
        except ProbeFailed as error:
            verdict = await self._final(error)
            await self._unload(adapter.name)
        self._verdicts.note(adapter.name, adapter.path, verdict)
        # before it counts here: other gateways are to know it as soon
        await self._verdicts.tell({adapter.name: verdict})
        if verdict.ok:
            engine.loaded[adapter.name] = adapter.path
            took = (time.monotonic() - began) * 1000
            log.info("engine %s has %s after %.0f ms %s", engine.url, adapter.name, took, verdict.detail)
            self._pool.notify()
        else:
            log.error("engine %s does not take %s: %s", engine.url, adapter.name, verdict.detail)

    async def _final(self, error: ProbeFailed) -> Verdict:
        """It stands for as long as the engine's process does."""
        self._started = await self.engine.started_at()
        return Verdict(False, str(error), final=True)

    async def _unload(self, name: str) -> bool:
        """As the holder of the lease, unless someone here still uses the name: then at a later look."""
        if self._pool.in_use(name) or self._lease.role != "holds":
            return False
        self.engine.loaded.pop(name, None)  # before the call: nobody may pick it while it is going
        self._verdicts.drop(name)
        await self._verdicts.tell_nothing([name])
        if self._lease.role != "holds":  # the row took long to go: somebody else may decide by now
            return False
        try:
            await self.engine.unload(name, self._load_seconds)
            self._there.pop(name, None)
            log.info("engine %s forgot %s", self.engine.url, name)
        except EngineDown:
            raise
        except EngineFailed as error:
            log.warning("%s", error)
        return True

    def _known(self, adapter: Adapter) -> Verdict | None:
        if self.engine.loaded.get(adapter.name) == adapter.path:
            return Verdict(True, self._verdicts.said(adapter.name))
        return self._verdicts.against(adapter.name, adapter.path)
