"""A key's limit of answers at once holds over all gateways of a Redis, and outlives neither a gateway nor the Redis."""

import asyncio
from pathlib import Path

import httpx
import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway, two_gateways
from support.processes import gateway_process
from support.redis_server import RedisServer
from support.waiting import until

from server import limiting, slots
from server.slots import Slots


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that a crowded machine keeps waiting is not lost; one that was killed refuses connections at once."""
    monkeypatch.setattr(limiting, "REDIS_SECONDS", 10.0)
    monkeypatch.setattr(slots, "ANSWER_SECONDS", 10.0)


async def answered(house: Running, seconds: float = 20.0) -> None:
    """Until a chat is let in."""

    async def let_in() -> bool:
        answer = await house.chat()
        assert answer.status_code == 200 or answer.json()["error"]["code"] == "too_many_answers", answer.text
        return answer.status_code == 200

    await until(let_in, "no slot came back", seconds=seconds)


async def test_gateways_count_a_keys_answers_together_and_alone_without_redis(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer
) -> None:
    shared = {"redis_url": redis.url, "database_url": f"sqlite:///{tmp_path / 'shared.db'}", "concurrent_answers": 1}
    async with two_gateways(tmp_path, [engine.url], **shared) as (one, two):
        for _ in range(3):  # one after the other through one gateway: never refused
            assert (await one.chat()).status_code == 200
        engine.first_delay = 120.0
        running = asyncio.create_task(one.chat(stream=True))
        ours = one.gateway.limiter._slots
        assert ours is not None
        await until(lambda: engine.running, "the engine was not asked", 1)
        assert ours._held, "the answer holds no slot"
        engine.first_delay = 0.0
        refused = await two.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_answers")
        assert refused.headers["retry-after"] == "1"
        await redis.kill()
        assert (await two.chat()).status_code == 200
        assert (await one.chat()).status_code == 429
        assert "Redis" in (await two.http.get("/health")).json()["trouble"]
        await redis.start()
        running.cancel()
        await until(lambda: ours._held, "the slot is still held", lambda held: not held)
        await answered(two)
        await answered(one)


async def test_the_slots_of_a_gateway_that_died_come_back_and_those_of_one_that_lives_stay(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_LIFE", 3000)
    monkeypatch.setattr(slots, "BEAT_SECONDS", 0.1)
    dead, alive, third = Slots(redis.url), Slots(redis.url), Slots(redis.url)
    renewing = asyncio.create_task(alive.run())
    try:
        assert await dead.take("key", 2)
        slot = await alive.take("key", 2)
        assert slot is not None
        assert await third.take("key", 2) is None
        monkeypatch.setattr(slots, "_LIFE", 120_000)  # what is renewed from here on outlives this test
        got = await until(lambda: third.take("key", 2), "the dead one's slot did not come back")
        assert await third.take("key", 2) is None, "the living one's slot was lost"
        alive.give_back("key", slot)
        third.give_back("key", got)
        assert await third.take("key", 2) is not None
    finally:
        renewing.cancel()
        await asyncio.gather(dead.stop(), alive.stop(), third.stop())


async def test_a_redis_that_has_forgotten_everything_hears_of_the_slots_again(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "BEAT_SECONDS", 0.1)
    one, two = Slots(redis.url), Slots(redis.url)
    renewing = asyncio.create_task(one.run())
    try:
        assert await one.take("key", 1)
        await redis.kill()
        with pytest.raises(OSError, match="Connect|connect"):
            await two.take("key", 1)
        await redis.start()
        await until(lambda: redis.command("ZCARD", "ruminate:answers:key"), "the slot is not told again", b":1\r\n")
        assert await two.take("key", 1) is None
    finally:
        renewing.cancel()
        await asyncio.gather(one.stop(), two.stop())


async def test_the_answers_of_a_gateway_process_that_was_killed_count_no_longer(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer
) -> None:
    where = f"sqlite:///{tmp_path / 'shared.db'}"
    shared = {"redis_url": redis.url, "database_url": where, "concurrent_answers": 1}
    told = {"RUMINATE_REDIS_URL": redis.url, "RUMINATE_DATABASE_URL": where, "CONCURRENT_ANSWERS": "1"}
    async with (
        running_gateway(tmp_path / "one", [engine.url], **shared) as one,
        gateway_process(tmp_path / "two", [engine.url], **told) as two,
    ):
        await one.until_ready()
        await two.until_ready()
        engine.delay = 60.0
        wish = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}], "stream": True}
        running = asyncio.create_task(two.http.post("/v1/chat/completions", json=wish))
        await until(lambda: engine.running, "the engine was not asked", 1)
        assert (await one.chat()).status_code == 429
        two.kill()
        engine.delay = 0.0
        assert (await one.chat()).status_code == 429  # nothing has told yet that it is gone
        await answered(one, seconds=3 * slots.ALIVE_SECONDS)
        with pytest.raises(httpx.TransportError):
            await running


async def test_a_redis_that_is_back_is_noticed_while_nobody_asks_for_anything(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer
) -> None:
    settings = {"redis_url": redis.url, "concurrent_answers": 1, "requests_per_minute": 1000}
    async with running_gateway(tmp_path / "home", [engine.url], **settings) as house:
        await house.until_ready()
        await redis.kill()
        assert (await house.chat()).status_code == 200
        assert house.gateway.limiter.trouble
        await redis.start()
        await until(lambda: house.gateway.trouble, "the trouble is told still", None)


async def test_a_redis_that_hangs_keeps_no_chat_waiting_and_each_gateway_counts_alone_meanwhile(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiting, "REDIS_SECONDS", 0.5)
    settings = {"redis_url": redis.url, "concurrent_answers": 1, "requests_per_minute": 1000}
    async with running_gateway(tmp_path / "home", [engine.url], **settings) as house:
        await house.until_ready()
        assert (await house.chat()).status_code == 200
        redis.hang()
        try:
            async with asyncio.timeout(4.0):  # the client of Redis would wait for five seconds, and then once more
                assert (await house.chat()).status_code == 200
            assert (await house.chat()).status_code == 200
            assert "Redis" in (await house.http.get("/health")).json()["trouble"]
            engine.first_delay = 120.0
            running = asyncio.create_task(house.chat(stream=True))
            await until(lambda: engine.running, "the engine was not asked", 1)
            engine.first_delay = 0.0
            assert (await house.chat()).status_code == 429
            running.cancel()
            await until(lambda: engine.running, "the engine goes on with what nobody waits for", 0)
        finally:
            redis.go_on()
        await answered(house)
        async with asyncio.timeout(20):
            while (await house.http.get("/health")).json()["trouble"] is not None:
                await house.chat()
                await asyncio.sleep(0.1)
