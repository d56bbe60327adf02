"""The trainer at one gateway yields to the people of all, over a real Redis, for as long as there is one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway, two_gateways
from support.processes import gateway_process
from support.redis_server import RedisServer
from support.waiting import until

from server import everybody
from server.everybody import ALIVE_SECONDS, NAMES, Everybody, Word
from server.pace import FEWEST, Pace
from server.pool import Pool

CHAT = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}], "stream": True}
IDLE, LEAST = 64, 4
CAPS = {"rollout_sequences": IDLE, "rollout_sequences_while_chatting": LEAST}


class Gateway:
    """One gateway's people and its view of all, by a clock that a test sets."""

    def __init__(self, name: str, url: str = "") -> None:
        self.now = 1000.0
        self.pool = Pool(10, 256, 30.0)
        pace = Pace(self.pool, 0.05, lambda: self.now)
        self.following = pace.following
        self.everybody = Everybody(pace, url, name, lambda: self.now)

    def write(self, came: list[float], gap: float) -> None:
        for _ in range(FEWEST + 1):
            self.now += gap
            came.append(self.now)


@pytest.fixture(autouse=True)
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that a crowded machine keeps waiting is not lost; one that was killed refuses connections at once."""
    monkeypatch.setattr(everybody, "ANSWER_SECONDS", 20.0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crowded machine is late to say anew still counts."""
    monkeypatch.setattr(everybody, "ALIVE_SECONDS", 60.0)


async def people(house: Running) -> dict[str, Any]:
    """What its trainer is told; asking makes it one that is at work."""
    return dict((await house.service.get("/internal/people")).json())


async def sampled(house: Running, samples: int) -> int:
    """The status of a trainer's request."""
    wish = {"model": "ruminate-v0", "prompts": [[1, 2, 3]], "n": samples, "max_tokens": 4}
    return (await house.service.post("/internal/sample", json=wish)).status_code


@asynccontextmanager
async def chatting(http: httpx.AsyncClient) -> AsyncIterator[None]:
    """Somebody reads an answer that is being written meanwhile."""
    async with http.stream("POST", "/v1/chat/completions", json=CHAT) as answer:
        assert answer.status_code == 200
        pieces = answer.aiter_raw()  # closes the answer once it is let go
        await anext(pieces)
        yield


@asynccontextmanager
async def house_of_two(tmp_path: Path, engine: FakeEngine, redis: str) -> AsyncIterator[tuple[Running, Running]]:
    shared = {"redis_url": redis, "database_url": f"sqlite:///{tmp_path / 'shared.db'}"} | CAPS
    async with two_gateways(tmp_path, [engine.url], **shared) as both:
        yield both


def test_what_was_heard_counts_for_seconds() -> None:
    one = Gateway("one")
    one.pool.chats = 1
    one.everybody.hear([Word(3, True, None, ""), Word(2, False, None, "")])
    assert (one.everybody.chats, one.everybody.pressed) == (6, True)
    one.now += ALIVE_SECONDS - 0.1
    assert one.everybody.chats == 6
    one.now += 0.2
    one.pool.chats = 0
    assert (one.everybody.chats, one.everybody.pressed, one.everybody.slow) == (0, False, None)


