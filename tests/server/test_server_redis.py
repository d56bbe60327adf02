"""Gateways that share a real Redis: they count together, hear of swaps at once, and lose nothing when it is gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.adapters import add_candidates, add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import Running, two_gateways
from support.redis_server import RedisServer
from support.waiting import until

from server import limiting, notices


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that a crowded machine keeps waiting is not lost; one that was killed refuses connections at once."""
    monkeypatch.setattr(limiting, "REDIS_SECONDS", 10.0)
    monkeypatch.setattr(notices, "ANSWER_SECONDS", 10.0)


@asynccontextmanager
async def house_of_two(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer, **settings: Any
) -> AsyncIterator[tuple[Running, Running]]:
    shared = {"redis_url": redis.url, "database_url": f"sqlite:///{tmp_path / 'shared.db'}"} | settings
    async with two_gateways(tmp_path, [engine.url], **shared) as both:
        yield both


async def trouble(house: Running) -> str | None:
    health = await house.http.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    return health.json()["trouble"]


async def test_gateways_count_a_keys_requests_and_tokens_together(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer
) -> None:
    caps = {"requests_per_minute": 3, "tokens_per_minute": 1000}
    async with house_of_two(tmp_path, engine, redis, **caps) as (one, two):
        assert (await one.chat()).headers["x-ratelimit-remaining-requests"] == "2"
        second = await two.chat()
        assert second.headers["x-ratelimit-remaining-requests"] == "1"
        assert second.headers["x-ratelimit-remaining-tokens"] == "984"
        assert (await one.chat()).status_code == 200
        refused = await two.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_a_redis_that_is_killed_refuses_nobody_and_counts_again_when_it_is_back(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer
) -> None:
    async with house_of_two(tmp_path, engine, redis, requests_per_minute=2) as (one, two):
        assert (await one.chat()).status_code == (await two.chat()).status_code == 200
        assert (await one.chat()).status_code == 429
        engine.delay = 0.05
        running = [asyncio.create_task(house.chat(stream=True)) for house in (one, two)]
        await redis.kill()
        engine.delay = 0.0
        for answer in await asyncio.gather(*running):
            assert answer.status_code in (200, 429)  # 429: it was counted before the kill
        for house in (one, two):
            for _ in range(4):
                assert (await house.chat()).status_code == 200
            assert "Redis" in str(await trouble(house))
        await redis.start()
        await until(
            lambda: [house.gateway.notices.trouble for house in (one, two)], "Redis was not found again", [None, None]
        )
        await until(
            lambda: one.gateway.limiter._down_until - asyncio.get_running_loop().time(),
            "Redis counts as down",
            lambda left: left < 0,
        )
        assert (await one.chat()).headers["x-ratelimit-remaining-requests"] == "1"
        assert await trouble(one) is None


async def test_a_swap_is_heard_of_at_once_and_without_redis_at_the_next_look_at_the_rows(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer
) -> None:
    async with house_of_two(tmp_path, engine, redis, watch_seconds=6.0) as (one, two):
        names = add_candidates(one.database, tmp_path, 4)

        async def heard_after(name: str) -> float:
            """Seconds from the deployment at one gateway to the other's knowing it."""
            done = await one.http.post("/api/deployments", json={"checkpoint": name})
            assert done.status_code == 200, done.text
            began = asyncio.get_running_loop().time()
            await until(lambda: two.live, "the other gateway did not hear of it", name)
            assert (await two.chat()).json()["model"] == f"ruminate-{name}"
            return asyncio.get_running_loop().time() - began

        await until(
            lambda: [house.gateway.notices.connected for house in (one, two)], "no notices are heard", [True, True]
        )
        assert sorted([await heard_after(name) for name in names[:3]])[1] < 3.0  # the median: one may meet a tick
        await redis.kill()
        assert await heard_after(names[3]) < 15.0


async def test_a_deployment_asked_of_the_gateway_that_follows_waits_for_no_tick(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer
) -> None:
    async with house_of_two(tmp_path, engine, redis, watch_seconds=30.0, lease_seconds=30.0) as (one, two):
        await until(
            lambda: [house.gateway.notices.connected for house in (one, two)], "no notices are heard", [True, True]
        )
        assert two.gateway.lease.role == "follows"
        name = add_checkpoint(one.database, tmp_path)
        async with asyncio.timeout(25):
            done = await two.http.post("/api/deployments", json={"checkpoint": name})
            assert done.json() == {"live": "v1", "previous": "v0"}
            await until(lambda: one.live, "the holder did not hear of it", "v1")
        assert (await one.chat()).json()["model"] == "ruminate-v1"
