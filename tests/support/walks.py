"""Changes of what is live in which something dies: how each is brought about, the points at which its engine says where
it is, and what must hold once all is well again.

An engine here is a stand-in, whose full weights are there at once. A wait that comes to nothing tells what was found
instead. What dies, and when, is the tests' own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from support.adapters import add_checkpoint, add_full
from support.fake_engine import FakeEngine
from support.gateways import Running
from support.swaps import running_engine
from support.waiting import patience

from db.queries import checkpoints, deployments, wishes
from db.session import Database

CONVERGED_SECONDS = 5.0
STEP_SECONDS = 10.0  # of any other wait: for one answer, or for the state before or after
REACHED_SECONDS = 30.0  # until a point is reached: a gateway that was just started works towards it
LOAD, UNLOAD = ("load", "loaded", "probe", "probed"), ("unload", "unloaded")
REPLACE = ("paused", "in change", "reloaded", "named", "resumed", "proving", "proven")
"""Of weights, in their order; before them the engine's adapters are unloaded."""
LATER = {"proving": ("resumed", "probe"), "proven": ("resumed", "probed"), "adapter proven": ("loaded", "probed")}
"""Points that come more than once, by the one after which they are meant: weights are probed before they go as well."""
RECORD = ("wished", "written")  # just after these rows are there

State = tuple[str, str, str | None]
"""What is live, what was before, and what is on trial."""


@dataclass(frozen=True)
class Change:
    """From one state to another, by deploying the last of the checkpoints v1, v2 and so on, or what `ask` names.

    `kinds`: a letter each, an adapter or full weights. `done`: the points at which the row is written already.
    """

    kinds: str
    before: State
    after: State
    done: tuple[str, ...] = ()
    share: float = 0.0
    engines: int = 1
    ask: str = ""

    @property
    def asked(self) -> str:
        return self.ask or f"v{len(self.kinds)}"

    @property
    def target(self) -> str:
        """The checkpoint that is made live, or goes on trial."""
        return (self.after[2] if self.share else None) or self.after[0]


CHANGES = {
    "adapter": Change("aaa", ("v2", "v1", None), ("v3", "v2", None), UNLOAD),
    "adapter on the second engine": Change("aaa", ("v2", "v1", None), ("v3", "v2", None), UNLOAD, engines=2),
    "full": Change("af", ("v1", "v0", None), ("v2", "v1", None)),
    "full on the second engine": Change("af", ("v1", "v0", None), ("v2", "v1", None), REPLACE, engines=2),
    "back": Change("fa", ("v1", "v0", None), ("v2", "v1", None)),
    "trial": Change("aaa", ("v2", "v1", None), ("v2", "v1", "v3"), share=0.5),
    "promotion": Change("aaa", ("v2", "v1", "v3"), ("v3", "v2", None), UNLOAD),
    "rollback": Change("aa", ("v2", "v1", None), ("v1", "v2", None), ask="previous"),
    "rollback to an older one": Change("aaa", ("v3", "v2", None), ("v1", "v3", None), UNLOAD, ask="v1"),
    "rollback of full weights": Change("ff", ("v2", "v1", None), ("v1", "v2", None), ask="previous"),
    "rollback to an adapter": Change("af", ("v2", "v1", None), ("v1", "v2", None), ask="previous"),
    "trial taken back": Change("aaa", ("v2", "v1", "v3"), ("v2", "v1", None), UNLOAD, ask="v2"),
}


