"""How long an answer is waited for: as long as its engine is well, however late it begins."""

import asyncio
from pathlib import Path

import pytest
from support.fake_engine import FakeEngine
from support.gateways import running_gateway
from support.swaps import running_engine, two_engines
from support.waiting import until

from server import engine as engines


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_begins_late_is_waited_for_and_asked_for_once(
    tmp_path: Path, engine: FakeEngine, stream: bool
) -> None:
    engine.first_delay = 1.0
    async with running_gateway(tmp_path / "home", [engine.url], engine_silence_seconds=0.2) as house:
        await house.until_ready()
        answer = await house.chat(stream=stream)
        assert answer.status_code == 200
        assert engine.text("ruminate-v0")[1].split()[-1] in answer.text
        assert len(engine.requests) == 1
        assert house.gateway.pool.engines[0].healthy


async def test_an_engine_that_falls_silent_in_a_stream_ends_it(tmp_path: Path, engine: FakeEngine) -> None:
    engine.delay = 5.0
    async with running_gateway(tmp_path / "home", [engine.url], engine_silence_seconds=0.2) as house:
        await house.until_ready()
        answer = await house.chat(stream=True)
        assert "went away" in answer.text
        assert len(engine.requests) == 1


async def test_what_an_engine_that_is_down_has_not_begun_is_asked_of_another(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "DOWN_SECONDS", 0.2)
    async with two_engines(tmp_path / "home", engine) as (house, other):
        engine.first_delay = other.first_delay = 60.0
        waiting = asyncio.create_task(house.chat())
        await until(lambda: engine.running + other.running, "no engine was asked", 1)
        asked, spare = (engine, other) if engine.running else (other, engine)
        spare.first_delay = 0.0
        asked.unhealthy = True  # but its connections stay open, as of one that hangs
        assert (await waiting).status_code == 200
        assert (len(asked.requests), len(spare.requests)) == (1, 1)
        await until(lambda: asked.cancelled, "the engine that hangs was not told to stop", 1)


async def test_an_engine_that_is_back_soon_still_has_what_it_was_asked(tmp_path: Path, engine: FakeEngine) -> None:
    engine.first_delay = 2.0
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        (kept,) = house.gateway.pool.engines
        waiting = asyncio.create_task(house.chat())
        await until(lambda: engine.running, "the engine was not asked", 1)
        engine.unhealthy = True
        await until(lambda: kept.healthy, "the engine does not count as down", False)
        engine.unhealthy = False
        assert (await waiting).status_code == 200
        assert len(engine.requests) == 1


async def test_an_engine_may_be_back_in_the_moment_in_which_an_answer_is_given_up(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.first_delay = 60.0
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        (kept,) = house.gateway.pool.engines
        waiting = asyncio.create_task(house.chat())
        await until(lambda: engine.running, "the engine was not asked", 1)
        engine.first_delay = 0.0
        (limit,) = kept._unbegun
        came_back: list[bool] = []

        def back() -> None:
            came_back.append(limit in kept._unbegun and limit.expired())  # but its wait has not ended yet
            kept.mark_up()
            came_back.append(kept.healthy)

        limit.reschedule(0.0)
        asyncio.get_running_loop().call_soon(back)
        assert (await waiting).status_code == 200
        assert len(engine.requests) == 2
    assert came_back == [True, True]


async def test_what_a_removed_engine_has_not_begun_goes_on_to_its_end(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "DOWN_SECONDS", 0.1)
    async with two_engines(tmp_path / "home", engine) as (house, other):
        engine.first_delay = other.first_delay = 2.0
        waiting = asyncio.create_task(house.chat())
        await until(lambda: engine.running + other.running, "no engine was asked", 1)
        asked = engine if engine.running else other
        gone = await house.http.delete("/api/admin/engines", params={"url": asked.url})
        assert gone.status_code < 300, gone.text
        assert (await waiting).status_code == 200
        assert len(engine.requests) + len(other.requests) == 1


async def test_an_engine_gets_so_many_requests_and_the_rest_waits_in_order_or_is_told_to_come_back(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.first_delay = 60.0
    settings = {"engine_requests": 2, "max_waiting": 3, "room_wait_seconds": 60.0}
    async with running_gateway(tmp_path / "home", [engine.url], **settings) as house:
        await house.until_ready()
        pool, waiting = house.gateway.pool, []
        for number in range(5):
            waiting.append(asyncio.create_task(house.chat(f"number {number}")))
            await until(lambda: engine.running + pool.waiting, "the request did not arrive", number + 1)
        assert (engine.running, pool.waiting) == (2, 3)
        refused = await house.chat("one too many")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) > 0
        sampled = {"model": "ruminate-v0", "prompts": [[1, 2]], "max_tokens": 1}
        samples = asyncio.create_task(house.service.post("/internal/sample", json=sampled))
        await until(lambda: pool.waiting, "the sample does not wait in the line", 4)
        engine.first_delay = 0.0
        waiting.pop(3).cancel()  # its client leaves the line
        await until(lambda: pool.waiting, "who left is still in the line", 3)
        waiting.pop(0).cancel()  # and one whose request is with the engine makes room
        for task in waiting[1:]:
            assert (await task).status_code == 200
        assert (await samples).status_code == 200
        order = [body["messages"][0]["content"] for path, body in engine.requests if path.endswith("/chat/completions")]
        assert order == ["number 0", "number 1", "number 2", "number 4"]
        assert engine.requests[-1][0] == "/v1/completions"  # the trainer's, though it waited longer than nobody
        assert engine.most_running == 2
        waiting[0].cancel()
        await until(lambda: (pool.engines[0].in_flight, pool.waiting), "a request is left over", (0, 0))


async def test_room_that_takes_too_long_is_a_503_and_an_engine_that_joins_brings_it(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.first_delay = 60.0
    settings = {"engine_requests": 1, "room_wait_seconds": 1.0}
    async with running_engine() as other, running_gateway(tmp_path / "home", [engine.url], **settings) as house:
        await house.until_ready()
        first = asyncio.create_task(house.chat())
        await until(lambda: engine.running, "the engine was not asked", 1)
        late = await house.chat()
        assert (late.status_code, late.json()["error"]["code"]) == (503, "overloaded")
        house.gateway.pool._line._seconds = 60.0
        waiting = asyncio.create_task(house.chat())
        await until(lambda: house.gateway.pool.waiting, "the request does not wait in the line", 1)
        added = await house.http.post("/api/admin/engines", json={"url": other.url})
        assert added.status_code < 300, added.text
        assert (await waiting).status_code == 200
        assert len(other.requests) == 1
        first.cancel()
