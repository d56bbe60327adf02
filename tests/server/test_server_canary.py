"""A canary: sticky by conversation, judged by what came of its answers, promoted or rolled back with its reason."""

import asyncio
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from support.adapters import add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.records import a_turn, its_end, said
from support.swaps import two_engines
from support.trials import newest, record
from support.waiting import until

from db.queries import arms, feedback, rounds, turns, users
from server.outcomes import firsts, regenerated


async def publish(house: Running, name: str, live: str = "v0") -> dict:
    """As the trainer does."""
    wish = {"checkpoint": name, "expected_live": live, "by": "round 1", "reason": "passed the gate"}
    answer = await house.service.post("/internal/deploy", json=wish)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def model_in(house: Running, conversation: str, text: str = "hello", **more: object) -> str:
    answer = await house.chat(text, ruminate={"conversation_id": conversation, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model"])


def arms_of(house: Running, count: int) -> tuple[list[str], list[str]]:
    """Names of so many conversations of the canary, and of live."""
    state = house.gateway.catalog.wanted
    assert state is not None
    names = [f"c{number}" for number in range(10 * count)]
    found = [name for name in names if state.on_trial(name)], [name for name in names if not state.on_trial(name)]
    return found[0][:count], found[1][:count]


async def test_a_published_candidate_answers_in_its_share_of_conversations_and_always_in_the_same(
    shared: Running, engine: FakeEngine
) -> None:
    name = add_checkpoint(shared.database, shared.home)
    assert await publish(shared, name) == {"live": "v0", "previous": None, "canary": "v1"}
    assert await publish(shared, name) == {"live": "v0", "previous": None, "canary": "v1"}  # as a trainer that resumes
    new, old = arms_of(shared, 3)
    for _ in range(2):
        assert {await model_in(shared, one) for one in new} == {"ruminate-v1"}
        assert {await model_in(shared, one) for one in old} == {"ruminate-v0"}
    assert await model_in(shared, new[0], consent="none") == "ruminate-v0"  # what is not kept can't be compared
    status = (await shared.http.get("/api/status")).json()
    assert (status["live"]["name"], status["canary"]["name"], status["canary"]["share"]) == ("v0", "v1", 0.5)
    row, states = newest(shared)
    assert (row.canary_checkpoint_id, row.canary_share, states["v1"]) == (1, 0.5, "canary")
    history = (await shared.http.get("/api/deployments")).json()["data"]
    assert [one["canary"] for one in history] == ["v1", None]


async def test_about_the_share_of_conversations_is_drawn_and_others_for_another_canary(shared: Running) -> None:
    add_checkpoint(shared.database, shared.home)
    await publish(shared, "v1")
    state = shared.gateway.catalog.wanted
    assert state is not None
    drawn = [state.on_trial(f"conversation {number}") for number in range(4000)]
    assert abs(sum(drawn) / 4000 - 0.5) < 0.04


async def test_a_canary_that_no_engine_has_costs_nobody_an_answer(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_checkpoint(shared.database, shared.home)
    await publish(shared, "v1")
    new, _ = arms_of(shared, 1)
    pool = shared.gateway.pool
    found = pool.pick
    monkeypatch.setattr(pool, "pick", lambda model, *more: None if model == "ruminate-v1" else found(model, *more))
    assert await model_in(shared, new[0]) == "ruminate-v0"


async def test_a_canary_whose_answers_break_is_rolled_back_and_says_why(shared: Running) -> None:
    name = add_checkpoint(shared.database, shared.home)
    await publish(shared, name)
    new, old = arms_of(shared, 40)
    record(shared.database, 0, old)
    await shared.gateway.watcher.look()
    assert newest(shared)[0].canary_checkpoint_id == 1, "nothing is shown yet"
    record(shared.database, 1, new, ending="malformed")
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, row.canary_checkpoint_id, row.by) == (0, None, "the canary's trial")
    assert row.reason.startswith("canary v1 rolled back: malformed 100.0% against 0.0% of v0 are more (p = ")
    assert states["v1"] == "rejected"
    assert (await shared.chat()).json()["model"] == "ruminate-v0"
    refused = await shared.http.post("/api/deployments", json={"checkpoint": "v1"})
    assert refused.json()["error"]["code"] == "checkpoint_rejected"


async def test_thumbs_down_alone_roll_a_canary_back(shared: Running) -> None:
    add_checkpoint(shared.database, shared.home)
    await publish(shared, "v1")
    new, old = arms_of(shared, 30)
    ratings = [(record(shared.database, 0, old), 1), (record(shared.database, 1, new), -1)]
    with shared.database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train").id
        for made, rating in ratings:
            for one in made:
                feedback.give_feedback(session, one, user, rating)
    await shared.gateway.watcher.look()
    assert "thumbs down 100.0% against 0.0%" in newest(shared)[0].reason


@pytest.mark.parametrize("blind", [True, False])
async def test_lost_comparisons_alone_roll_a_canary_back_if_they_were_blind(shared: Running, blind: bool) -> None:
    """As the page compares: both by version, in a conversation of either arm."""
    add_checkpoint(shared.database, shared.home)
    await publish(shared, "v1")
    for number in range(14):
        made = {}
        for model in ("ruminate-v0", "ruminate-v1"):
            answer = await shared.chat("hello", model=model, ruminate={"conversation_id": f"compared {number}"})
            assert answer.json()["model"] == model, answer.text
            made[model] = answer.headers["x-ruminate-generation"]
        sides = dict(zip(("left", "right"), made.values() if number % 2 else reversed(made.values()), strict=True))
        choice = "left" if number % 2 else "right"  # always live
        wish = {**sides, "choice": choice, "shown": {"blind": blind, "mode": "canary"}}
        assert (await shared.http.post("/api/comparisons", json=wish)).status_code == 201
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    if blind:
        assert row.reason.startswith("canary v1 rolled back: lost comparisons 100.0% against 0.0% of v0 are more (p = ")
        assert (row.live_checkpoint_id, row.canary_checkpoint_id, states["v1"]) == (0, None, "rejected")
    else:
        assert row.canary_checkpoint_id == 1


async def test_two_samples_of_a_comparison_are_no_second_try_and_another_answer_is(shared: Running) -> None:
    """The page's two samples are two requests, of which one begins a little later."""

    async def seen() -> list[float]:
        with shared.database.reading() as session:
            answers = arms.answered(session, [0])
        later = datetime.now(UTC) + timedelta(hours=1)
        return [again for _, again in regenerated(firsts(answers), answers, later)]

    both = (shared.chat("hello", ruminate={"conversation_id": "compared"}) for _ in range(2))
    for answer in await asyncio.gather(*both):
        assert answer.status_code == 200, answer.text
    with shared.database.reading() as session:
        one, other = arms.answered(session, [0])
    assert one.prompt == other.prompt
    assert one.started_at <= other.started_at
    assert await seen() == [0.0]
    with shared.database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train").id
        for begun in (one.ended_at + timedelta(minutes=1), one.ended_at + timedelta(minutes=2)):
            turn = a_turn(user, said("hi"), conversation_id="tried again", started_at=begun)
            turns.record_turn(session, turn, its_end(turn, ended_at=begun + timedelta(seconds=5)))
    assert await seen() == [0.0, 1.0]


async def test_a_canary_that_is_no_worse_is_promoted_and_a_round_waits_until_then(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.outcomes.SETTLED", timedelta(minutes=-10))
    add_checkpoint(shared.database, shared.home)
    await publish(shared, "v1")
    new, old = arms_of(shared, 120)
    record(shared.database, 0, old)
    record(shared.database, 1, new)
    with shared.database.transaction() as session:
        rounds.request_round(session, "grpo", {}, "ann")
        assert rounds.claim_round(session, "trainer", 60) is None
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, row.previous_checkpoint_id, row.canary_checkpoint_id) == (1, 0, None), row.reason
    assert row.reason.startswith("canary v1 promoted: errors 0.0% against 0.0%, malformed 0.0% against 0.0%, regen")
    assert states["v1"] == "published"
    assert (await shared.chat()).json()["model"] == "ruminate-v1"
    with shared.database.transaction() as session:
        assert rounds.claim_round(session, "trainer", 60) is not None


async def test_a_canary_with_too_little_traffic_is_promoted_when_its_time_is_over(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """And by the gateway itself, without anybody asking for it."""
    settings = {"canary_share": 0.5, "canary_hours": 1e-4, "judge_seconds": 0.1}
    async with running_gateway(tmp_path / "home", [engine.url], **settings) as house:
        await house.until_ready()
        add_checkpoint(house.database, house.home)
        await publish(house, "v1")
        for _ in range(500):
            if newest(house)[0].live_checkpoint_id == 1:
                break
            await asyncio.sleep(0.02)
        assert newest(house)[0].reason.startswith(
            "canary v1 promoted by its gate's verdict: 0.0001 hours showed nothing"
        )


async def test_a_canary_that_an_engine_refuses_later_is_told_and_given_up_when_its_time_is_over(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"canary_share": 0.5, "canary_hours": 1e-6, "judge_seconds": 3600.0}
    async with two_engines(tmp_path / "home", engine, **settings) as (house, other):
        name = add_checkpoint(house.database, house.home)
        await publish(house, name)
        assert (await house.http.get("/health")).json()["trouble"] is None
        other.ignores_adapters = True
        del other.adapters["ruminate-v1"]
        await until(
            lambda: house.gateway.pool.engines[1].detail, "its probe did not fail", lambda said: "other weights" in said
        )
        with house.database.transaction() as session:
            rounds.request_round(session, "grpo", {}, "ann")
            assert rounds.claim_round(session, "trainer", 60) is None
        await house.gateway.watcher.look()
        assert newest(house)[0].canary_checkpoint_id == 1, "it is hoped for"
        told = f"canary v1 can't be promoted: engine {other.url} does not take ruminate-v1"
        assert (await house.http.get("/health")).json()["trouble"].startswith(told)
        assert (await house.http.get("/api/status")).json()["canary"]["trouble"].startswith(told)
        monkeypatch.setattr("server.watcher.HOPE", timedelta(0))
        await house.gateway.watcher.look()
        row, states = newest(house)
        assert (row.live_checkpoint_id, row.canary_checkpoint_id, states["v1"]) == (0, None, "retired")
        assert row.reason.startswith(f"canary v1 rolled back: 1e-06 hours are over, and engine {other.url} does not")
        assert (await house.http.get("/health")).json()["trouble"] is None
        with house.database.transaction() as session:
            assert rounds.claim_round(session, "trainer", 60) is not None


async def test_live_is_watched_while_its_canary_cannot_be_promoted(engine: FakeEngine, tmp_path: Path) -> None:
    settings = {"canary_share": 0.5, "canary_hours": 1e-6, "judge_seconds": 3600.0}
    async with two_engines(tmp_path / "home", engine, **settings) as (house, other):
        for number in range(2):
            add_checkpoint(house.database, house.home, -2.0 - number)
        record(house.database, 0, [f"before {n}" for n in range(60)])
        answer = await house.http.post("/api/deployments", json={"checkpoint": "v1", "reason": "a test"})
        assert answer.status_code == 200, answer.text
        await publish(house, "v2", live="v1")
        record(house.database, 1, [f"bad {n}" for n in range(40)], ending="error")
        other.ignores_adapters = True
        del other.adapters["ruminate-v2"]
        await until(
            lambda: house.gateway.pool.engines[1].detail, "its probe did not fail", lambda said: "other weights" in said
        )
        await house.gateway.watcher.look()
        row, states = newest(house)
        assert (row.live_checkpoint_id, row.canary_checkpoint_id, states["v1"]) == (0, None, "rejected"), row.reason


async def test_errors_alone_roll_a_canary_back(shared: Running) -> None:
    add_checkpoint(shared.database, shared.home)
    await publish(shared, "v1")
    new, old = arms_of(shared, 30)
    record(shared.database, 0, old)
    record(shared.database, 1, new, ending="error")
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert row.reason.startswith("canary v1 rolled back: errors 100.0% against 0.0% of v0 are more (p = "), row.reason
    assert (row.live_checkpoint_id, row.canary_checkpoint_id, states["v1"]) == (0, None, "rejected")


async def test_errors_before_the_first_piece_roll_a_canary_back(shared: Running, engine: FakeEngine) -> None:
    """What people who were refused were told counts as well, in their conversations."""
    add_checkpoint(shared.database, shared.home)
    await publish(shared, "v1")
    new, old = arms_of(shared, 15)
    record(shared.database, 0, old)
    engine.fail_after = 0
    for name in new:
        answer = await shared.chat(f"hello {name}", stream=True, ruminate={"conversation_id": name})
        assert answer.status_code == 502
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert row.reason.startswith("canary v1 rolled back: errors 100.0% against 0.0% of v0 are more (p = "), row.reason
    assert (row.live_checkpoint_id, row.canary_checkpoint_id, states["v1"]) == (0, None, "rejected")


async def test_regenerations_alone_roll_a_canary_back(shared: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each prompt of the canary's conversations is asked again two minutes after its answer, and answered well."""
    add_checkpoint(shared.database, shared.home)
    await publish(shared, "v1")
    new, old = arms_of(shared, 30)
    record(shared.database, 0, old)
    record(shared.database, 1, new)
    with shared.database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train").id
        for name in new:
            begun = datetime.now(UTC) + timedelta(minutes=3)
            turn = a_turn(user, said(f"{name} asks"), checkpoint_id=1, conversation_id=name, started_at=begun)
            turns.record_turn(session, turn, its_end(turn, ended_at=begun + timedelta(seconds=1)))
    await shared.gateway.watcher.look()
    assert newest(shared)[0].canary_checkpoint_id == 1, "it is not settled yet"

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=1)

    monkeypatch.setattr("server.watcher.datetime", Later)
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert row.reason.startswith("canary v1 rolled back: regenerations 100.0% against 0.0% of v0 are more (p = ")
    assert (row.live_checkpoint_id, row.canary_checkpoint_id, states["v1"]) == (0, None, "rejected")


async def test_a_trial_is_ended_by_hand_and_a_second_canary_waits(shared: Running) -> None:
    for _ in range(2):
        add_checkpoint(shared.database, shared.home)
    await publish(shared, "v1")
    wish = {"checkpoint": "v2", "canary_share": 0.1}
    refused = await shared.http.post("/api/deployments", json=wish)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "canary_on_trial")
    ended = await shared.http.post("/api/deployments", json={"checkpoint": "v0", "reason": "enough"})
    assert ended.json() == {"live": "v0", "previous": None}
    assert newest(shared)[1]["v1"] == "retired"
    assert (await shared.http.post("/api/deployments", json=wish)).json()["canary"] == "v2"