class Walk:
    """What is waited for, by the rows, all engines and those gateways that are looked into: `houses`."""

    def __init__(self, database: Database, engines: list[FakeEngine]) -> None:
        self.database, self.engines = database, engines
        self.houses: list[Running] = []

    async def until(self, state: State, when: str, seconds: float = STEP_SECONDS, holds: bool = False) -> None:
        """`holds`: one of the gateways has the lease as well."""
        began = asyncio.get_running_loop().time()
        async with self.within(seconds, f"{when}, everybody had {state}{' and the lease a holder' if holds else ''}"):
            while not (self.agree(state) and (not holds or self.holds)):  # noqa: ASYNC110  rows signal nothing
                await asyncio.sleep(0.005)
        print(f"{when}: {asyncio.get_running_loop().time() - began:.2f} s")

    @asynccontextmanager
    async def within(self, seconds: float, what: str) -> AsyncIterator[None]:
        seconds = patience(seconds)
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            pytest.fail(f"not within {seconds:g} s: {what}. Found: {self.found()}", pytrace=False)

    @property
    def holds(self) -> bool:
        return any(house.gateway.lease.role == "holds" for house in self.houses)

    def agree(self, state: State) -> bool:
        """Whether this is what the rows say, and what every engine has and answers as."""
        if any(one.paused for one in self.engines) or rows(self.database) != state:
            return False
        with self.database.reading() as session:
            kinds = {one.name: one.kind for one in checkpoints.list_checkpoints(session)}
        full = kinds[state[0]] == "full"
        adapters = set() if full else {f"ruminate-{one}" for one in state if one and kinds[one] == "adapter"}
        return (
            all(Path(one.weights).name == (state[0] if full else "") for one in self.engines)
            and all(set(one.adapters) == adapters for one in self.engines)
            and all(counts(house, state) for house in self.houses)
        )

    def found(self) -> str:
        said = [f"the rows want (live, previous, canary) {rows(self.database)}"]
        said += [f"a gateway {house.gateway.lease.role} the lease and wants {names(house)}" for house in self.houses]
        for number, one in enumerate(self.engines):
            has = f"{Path(one.weights).name or 'the base'} (version {one.version}) with {sorted(one.adapters)}"
            for house in self.houses:
                known = house.gateway.pool.engines[number]
                has += f", counted as {known.in_place} with {sorted(known.loaded)}, {known.state} {known.detail}"
            said.append(f"an engine{' that is paused' if one.paused else ''} has {has}")
        return "; ".join(said)

    async def answers_as_the_row_says(self) -> None:
        """And the rows agree with each other: what is on trial is so by its own row as well, and nothing else is."""
        live, _, canary = rows(self.database)
        served = {f"ruminate-{one}" for one in (live, canary) if one is not None}
        for number in range(4):
            for house in self.houses:
                answer = await house.chat(f"number {number}")
                assert answer.status_code == 200, answer.text
                assert answer.json()["model"] in served
                said = self.engines[0].text(answer.json()["model"])[1]
                assert answer.json()["choices"][0]["message"]["content"] == said
        with self.database.reading() as session:
            states = {one.name: one.state for one in checkpoints.list_checkpoints(session)}
        assert {name for name, state in states.items() if state == "canary"} == {canary} - {None}
        assert states[str(live)] == "published"


@asynccontextmanager
async def running_engines(count: int) -> AsyncIterator[list[FakeEngine]]:
    """So many, with nothing loaded."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_engine()) for _ in range(count)]


def let_go(engines: list[FakeEngine]) -> None:
    """So that the gateway's own end waits for nothing, however the test ended."""
    for engine in engines:
        engine.at, engine.paused = "", False


async def prepare(database: Database, http: httpx.AsyncClient, folder: Path, change: Change) -> None:
    """Bring the state before it about."""
    add = {"a": add_checkpoint, "f": add_full}
    made = [add[kind](database, folder, -2.0 - place / 10) for place, kind in enumerate(change.kinds)]
    on_trial = change.before[2]
    for name in made if change.ask and not on_trial else made[:-1]:
        assert (await deploy(http, name)).status_code == 200
    if on_trial is not None:
        assert (await deploy(http, on_trial, 0.5)).status_code == 200


async def deploy(http: httpx.AsyncClient, name: str, share: float = 0.0) -> httpx.Response:
    return await http.post("/api/deployments", json={"checkpoint": name, "reason": "a test", "canary_share": share})


def arm(engine: FakeEngine, point: str, then: Callable[[], None]) -> None:
    """Have `then` called once, when the engine reaches the point."""
    if point in LATER:
        first, second = LATER[point]
        engine.at, engine.then = first, lambda: arm(engine, second, then)
    else:
        engine.at, engine.then = point, then


def is_there(database: Database, point: str, change: Change) -> bool:
    """Whether the wish for what is asked for, or the row that makes it so, is written."""
    if point == "written":
        return rows(database) == change.after
    with database.reading() as session:
        return any(one.name == f"ruminate-{change.target}" for one in wishes.wanted(session))


def rows(database: Database) -> tuple[str | None, ...]:
    """The state by the newest row."""
    with database.reading() as session:
        row = deployments.current(session)
        known = {one.id: one.name for one in checkpoints.list_checkpoints(session)}
    if row is None:
        return ()
    three = (row.live_checkpoint_id, row.previous_checkpoint_id, row.canary_checkpoint_id)
    return tuple(None if one is None else known[one] for one in three)


def names(house: Running) -> tuple[str | None, ...]:
    """The state as a gateway has read it."""
    wanted = house.gateway.catalog.wanted
    return () if wanted is None else tuple(one and one.name for one in (wanted.live, wanted.previous, wanted.canary))


def counts(house: Running, state: State) -> bool:
    """Whether a gateway wants this state, and sends requests for live to every engine."""
    live = house.gateway.catalog.live
    return (
        live is not None and names(house) == state and all(one.serves(live.model) for one in house.gateway.pool.engines)
    )
