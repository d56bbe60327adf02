"""The trainer and people on one engine: how people's pace is known, and that the cap on samples follows it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from support.fake_engine import FakeEngine
from support.gateways import running_gateway
from support.waiting import until

from server.engine import Engine
from server.everybody import Everybody
from server.pace import ABSENT_SECONDS, FEWEST, LEARN_SECONDS, WINDOW_SECONDS, Pace
from server.pool import Pool
from server.rollouts import JOIN, Rollouts, Wish


class People:
    """Streams whose pieces come when a test says so, and the pace that they have."""

    def __init__(self, slower: float = 0.05) -> None:
        self.now = 1000.0
        self.pool = Pool(10, 256, 30.0)
        self.pace = Pace(self.pool, slower, lambda: self.now)

    def answer(self, gap: float, pieces: int = 100) -> None:
        """One whole answer."""
        came: list[float] = []
        with self.pace.following(came):
            self.write(came, gap, pieces)

    def write(self, came: list[float], gap: float, pieces: int) -> None:
        for _ in range(pieces):
            self.now += gap
            came.append(self.now)


def test_what_is_usual_is_learnt_while_nobody_trains() -> None:
    people = People()
    assert people.pace.usual is None
    for _ in range(5):
        people.answer(0.01)
        people.now += LEARN_SECONDS
    assert people.pace.usual == pytest.approx(0.01)
    people.pace.trainer_asks()
    for _ in range(50):
        people.pace.trainer_asks()
        people.answer(0.2)
    assert people.pace.usual == pytest.approx(0.01)
    people.now += ABSENT_SECONDS + 1
    people.answer(0.2)  # a trainer that is starting makes itself felt before it asks for anything
    assert people.pace.usual == pytest.approx(0.01 + 0.02 * 0.19)
    people.now += LEARN_SECONDS
    people.answer(0.2, FEWEST - 1)  # too short to say anything
    assert people.pace.usual == pytest.approx(0.01 + 0.02 * 0.19)


def test_people_are_slow_when_more_than_a_twentieth_of_the_newest_gaps_is_too_long() -> None:
    people = People()
    people.answer(0.1)  # a slow machine: usual here
    people.pace.trainer_asks()
    assert people.pace.slow is None
    came: list[float] = []
    with people.pace.following(came):
        people.write(came, 0.14, FEWEST)
        assert people.pace.slow is None, "one gap too few"
        people.write(came, 0.14, 10)
        assert people.pace.slow is False
        people.write(came, 0.3, 3)
        people.now += 0.2
        assert people.pace.slow is True
        people.now += WINDOW_SECONDS + 0.5
        people.write(came, 0.02, 60)
        assert people.pace.slow is False, "by what came lately"
        people.pace.forget()
        assert people.pace.slow is None
        people.pace.trainer_asks()
        people.write(came, 0.3, 60)  # and once more, in an answer that ends before anybody looked
    assert people.pace.slow is True


def test_gaps_from_before_a_trainer_came_are_not_held_against_it() -> None:
    people = People()
    came: list[float] = []
    with people.pace.following(came):
        people.write(came, 5.0, 60)
        people.pace.trainer_asks()
        people.write(came, 0.01, 60)
        assert people.pace.slow is False


def test_people_need_the_machine_when_somebody_waits_or_answers_come_slowly() -> None:
    people = People()
    people.pace.trainer_asks()
    assert not people.pace.pressed
    people.pool.chats = 1
    assert people.pace.pressed, "nothing of its answer has come"
    came: list[float] = []
    with people.pace.following(came):
        people.write(came, 0.01, 60)
        assert not people.pace.pressed
        people.write(came, 0.2, 60)
        assert people.pace.pressed
        people.pool.chats = 0
        assert not people.pace.pressed


class Told:
    """People whose pace is what a test says."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.slow: bool | None = None

    @property
    def chats(self) -> int:
        return self._pool.chats

    async def look(self) -> None: ...

    def trainer_asks(self) -> None: ...

    def forget(self) -> None: ...


