"""The gateway that looks after the engines is killed (kill -9) at any point of a change of what is live: a swap of
adapters, one to full weights or back, a canary's trial begun or ended by a promotion.

Another gateway takes over: within seconds it and the engines have what the newest row says, nothing stays paused, and
what was lost can be asked for again. The lease and the wishes that end with it are as they are by default. A wait that
comes to nothing tells what was found instead. Other things that die in a swap are in test_server_crashes.py.
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
from support.gateways import Running, running_gateway
from support.processes import Forked
from support.waiting import patience

from db.queries import checkpoints, deployments, wishes
from db.session import Database
from server.settings import ServerSettings

CONVERGED_SECONDS = 5.0
STEP_SECONDS = 10.0  # of any other wait: for one answer, or for the state before or after
REACHED_SECONDS = 30.0  # until a point is reached: a gateway that was just started works towards it
LOAD, UNLOAD = ("load", "loaded", "probe", "probed"), ("unload", "unloaded")
REPLACE = ("paused", "in change", "reloaded", "named", "resumed", "proving", "proven")
"""Of weights, in their order; before them the engine's adapters are unloaded."""
LATER = {"proving": ("resumed", "probe"), "proven": ("resumed", "probed"), "adapter proven": ("loaded", "probed")}
"""Points that come more than once, by the one after which they are meant: weights are probed before they go as well."""
RECORD = ("wished", "written")  # just after these rows are there

DEFAULT_LEASE: float = ServerSettings.model_fields["lease_seconds"].default
State = tuple[str, str, str | None]
"""What is live, what was before, and what is on trial."""


@dataclass(frozen=True)
class Change:
    """From one state to another, by deploying the last of the checkpoints v1, v2 and so on.

    `kinds`: a letter each, an adapter or full weights. `done`: the points at which the row is written already.
    """

    kinds: str
    before: State
    after: State
    done: tuple[str, ...] = ()
    share: float = 0.0
    engines: int = 1


CHANGES = {
    "adapter": Change("aaa", ("v2", "v1", None), ("v3", "v2", None), UNLOAD),
    "full": Change("af", ("v1", "v0", None), ("v2", "v1", None)),
    "full on the second engine": Change("af", ("v1", "v0", None), ("v2", "v1", None), REPLACE, engines=2),
    "back": Change("fa", ("v1", "v0", None), ("v2", "v1", None)),
    "trial": Change("aaa", ("v2", "v1", None), ("v2", "v1", "v3"), share=0.5),
    "promotion": Change("aaa", ("v2", "v1", "v3"), ("v3", "v2", None), UNLOAD),
}
HOLDER, OTHER, FOLLOWER = "holder", "other", "follower"
"""Which gateway is asked for the change: the one that looks after the engines and is killed; the other one, while that
one is killed; or one that is killed and does not look after the engines."""
CASES = [
    *[("sqlite", "adapter", asked, point) for asked in (HOLDER, OTHER) for point in LOAD + UNLOAD],
    *[("sqlite", "adapter", HOLDER, point) for point in RECORD],
    *[("postgresql", "adapter", HOLDER, point) for point in ("loaded", "unload")],
    *[("sqlite", "full", HOLDER, point) for point in ("unloaded", *REPLACE)],
    *[("sqlite", "full", OTHER, point) for point in ("paused", "in change", "named", "proven")],
    *[("sqlite", "full", FOLLOWER, point) for point in ("in change", "proven")],
    *[("sqlite", "full on the second engine", HOLDER, point) for point in ("paused", "reloaded", "proven")],
    *[("sqlite", "back", HOLDER, point) for point in ("in change", "adapter proven")],
    *[("sqlite", "trial", HOLDER, point) for point in LOAD],
    ("sqlite", "trial", FOLLOWER, "probed"),
    # what is on trial is loaded, so that no wish for it is written
    *[("sqlite", "promotion", HOLDER, point) for point in ("written", *UNLOAD)],
    ("sqlite", "promotion", OTHER, "unload"),
]


