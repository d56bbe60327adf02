"""The database or Redis goes away at a point of a change of what is live, and comes back: people are answered
meanwhile, by the checkpoint that an answer names; then there is one live checkpoint, and what was lost can be asked for
again.

A PostgreSQL and a Redis are killed (kill -9) and started again; a SQLite file is locked by another program.
"""

import asyncio
import itertools
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import httpx
import psutil
import pytest
from sqlalchemy import make_url
from support.databases import PostgreSQL, execute, own_postgresql
from support.gateways import Running, running_gateway
from support.redis_server import START_SECONDS, RedisServer
from support.walks import (
    CHANGES,
    CONVERGED_SECONDS,
    REACHED_SECONDS,
    STEP_SECONDS,
    Walk,
    arm,
    deploy,
    let_go,
    prepare,
    rows,
    running_engines,
)

from db.session import Database

BRIEF, LONG = 0.3, 1.2
"""Seconds that a store is away. LEASE: within a long time everybody's share in the lease runs out."""
LEASE = 0.8
BUSY = 0.5  # how long writers wait for a locked file here
HOLDER, OTHER = "holder", "other"
"""Which of two gateways is asked for the change: the one that looks after the engines, or the other one."""
CASES = [
    ("postgresql", "adapter on the second engine", OTHER, "loaded", LONG),
    *[("postgresql", "adapter on the second engine", HOLDER, point, BRIEF) for point in ("probed", "unload")],
    ("postgresql", "full", HOLDER, "proven", BRIEF),
    ("postgresql", "full", OTHER, "named", LONG),
    ("postgresql", "rollback of full weights", HOLDER, "reloaded", LONG),
    ("sqlite", "adapter on the second engine", HOLDER, "probed", LONG),
    ("sqlite", "full", OTHER, "in change", LONG),
    *[("redis", "adapter on the second engine", OTHER, point, BRIEF) for point in ("loaded", "unload")],
]
_count = itertools.count()


class Store(Protocol):
    """What goes away."""

    def lose(self) -> None: ...

    async def back(self) -> None:
        """Return once it serves again."""
        ...


class Killed:
    """A PostgreSQL."""

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server

    def lose(self) -> None:
        self._struck = self._server.strike()

    async def back(self) -> None:
        await asyncio.to_thread(psutil.wait_procs, self._struck, START_SECONDS)
        await asyncio.to_thread(self._server.start)


class Locked:
    """A SQLite file that another program writes to, and does not commit."""

    def __init__(self, file: Path) -> None:
        self._writer = sqlite3.connect(file, isolation_level=None)

    def lose(self) -> None:
        self._writer.execute("BEGIN IMMEDIATE")

    async def back(self) -> None:
        self._writer.close()