class Quick(Engine):
    """Answers each sample after so many `seconds`."""

    def __init__(self) -> None:
        super().__init__("http://quick", cast(Any, None))
        self.healthy, self.in_place = True, "m"
        self.seconds = 0.001

    async def complete(self, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        await asyncio.sleep(self.seconds)
        return {"choices": [{"token_ids": [3], "logprobs": {"token_logprobs": [-1.0]}, "finish_reason": "stop"}]}


async def test_the_cap_follows_how_people_fare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.rollouts.STEER_SECONDS", 0.0)
    monkeypatch.setattr("server.rollouts.LOOK_SECONDS", 0.001)
    monkeypatch.setattr("server.rollouts.JOIN", 10_000)
    pool = Pool(10, 256, 30.0)
    pace = Told(pool)
    pool.join(Quick())
    rollouts = Rollouts(pool, cast(Everybody, pace), 64, 8, 60.0)

    async def sample(slow: bool | None, prompts: int) -> int:
        pace.slow = slow
        await rollouts.sample(Wish("m", [[1]] * prompts, 1, 1, 1.0))
        return rollouts.limit

    assert await sample(True, 200) == 64, "nobody chats"
    pool.chats = 4
    assert rollouts.limit == 8
    assert await sample(None, 200) == 8, "nothing is known of how people fare"
    assert await sample(False, 4) == 8, "so few say nothing of more at once"
    assert 8 < await sample(False, 40) < 64
    assert await sample(False, 2000) == 64
    assert 8 < await sample(True, 80) < 64
    assert await sample(True, 2000) == 8
    pool.chats = 0
    assert rollouts.limit == 64


@pytest.mark.parametrize(("chats", "begun"), [(0, 40), (1, JOIN)])
async def test_while_people_chat_few_samples_begin_at_once(
    monkeypatch: pytest.MonkeyPatch, chats: int, begun: int
) -> None:
    monkeypatch.setattr("server.rollouts.LOOK_SECONDS", 0.5)
    pool, engine = Pool(10, 256, 30.0), Quick()
    pool.join(engine)
    pool.chats, engine.seconds = chats, 0.2
    rollouts = Rollouts(pool, cast(Everybody, Told(pool)), 40, 40, 60.0)
    samples = asyncio.create_task(rollouts.sample(Wish("m", [[1]] * 40, 1, 1, 1.0)))
    while not rollouts.running:  # noqa: ASYNC110  it signals nothing
        await asyncio.sleep(0)
    assert rollouts.running == begun
    assert len(await samples) == 40


async def test_what_the_gateway_counts_is_what_people_are_sent(tmp_path: Path) -> None:
    engine = FakeEngine(words=400)
    await engine.start()
    caps = {"rollout_sequences_while_chatting": 2, "rollout_slower_ms": 1.0}
    try:
        async with running_gateway(tmp_path / "home", [engine.url], **caps) as house:
            await house.until_ready()

            async def people() -> dict[str, Any]:
                answer = await house.service.get("/internal/people")
                return dict(answer.json())

            assert (await house.http.get("/internal/people")).status_code in (401, 403)
            assert await people() == {"chats": 0, "pressed": False}
            engine.first_delay, engine.delay = 0.5, 0.02
            chat = asyncio.create_task(house.chat(stream=True))
            await until(people, "nobody counts", lambda told: told["chats"])
            assert await people() == {"chats": 1, "pressed": True}, "it has not begun"
            await until(lambda: house.gateway.pace.slow, "no stream is slow", lambda slow: slow is not None)
            assert await people() == {"chats": 1, "pressed": True}, "each gap is longer than a millisecond"
            engine.delay = 0.004  # which is longer as well
            await chat
            await until(people, "somebody still counts", lambda told: not told["chats"])
            assert await people() == {"chats": 0, "pressed": False}, "what came slowly has ended"
    finally:
        await engine.stop()