@pytest.mark.parametrize(("kind", "what", "asked", "point"), CASES)
async def test_a_change_whose_gateway_is_killed_at_any_point_converges_on_one_live_checkpoint(
    tmp_path: Path, database_url: str, what: str, asked: str, point: str
) -> None:
    async with AsyncExitStack() as stack:
        change = CHANGES[what]
        engines = [await stack.enter_async_context(running_engine()) for _ in range(change.engines)]
        urls = [engine.url for engine in engines]
        shared = {"RUMINATE_DATABASE_URL": database_url, "WATCH_SECONDS": "0.05", "LEASE_SECONDS": str(DEFAULT_LEASE)}
        one = Forked(tmp_path / "one", urls, **shared)
        stack.callback(one.end)
        if asked != FOLLOWER:
            await one.start()
        looks = {"database_url": database_url, "watch_seconds": 1.0, "lease_seconds": DEFAULT_LEASE}
        two = await stack.enter_async_context(running_gateway(tmp_path / "two", urls, **looks))
        stack.callback(let_go, engines)
        await two.until_ready()
        if asked == FOLLOWER:
            await one.start()
        assert two.gateway.lease.role == ("holds" if asked == FOLLOWER else "follows")
        await walk(stack, Walk(two, engines), one, change, asked, point, tmp_path)


async def walk(
    stack: AsyncExitStack, seen: "Walk", one: Forked, change: Change, asked: str, point: str, folder: Path
) -> None:
    """Bring the state before about, ask for the change, kill `one` at the point, and look at what comes of it."""
    two, engines = seen.house, seen.engines
    async with seen.within(2 * STEP_SECONDS, "the checkpoints before it were deployed"):
        last = await prepare(two, folder, change)
    await seen.until(change.before, "before the change")

    killed = asyncio.Event()

    def kill() -> None:
        one.kill()
        killed.set()

    http = await stack.enter_async_context(httpx.AsyncClient(base_url=one.url, timeout=60))
    asking = asyncio.create_task(deploy(two.http if asked == OTHER else http, last, change.share))
    async with seen.within(REACHED_SECONDS, f"the point {point!r} was reached"):
        if point in RECORD:
            while not is_there(two.database, point, last):  # noqa: ASYNC110  rows signal nothing
                await asyncio.sleep(0.002)
            kill()
        else:
            arm(engines[-1], point, kill)
        await killed.wait()
    done = asked == OTHER or point in change.done
    if point in RECORD:  # whether its row was written before it died is a matter of milliseconds
        done = is_there(two.database, "written", last)
    await seen.until(change.after if done else change.before, "after the kill", CONVERGED_SECONDS, holds=True)
    async with seen.within(STEP_SECONDS, "the change that was asked for had an answer"):
        result = (await asyncio.gather(asking, return_exceptions=True))[0]
    if asked == OTHER:
        assert isinstance(result, httpx.Response)
        assert result.status_code == 200, result.text
    async with seen.within(STEP_SECONDS, "four answers came"):
        await answers_as_the_row_says(two, engines)
    if not done:
        async with seen.within(STEP_SECONDS, "the change was made when it was asked for again"):
            again = await deploy(two.http, last, change.share)
        assert again.status_code == 200, again.text
        await seen.until(change.after, "after it was asked for again")
        async with seen.within(STEP_SECONDS, "four answers came after that"):
            await answers_as_the_row_says(two, engines)


@dataclass(frozen=True)
class Walk:
    """What is waited for, by the gateway that is left and all engines; with their state where it does not come."""

    house: Running
    engines: list[FakeEngine]

    async def until(self, state: State, when: str, seconds: float = STEP_SECONDS, holds: bool = False) -> None:
        """`holds`: the gateway that is left has taken the lease over as well."""
        began, roles = asyncio.get_running_loop().time(), ("holds",) if holds else ("holds", "follows", "alone")
        async with self.within(seconds, f"{when}, everybody had {state}{' and the lease a holder' if holds else ''}"):
            while not (agree(self.house, self.engines, state) and self.house.gateway.lease.role in roles):  # noqa: ASYNC110
                await asyncio.sleep(0.002)  # rows and engines signal nothing
        print(f"{when}: {asyncio.get_running_loop().time() - began:.2f} s")

    @asynccontextmanager
    async def within(self, seconds: float, what: str) -> AsyncIterator[None]:
        seconds = patience(seconds)
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            pytest.fail(f"not within {seconds:g} s: {what}. Found: {self.found()}", pytrace=False)

    def found(self) -> str:
        gateway, wanted = self.house.gateway, self.house.gateway.catalog.wanted
        names = [] if wanted is None else [one and one.name for one in (wanted.live, wanted.previous, wanted.canary)]
        said = [f"the gateway that is left {gateway.lease.role} the lease and wants (live, previous, canary) {names}"]
        for one, known in zip(self.engines, gateway.pool.engines, strict=True):
            has = f"{Path(one.weights).name or 'the base'} (version {one.version}) with {sorted(one.adapters)}"
            counts = f"counted as {known.in_place} with {sorted(known.loaded)}, {known.state} {known.detail}".strip()
            said.append(f"an engine{' that is paused' if one.paused else ''} has {has}, {counts}")
        return "; ".join(said)