class Notices:
    """A Redis."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def lose(self) -> None:
        self._killing = asyncio.create_task(self._server.kill())

    async def back(self) -> None:
        await self._killing
        await self._server.start()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """One that may be killed, with a migrated and empty database `migrated`."""
    with own_postgresql() as own:
        execute(own.url, "CREATE DATABASE migrated")
        database = Database(make_url(own.url).set(database="migrated").render_as_string(hide_password=False))
        database.migrate()
        database.close()
        yield own


@pytest.fixture
def stores(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Store, dict[str, str]]:
    """What goes away, and the settings of the gateways that use it."""
    if kind == "postgresql":
        server: PostgreSQL = request.getfixturevalue("server")
        name = f"outage_{next(_count)}"
        execute(server.url, f"CREATE DATABASE {name} TEMPLATE migrated STRATEGY FILE_COPY")
        url = make_url(server.url).set(database=name).render_as_string(hide_password=False)
        return Killed(server), {"database_url": url}
    file = tmp_path / "shared.db"
    settings = {"database_url": f"sqlite:///{file}"}
    if kind == "sqlite":
        request.getfixturevalue("monkeypatch").setattr("db.session.BUSY_SECONDS", BUSY)
        return Locked(file), settings
    redis: RedisServer = request.getfixturevalue("redis")
    return Notices(redis), settings | {"redis_url": redis.url}


@pytest.mark.parametrize(("kind", "what", "asked", "point", "seconds"), CASES)
async def test_a_store_that_goes_away_in_a_change_and_comes_back_leaves_one_live_checkpoint_and_no_wrong_answer(
    tmp_path: Path, stores: tuple[Store, dict[str, str]], what: str, asked: str, point: str, seconds: float
) -> None:
    store, settings = stores
    change = CHANGES[what]
    async with AsyncExitStack() as stack:
        engines = await stack.enter_async_context(running_engines(change.engines))
        database = Database(settings["database_url"])
        stack.callback(database.close)
        seen = Walk(database, engines)
        urls = [engine.url for engine in engines]
        for home in ("one", "two"):
            patience = {"record_patience_seconds": 0.2, "lookup_seconds": 1.0, "lease_seconds": LEASE}
            house = await stack.enter_async_context(running_gateway(tmp_path / home, urls, **settings, **patience))
            await house.until_ready()
            seen.houses.append(house)
        stack.callback(let_go, engines)
        async with seen.within(2 * STEP_SECONDS, "the checkpoints before it were deployed"):
            await prepare(database, seen.houses[0].http, tmp_path, change)
        await seen.until(change.before, "before the change", holds=True)
        answering = [house for house in seen.houses if house.gateway.lease.role == "holds"]
        if asked == OTHER:
            answering = [house for house in seen.houses if house not in answering]

        lost = asyncio.Event()

        def lose() -> None:
            store.lose()
            lost.set()

        live = {f"ruminate-{state[0]}" for state in (change.before, change.after)}
        async with chatting(seen.houses, engines[0].text, live) as answers:
            arm(engines[-1], point, lose)
            asking = asyncio.create_task(deploy(answering[0].http, change.asked, change.share))
            async with seen.within(REACHED_SECONDS, f"the point {point!r} was reached"):
                await lost.wait()
            count = len(answers)
            await asyncio.sleep(seconds)
            if "f" not in change.kinds:  # else requests may wait for what an engine has to be known
                assert len(answers) > count, "nobody was answered meanwhile"
            await store.back()
            back = time.monotonic()
            async with seen.within(CONVERGED_SECONDS, "the change had an answer"):
                answer = await asking
            done = rows(database) == change.after
            assert done or answer.status_code == 503, answer.text
            state = change.after if done else change.before
            await seen.until(state, "after it was back", CONVERGED_SECONDS, holds=True)
            print(f"from its return: {time.monotonic() - back:.2f} s")
        if not done:
            async with seen.within(STEP_SECONDS, "the change was made when it was asked for again"):
                again = await deploy(answering[0].http, change.asked, change.share)
            assert again.status_code == 200, again.text
            await seen.until(change.after, "after it was asked for again")
        async with seen.within(STEP_SECONDS, "answers came"):
            await seen.answers_as_the_row_says()


@asynccontextmanager
async def chatting(
    houses: list[Running], says: Callable[[str], tuple[str, str]], live: set[str]
) -> AsyncIterator[list[str]]:
    """One client of each gateway, who asks again and again; gives the models that answered. Each answer must be of a
    checkpoint that was live, or is, and in its words."""
    answers: list[str] = []
    stop = asyncio.Event()

    async def chat(house: Running) -> None:
        while not stop.is_set():
            answer: httpx.Response = await house.chat(f"number {len(answers)}")
            assert answer.status_code == 200, answer.text
            model = answer.json()["model"]
            assert model in live
            assert answer.json()["choices"][0]["message"]["content"] == says(model)[1]
            answers.append(model)
            await asyncio.sleep(0.01)

    clients = [asyncio.create_task(chat(house)) for house in houses]
    try:
        yield answers
    finally:
        stop.set()
        await asyncio.gather(*clients)
