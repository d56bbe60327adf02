"""A request under one Idempotency-Key that is sent again through another gateway while the first one answers it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from support.fake_engine import FakeEngine
from support.gateways import Running, two_gateways
from support.waiting import until

from db.errors import DatabaseUnavailable
from db.queries import leases
from db.schema import Generation, Lease, User
from server import holding
from server.auth import LOCAL
from server.repeats import HEADER, Key, key_of

pytestmark = pytest.mark.usefixtures("kind")  # on SQLite and on PostgreSQL

HELLO = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"

Two = tuple[Running, Running]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held is looked at often."""
    monkeypatch.setattr(holding, "BEAT_SECONDS", 0.05)


@pytest.fixture
async def two(tmp_path: Path, engine: FakeEngine, database_url: str) -> AsyncIterator[Two]:
    async with two_gateways(tmp_path, [engine.url], database_url=database_url) as both:
        yield both


async def ask(house: Running, text: str = "hello", **body: Any) -> httpx.Response:
    wish = HELLO | {"messages": [{"role": "user", "content": text}]} | body
    return await house.http.post(CHAT, json=wish, headers={"Idempotency-Key": "k1"})


def key_here(house: Running) -> Key:
    """Of what `ask` asks."""
    with house.database.reading() as session:
        local = session.scalars(select(User.id).where(User.name == LOCAL)).one()
    key = key_of({HEADER: b"k1"}, local, json.dumps(HELLO).encode(), CHAT)
    assert key is not None
    return key


async def first_try(house: Running, engine: FakeEngine, **body: Any) -> "asyncio.Task[httpx.Response]":
    """Ask, and return once the engine was asked."""
    before = asked(engine)
    task = asyncio.create_task(ask(house, **body))
    while asked(engine) == before:
        assert not task.done(), (await task).text
        await asyncio.sleep(0.01)
    return task


def asked(engine: FakeEngine) -> int:
    return sum(path == CHAT for path, _ in engine.requests)


def rows(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation)))


def held(house: Running) -> list[Lease]:
    with house.database.reading() as session:
        return list(session.scalars(select(Lease).where(Lease.name.startswith(holding.PREFIX))))


def conflict(answer: httpx.Response, code: str) -> None:
    assert answer.status_code == 409, answer.text
    assert answer.json()["error"]["code"] == f"idempotency_{code}"


async def test_a_repeat_at_another_gateway_waits_for_the_answer_of_the_first(two: Two, engine: FakeEngine) -> None:
    one, other = two
    engine.first_delay = 0.5
    first = await first_try(one, engine)
    answers = [*(await asyncio.gather(ask(other), ask(other), ask(one))), await first]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-ruminate-generation"] for answer in answers}) == 1
    assert [answer.json()["choices"] for answer in answers] == [answers[-1].json()["choices"]] * 4
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == ["true"] * 3 + [None]
    assert asked(engine) == 1
    (row,) = rows(one)
    assert row.id == answers[0].headers["x-ruminate-generation"]
    await until(lambda: held(one), "the key is still held", [])


async def test_tries_that_come_at_once_are_one_turn(two: Two, engine: FakeEngine) -> None:
    engine.first_delay = 0.3
    answers = await asyncio.gather(*(ask(house) for house in two * 3))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-ruminate-generation"] for answer in answers}) == 1
    assert (asked(engine), len(rows(two[0]))) == (1, 1)


@pytest.mark.parametrize("detached", [False, True])
async def test_a_stream_that_runs_at_another_gateway_is_not_joined(
    two: Two, engine: FakeEngine, detached: bool
) -> None:
    one, other = two
    engine.first_delay = 1.5
    wish: dict[str, Any] = {"stream": True, "ruminate": {"detached": detached}}
    first = await first_try(one, engine, **wish)
    again = await ask(other, **wish)
    conflict(again, "in_progress")
    assert again.headers["retry-after"]
    conflict(await ask(other, "something else", **wish), "key_reused")
    assert (await first).status_code == 200
    conflict(await ask(other, **wish), "not_replayable")
    assert (asked(engine), len(rows(one))) == (1, 1)


async def test_a_first_try_that_was_refused_leaves_the_key_free_at_the_other_gateway(
    two: Two, engine: FakeEngine
) -> None:
    one, other = two
    assert (await ask(one, max_tokens=100_000)).status_code == 400
    assert not held(one)
    again = await asyncio.gather(*(ask(house, max_tokens=100_000) for house in two))
    assert [answer.status_code for answer in again] == [400, 400]
    assert not rows(one)
    assert (await ask(other)).status_code == 200
    assert [row.ending for row in rows(one)] == ["complete"]


@pytest.mark.parametrize(("machine", "seconds"), [("this", 600.0), ("another", 0.5)])
async def test_a_gateway_that_ended_while_it_answered_holds_no_key_for_long(
    two: Two, engine: FakeEngine, tmp_path: Path, machine: str, seconds: float
) -> None:
    """On its own machine the key is free at once, elsewhere when its time has passed."""
    _, other = two
    key = key_here(other)
    gone = f"{socket.gethostname() if machine == 'this' else 'elsewhere'}:{tmp_path / 'gone'}"
    with other.database.transaction() as session:
        leases.take(session, key.request_id, f"{gone} {key.body}", seconds)
    answer = await ask(other)
    assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (200, None)
    assert (asked(engine), len(rows(other))) == (1, 1)


async def test_a_key_is_held_for_as_long_as_its_request_is_answered_and_forgotten_later(quick: None, two: Two) -> None:
    one, _ = two
    with one.database.transaction() as session:
        assert one.gateway.holding.take(session, "idem-mine", "this") is None
        leases.take(session, "idem-nobodys", "elsewhere:/x that", -1.0)
    (before,) = [lease.until for lease in held(one) if lease.name == "idem-mine"]
    one.gateway.holding.keep("idem-mine", "this")
    await until(
        lambda: [lease.name for lease in held(one) if lease.until > before],
        "the key is not held any longer",
        ["idem-mine"],
    )
    await until(lambda: len(held(one)), "nobody's key was not forgotten", 1)
    await one.gateway.holding.let_go("idem-mine", late=False)
    assert not held(one)


async def test_a_database_that_does_not_answer_refuses_no_key(
    two: Two, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = two

    async def down(*_: Any) -> None:
        raise DatabaseUnavailable("sqlite:///x", "it is away", "Wait.")

    monkeypatch.setattr(one.gateway._keys, "ask", down)
    assert (await ask(one)).status_code == 200
    assert asked(engine) == 1


async def test_an_answer_that_its_gateway_left_unfinished_is_told_as_broken_off(two: Two, engine: FakeEngine) -> None:
    one, other = two
    assert (await ask(one)).status_code == 200
    with one.database.transaction() as session:
        session.execute(update(Generation).values(ended_at=None, response=None, ending=None))
    conflict(await ask(other), "broken_off")
    assert asked(engine) == 1


async def test_a_turn_that_waits_in_the_spool_of_one_is_not_made_twice_at_the_other(
    quick: None, two: Two, engine: FakeEngine
) -> None:
    one, other = two
    one.gateway.recorder._down_until = float("inf")  # as if the database took nothing from it
    assert (await ask(one)).status_code == 200
    again = asyncio.create_task(ask(other))
    await asyncio.sleep(0.2)
    assert not again.done()
    one.gateway.recorder._down_until = 0.0
    assert (await again).headers["idempotent-replayed"] == "true"
    assert (asked(engine), len(rows(one))) == (1, 1)
    await until(lambda: held(one), "the key is still held", [])
