"""A key's limit of answers at once holds over all gateways of a Redis, and outlives neither a gateway nor the Redis."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running, two_gateways
from support.redis_server import RedisServer

from server import limiting, slots
from server.slots import Slots


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that a crowded machine keeps waiting is not lost; one that was killed refuses connections at once."""
    monkeypatch.setattr(limiting, "REDIS_SECONDS", 10.0)
    monkeypatch.setattr(slots, "ANSWER_SECONDS", 10.0)


async def answered(house: Running, seconds: float = 20.0) -> None:
    """Until a chat is let in."""
    deadline = time.monotonic() + seconds
    while (answer := await house.chat()).status_code != 200:
        assert answer.json()["error"]["code"] == "too_many_answers"
        assert time.monotonic() < deadline, "no slot came back"
        await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


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
        await until(lambda: bool(ours._held))
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
        await until(lambda: not ours._held)
        await answered(two)
        await answered(one)


async def test_the_slots_of_a_gateway_that_died_come_back_and_those_of_one_that_lives_stay(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_LIFE", 1500)
    monkeypatch.setattr(slots, "BEAT_SECONDS", 0.2)
    dead, alive, third = Slots(redis.url), Slots(redis.url), Slots(redis.url)
    renewing = asyncio.create_task(alive.run())
    try:
        assert await dead.take("key", 2)
        slot = await alive.take("key", 2)
        assert slot is not None
        assert await third.take("key", 2) is None
        await asyncio.sleep(2.0)
        got = await third.take("key", 2)
        assert got is not None, "the dead one's slot did not come back"
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
        async with asyncio.timeout(20):
            while await redis.command("ZCARD", "ruminate:answers:key") != b":1\r\n":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await two.take("key", 1) is None
    finally:
        renewing.cancel()
        await asyncio.gather(one.stop(), two.stop())