async def test_a_gateway_that_says_no_more_runs_out_and_is_forgotten(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Gateway("one", redis.url), Gateway("two", redis.url)
    two.pool.chats = 3
    await two.everybody.speak()
    await one.everybody.speak()
    assert one.everybody.chats == 3
    assert await redis.command("SCARD", NAMES) == b":2\r\n"
    monkeypatch.setattr(everybody, "ALIVE_SECONDS", 0.1)
    await two.everybody.speak()
    await until(lambda: redis.command("EXISTS", "ruminate:people:two"), "its people do not run out", b":0\r\n")
    await one.everybody.speak()
    assert one.everybody.chats == 0
    assert await redis.command("SCARD", NAMES) == b":1\r\n"
    await redis.command("SADD", NAMES, "three")
    await redis.command("SET", "ruminate:people:three", "[1]")
    await one.everybody.speak()
    assert one.everybody.chats == 0, "what another version says is no word"
    await one.everybody.stop()
    await two.everybody.stop()


@pytest.mark.usefixtures("patient")
async def test_each_change_of_the_cap_is_judged_by_what_comes_after_it_at_the_other_gateway_too(
    redis: RedisServer,
) -> None:
    one, two = Gateway("one", redis.url), Gateway("two", redis.url)

    async def heard() -> bool | None:
        """`slow` at the trainer's gateway, after a word of the other."""
        await one.everybody.speak()
        await two.everybody.speak()
        await one.everybody.speak()
        return one.everybody.slow

    one.everybody.trainer_asks()
    two.pool.chats = 1
    came = [two.now]
    with two.following(came):
        await heard()
        assert await heard() is None, "too few gaps"
        two.write(came, 0.1)
        assert await heard() is True
        assert one.everybody.pressed
        one.everybody.forget()
        assert one.everybody.slow is None, "told before the change"
        assert await heard() is None, "the other had not heard of it when it looked"
        assert await heard() is None
        two.now += 1.0
        came.append(two.now)
        two.now += 1.0
        two.write(came, 0.01)
        assert await heard() is False
        assert not one.everybody.pressed
    await one.everybody.stop()
    assert await redis.command("EXISTS", "ruminate:people:one") == b":0\r\n"
    await two.everybody.stop()


@pytest.mark.usefixtures("patient")
async def test_samples_at_one_gateway_yield_to_the_people_at_another(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer
) -> None:
    engine.words = 1000
    async with house_of_two(tmp_path, engine, redis.url) as (one, two):
        rollouts = one.gateway.rollouts
        assert await people(one) == {"chats": 0, "pressed": False}
        assert rollouts.limit == IDLE
        engine.delay = 0.05
        async with chatting(two.http):
            await until(lambda: rollouts.limit, "the samples do not yield", LEAST)
            assert (await people(one))["chats"] == 1
            assert rollouts.reason.startswith("1 answers are being written for people")
            engine.most_running, engine.first_delay = 0, 0.2
            assert await sampled(one, 3 * LEAST) == 200
            assert engine.most_running <= LEAST + 1  # the chat
        await until(lambda: rollouts.limit, "the samples still yield", IDLE)
        assert await people(one) == {"chats": 0, "pressed": False}
        waits = asyncio.create_task(two.chat(stream=True))
        engine.first_delay, engine.words = 1.5, 6
        await until(lambda: one.gateway.everybody.pressed, "the one who waits is not seen")
        assert await people(one) == {"chats": 1, "pressed": True}
        assert (await waits).status_code == 200


@pytest.mark.usefixtures("patient")
async def test_a_trainer_that_begins_hears_of_the_people_before_its_first_sample(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer
) -> None:
    engine.words, engine.delay = 1000, 0.05
    async with house_of_two(tmp_path, engine, redis.url) as (one, two), chatting(two.http):
        name = two.gateway.everybody._name
        await until(lambda: redis.command("EXISTS", f"ruminate:people:{name}"), "its people are not told", b":1\r\n")
        assert one.gateway.everybody.chats == 0, "it does not listen without a trainer"
        engine.most_running, engine.first_delay = 0, 0.2
        assert await sampled(one, 3 * LEAST) == 200
        assert engine.most_running <= LEAST + 1


async def test_a_gateway_that_was_killed_stops_counting(tmp_path: Path, engine: FakeEngine, redis: RedisServer) -> None:
    engine.words, engine.delay = 1000, 0.05
    shared = {"redis_url": redis.url, "database_url": f"sqlite:///{tmp_path / 'shared.db'}"} | CAPS
    environment = {"RUMINATE_REDIS_URL": redis.url, "RUMINATE_DATABASE_URL": str(shared["database_url"])}
    async with running_gateway(tmp_path / "one", [engine.url], **shared) as one:
        await one.until_ready()
        async with gateway_process(tmp_path / "two", [engine.url], **environment) as two:
            await two.until_ready()
            async with chatting(two.http):
                await people(one)
                await until(lambda: one.gateway.rollouts.limit, "the samples do not yield", LEAST)
                two.kill()
            await until(lambda: one.gateway.rollouts.limit, "the samples still yield", IDLE)


async def test_without_redis_each_gateway_counts_its_own_people_and_nobody_waits(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine.words, engine.delay = 1000, 0.05
    async with house_of_two(tmp_path, engine, redis.url) as (one, two):
        rollouts = one.gateway.rollouts
        await people(one)
        async with chatting(two.http):
            await until(lambda: rollouts.limit, "the samples do not yield", LEAST)
            await redis.kill()
            await until(lambda: rollouts.limit, "the samples still yield", IDLE)
            assert (await people(one))["chats"] == 0
            assert (await people(two))["chats"] == 1
            async with chatting(one.http), chatting(two.http):
                assert await sampled(one, 2) == 200
                assert (await people(one))["chats"] == 1
            said = [record for record in caplog.records if record.name == "server.everybody"]
            assert len(said) == 2, "each gateway says so once"
            await redis.start()
            await until(lambda: rollouts.limit, "the samples do not yield", LEAST)
