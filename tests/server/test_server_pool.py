"""Which engine a request goes to: the one whose cache has its beginning, unless that one is clearly busier."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from db.ids import new_id
from server.engine import Engine
from server.everybody import Everybody
from server.pace import Pace
from server.pool import Pool
from server.rollouts import Rollouts, Wish


def pool_of(*in_flight: int) -> Pool:
    pool = Pool(10, 256, 30.0)
    for number, running in enumerate(in_flight):
        engine = Engine(f"http://engine-{number}", cast(Any, None))
        engine.healthy, engine.in_place, engine.in_flight = True, "m", running
        pool.engines.append(engine)
    return pool


def picked(pool: Pool, prefix: str) -> Engine:
    engine = pool.pick("m", (), prefix)
    assert engine is not None
    return engine


def test_one_prefix_has_one_engine_and_many_are_spread_evenly() -> None:
    pool, again = pool_of(0, 0, 0), pool_of(0, 0, 0)
    again.engines.reverse()
    homes = {f"talk-{n}": picked(pool, f"talk-{n}").url for n in range(300)}
    assert all(picked(again, name).url == home for name, home in homes.items())  # at another gateway as well
    assert all(60 < count < 140 for count in Counter(homes.values()).values())
    gone = pool.engines.pop()
    moved = {name for name, home in homes.items() if picked(pool, name).url != home}
    assert moved == {name for name, home in homes.items() if home == gone.url}


@pytest.mark.parametrize(("busy", "idle", "stays"), [(2, 0, True), (3, 0, False), (27, 20, True), (28, 20, False)])
def test_an_engine_that_is_clearly_busier_is_passed_over(busy: int, idle: int, stays: bool) -> None:
    pool = pool_of(0, 0)
    home = picked(pool, "talk")
    for engine in pool.engines:
        engine.in_flight = busy if engine is home else idle
    assert (picked(pool, "talk") is home) == stays
    assert pool.pick("m") is not home  # without a prefix, the least loaded one
    assert pool.pick("m", (home,), "talk") is not home


async def turns_of(house: Running, engines: list[FakeEngine], **more: Any) -> list[int]:
    """Which engine answers each of four turns of one conversation, sent as a history."""
    history: list[dict[str, Any]] = []
    went = []
    for turn in range(4):
        history.append({"role": "user", "content": f"question {turn} {new_id()}"})
        before = [len(engine.requests) for engine in engines]
        answer = await house.chat(messages=history, **more)
        (index,) = [i for i, engine in enumerate(engines) if len(engine.requests) > before[i]]
        went.append(index)
        history.append({"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"]})
    return went


@pytest.mark.parametrize("more", [{}, {"store": False}])
async def test_a_conversation_stays_with_its_engine(tmp_path: Path, more: dict[str, Any]) -> None:
    engines = [FakeEngine(), FakeEngine(), FakeEngine()]
    for engine in engines:
        await engine.start()
    try:
        async with running_gateway(tmp_path / "home", [engine.url for engine in engines]) as house:
            await house.until_ready()
            while not all(engine.serves("ruminate-v0") for engine in house.gateway.pool.engines):
                await house.chat()
            for _ in range(4):
                assert len(set(await turns_of(house, engines, **more))) == 1
    finally:
        for engine in engines:
            await engine.stop()


async def test_who_waits_for_room_still_goes_where_its_prefix_is_and_not_where_it_failed() -> None:
    pool = pool_of(256, 256)
    home = picked(pool, "talk")
    (other,) = (engine for engine in pool.engines if engine is not home)
    later = asyncio.get_running_loop().time() + 60.0
    for avoid, prefix, goes_to in (((), "talk", home), ((home,), "talk", other), ((other,), "", home)):
        for engine in pool.engines:
            engine.in_flight = 256
        waiting = asyncio.create_task(pool.wait("m", later, avoid, prefix=prefix))
        await asyncio.sleep(0)
        assert pool.waiting == 1
        home.in_flight, other.in_flight = 255, 254 if goes_to is home and prefix else 255
        pool.notify()
        assert await waiting is goes_to
    pool.engines.remove(other)
    assert await pool.wait("m", later, [home]) is home  # where there is no other one


class Held(Engine):
    """Its samples end when the test says so."""

    def __init__(self) -> None:
        super().__init__("http://engine-0", cast(Any, None))
        self.healthy, self.in_place = True, "m"
        self.go_on = asyncio.Event()
        self.most = 0

    async def complete(self, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await self.go_on.wait()
        finally:
            self.release()
        return {"choices": [{"token_ids": [3], "logprobs": {"token_logprobs": [-1.0]}, "finish_reason": "stop"}]}


async def test_each_sample_of_the_trainer_waits_behind_people() -> None:
    pool, engine = Pool(10, 1, 60.0), Held()
    pool.join(engine)
    later = asyncio.get_running_loop().time() + 60.0
    rollouts = Rollouts(pool, Everybody(Pace(pool, 0.05), "", "me"), 1, 1, 60.0)
    samples = asyncio.create_task(rollouts.sample(Wish("m", [[1, 2]], 2, 1, 1.0)))
    while not engine.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0)
    person = asyncio.create_task(pool.wait("m", later))
    await asyncio.sleep(0)
    engine.go_on.set()
    await person
    engine.in_flight += 1
    while not (pool.waiting or samples.done()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert engine.most == 1
    engine.release()
    assert len(await samples) == 2
    assert engine.most == 1