def let_go(engines: list[FakeEngine]) -> None:
    """So that the gateway's own end waits for nothing, however the test ended."""
    for engine in engines:
        engine.at, engine.paused = "", False


@asynccontextmanager
async def running_engine() -> AsyncIterator[FakeEngine]:
    fake = FakeEngine()
    await fake.start()
    yield fake
    await fake.stop()


async def prepare(house: Running, folder: Path, change: Change) -> str:
    """Bring the state before it about; gives the name of the checkpoint that is to be deployed."""
    add = {"a": add_checkpoint, "f": add_full}
    names = [add[kind](house.database, folder, -2.0 - place / 10) for place, kind in enumerate(change.kinds)]
    for name in names[:-1]:
        assert (await deploy(house.http, name)).status_code == 200
    if change.before[2] is not None:
        assert (await deploy(house.http, names[-1], 0.5)).status_code == 200
    return names[-1]


async def deploy(http: httpx.AsyncClient, name: str, share: float = 0.0) -> httpx.Response:
    return await http.post("/api/deployments", json={"checkpoint": name, "reason": "a test", "canary_share": share})


def arm(engine: FakeEngine, point: str, kill: Callable[[], None]) -> None:
    if point in LATER:
        first, then = LATER[point]
        engine.at, engine.then = first, lambda: arm(engine, then, kill)
    else:
        engine.at, engine.then = point, kill


def is_there(database: Database, point: str, name: str) -> bool:
    """Whether the wish for a checkpoint, or the row that makes it live, is written."""
    with database.reading() as session:
        if point == "wished":
            return any(one.name == f"ruminate-{name}" for one in wishes.wanted(session))
        row = deployments.current(session)
        return row is not None and checkpoints.get_checkpoint(session, row.live_checkpoint_id).name == name


def agree(house: Running, engines: list[FakeEngine], state: State) -> bool:
    """Whether this is what the gateway wants, and what every engine has and answers as."""
    wanted = house.gateway.catalog.wanted
    assert wanted is not None
    three = [wanted.live, wanted.previous, wanted.canary]
    full = wanted.live.kind == "full"
    adapters = set() if full else {one.model for one in three if one is not None and one.kind == "adapter"}
    return (
        tuple(None if one is None else one.name for one in three) == state
        and all(Path(one.weights).name == (wanted.live.name if full else "") for one in engines)
        and all(set(one.adapters) == adapters and not one.paused for one in engines)
        and all(one.serves(wanted.live.model) for one in house.gateway.pool.engines)
    )


async def answers_as_the_row_says(house: Running, engines: list[FakeEngine]) -> None:
    """And the rows agree with each other: what is on trial is so by its own row as well, and nothing else is."""
    wanted = house.gateway.catalog.wanted
    assert wanted is not None
    served = {one.model for one in (wanted.live, wanted.canary) if one is not None}
    for number in range(4):
        answer = await house.chat(f"number {number}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] in served
        said = engines[0].text(answer.json()["model"])[1]
        assert answer.json()["choices"][0]["message"]["content"] == said
    with house.database.reading() as session:
        states = {one.name: one.state for one in checkpoints.list_checkpoints(session)}
    on_trial = {name for name, state in states.items() if state == "canary"}
    assert on_trial == (set() if wanted.canary is None else {wanted.canary.name})
    assert wanted.live.kind == "base" or states[wanted.live.name] == "published"
