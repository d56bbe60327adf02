"""A live checkpoint that declines is taken back, with its reason; and what is no decline takes nothing back."""

from datetime import UTC, datetime, timedelta

import pytest
from support.adapters import add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import Running
from support.records import a_turn, its_end, said
from support.trials import newest, record
from support.waiting import until

from db.queries import arms, rounds, turns, users
from db.session import Database


async def make_live(house: Running, name: str) -> None:
    answer = await house.http.post("/api/deployments", json={"checkpoint": name, "reason": "a test"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("how", ["errors", "malformed answers", "answers that take more than 2 s"])
async def test_a_live_checkpoint_that_declines_is_rolled_back_with_what_was_built_on_it(
    shared: Running, how: str
) -> None:
    add_checkpoint(shared.database, shared.home)
    record_before(shared.database, 60)
    await make_live(shared, "v1")
    with shared.database.transaction() as session:
        asked = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.claim_round(session, "trainer", 60)
        rounds.save_progress(session, asked, "trainer", "train", 1, parent_id=1)
    some = [f"bad {n}" for n in range(9)]
    if how.startswith("answers"):
        slow(shared.database, some, completion_tokens=40)  # longer, and so by its own doing
    else:
        record(shared.database, 1, some, ending={"errors": "error"}.get(how, "malformed"))
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, row.previous_checkpoint_id, row.by) == (0, 1, "the watch on live traffic")
    assert row.reason.startswith(f"v1 rolled back to v0: {how} went from 0.0% of 60 conversations to 100.0% of 9")
    assert states["v1"] == "rejected"
    assert (await shared.chat()).json()["model"] == "ruminate-v0"
    with shared.database.reading() as session:
        cancelled = rounds.get_round(session, asked)
    assert (cancelled.state, cancelled.error.split(",")[0]) == ("cancelled", "built on v1")
    before = row.id
    record(shared.database, 0, [f"later {n}" for n in range(30)], ending="malformed")
    await shared.gateway.watcher.look()
    assert newest(shared)[0].id == before, "it never goes back to what was rolled back"


async def test_answers_that_a_busy_machine_makes_slow_take_nothing_back(shared: Running, engine: FakeEngine) -> None:
    """Asked in turns, both checkpoints are as slow as each other. Once the newer one is not, it is taken back."""
    add_checkpoint(shared.database, shared.home)
    record_before(shared.database, 60)
    await make_live(shared, "v1")
    slow(shared.database, [f"slow {n}" for n in range(9)])
    engine.first_delay = 0.02
    before = engine.served["ruminate-v1"]
    await shared.gateway.watcher.look()
    asked = engine.served["ruminate-v1"] - before
    assert asked > 0
    assert newest(shared)[0].live_checkpoint_id == 1
    await shared.gateway.watcher.look()
    assert engine.served["ruminate-v1"] - before == asked, "both were asked again at once"
    shared.gateway.watcher._acquitted = None  # as after ten minutes
    engine.slow = {"ruminate-v1": 0.1}
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, states["v1"]) == (0, "rejected")
    assert "times as long to write as much" in row.reason


async def test_a_slow_live_waits_for_an_engine_that_has_both_before_it_is_taken_back(
    shared: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just after a start no engine may have both yet, and one that tells how slow the machine is comes in a moment."""
    add_checkpoint(shared.database, shared.home)
    record_before(shared.database, 60)
    await make_live(shared, "v1")
    slow(shared.database, [f"slow {n}" for n in range(9)])
    watcher, engine.first_delay = shared.gateway.watcher, 0.05  # beside which a crowded machine's hiccup is small
    with monkeypatch.context() as patch:
        for one in shared.gateway.pool.engines:
            patch.setattr(one, "serves", lambda model: model == "ruminate-v1")
        await watcher.look()
        await watcher.look()
        assert newest(shared)[0].live_checkpoint_id == 1
    await watcher.look()
    assert (newest(shared)[0].live_checkpoint_id, watcher._unasked) == (1, None)
    assert watcher._acquitted is not None, "asked in turns, both are as fast"
    watcher._acquitted = None  # as after ten minutes
    for one in shared.gateway.pool.engines:
        monkeypatch.setattr(one, "serves", lambda model: model == "ruminate-v1")
    await watcher.look()
    assert newest(shared)[0].live_checkpoint_id == 1, "it was asked since: the ten minutes begin anew"
    deployment, since = watcher._unasked or pytest.fail("nothing is waited for")
    watcher._unasked = deployment, since - timedelta(minutes=10)
    await watcher.look()
    row, _ = newest(shared)
    assert row.live_checkpoint_id == 0
    assert row.reason.endswith("no engine has both, so that nothing tells whether the machine is slow")


@pytest.mark.parametrize("consent", ["train", "none"])
async def test_ends_that_clients_set_themselves_and_raw_or_pinned_requests_take_nothing_back(
    shared: Running, engine: FakeEngine, consent: str
) -> None:
    """A raw completion without `max_tokens` is cut off after the engine's 16; a `stop` can end a thought."""
    add_checkpoint(shared.database, shared.home)
    record_before(shared.database, 60)
    await make_live(shared, "v1")
    engine.finish = ("length", None)
    raw = {"model": "ruminate", "prompt": "It rains", "store": consent != "none"}
    for _ in range(12):
        assert (await shared.http.post("/v1/completions", json=raw)).status_code == 200
        assert (await shared.chat(model="ruminate-v1", ruminate={"consent": consent})).status_code == 200
        assert (await shared.chat(max_tokens=5, ruminate={"consent": consent})).status_code == 200
    engine.finish, engine.words = ("stop", "five"), 0
    for _ in range(12):
        assert (await shared.chat(stop=["five"], ruminate={"consent": consent})).status_code == 200
    with shared.database.reading() as session:
        found = arms.answered(session, [1])
    assert (len(found), {one.ending for one in found}) == (24, {"truncated_response", "malformed"})
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, states["v1"]) == (1, "published"), row.reason


async def test_streams_that_one_dead_engine_broke_off_take_nothing_back(shared: Running, engine: FakeEngine) -> None:
    add_checkpoint(shared.database, shared.home)
    record_before(shared.database, 60)
    await make_live(shared, "v1")
    engine.die_after = 3
    for _ in range(12):
        assert "engine_lost" in (await shared.chat(stream=True)).text
        await shared.until_ready()
    with shared.database.reading() as session:
        assert [one.lost for one in arms.answered(session, [1])] == [True] * 12
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, states["v1"]) == (1, "published"), row.reason


async def test_a_checkpoint_that_kills_every_engine_again_and_again_is_taken_back(shared: Running) -> None:
    add_checkpoint(shared.database, shared.home)
    record_before(shared.database, 60)
    await make_live(shared, "v1")
    deaths(shared.database, ["http://one"] * 12)
    record(shared.database, 1, ["fine elsewhere"])
    await shared.gateway.watcher.look()
    assert newest(shared)[0].live_checkpoint_id == 1, "another engine answers as it and lives"
    deaths(shared.database, [""])
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, states["v1"]) == (0, "rejected")
    assert row.reason.startswith("v1 rolled back to v0: errors went from 0.0% of 60 conversations to ")


async def test_errors_before_the_first_piece_take_live_back(shared: Running, engine: FakeEngine) -> None:
    """A stream whose first event is an error is refused with 500; the engine lives, so each one counts."""
    add_checkpoint(shared.database, shared.home)
    record_before(shared.database, 60)
    await make_live(shared, "v1")
    engine.fail_after = 0
    for number in range(12):
        answer = await shared.chat(f"hello {number}", stream=True)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error")
    with shared.database.reading() as session:
        found = arms.answered(session, [1])
    assert [(one.ending, one.lost, one.engine) for one in found] == [("error", False, engine.url)] * 12
    assert len({one.conversation for one in found} - {None}) == 12
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, states["v1"]) == (0, "rejected")
    assert row.reason.startswith("v1 rolled back to v0: errors went from 0.0% of 60 conversations to 100.0% of 12")


async def test_requests_under_which_the_engine_dies_before_it_answers_take_live_back(
    shared: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not streamed: the whole answer is the first piece. All attempts fail, so the request is refused with 503."""
    add_checkpoint(shared.database, shared.home)
    record_before(shared.database, 60)
    await make_live(shared, "v1")
    engine.dies_at_once = True
    for number in range(12):
        assert (await shared.chat(f"hello {number}")).status_code == 503
        await shared.until_ready()
    with shared.database.reading() as session:
        found = arms.answered(session, [1])
    assert [(one.ending, one.lost, one.engine) for one in found] == [("error", True, engine.url)] * 12
    assert None not in {one.conversation for one in found}
    await shared.gateway.watcher.look()
    assert newest(shared)[0].live_checkpoint_id == 1, "within seconds of each other they are one death"
    monkeypatch.setattr("server.outcomes.DEATH", timedelta(0))  # as if an engine took no time to come back
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, states["v1"]) == (0, "rejected")
    assert row.reason.startswith("v1 rolled back to v0: errors went from 0.0% of 60 conversations to 100.0% of 12")


async def test_a_death_under_a_request_that_is_answered_after_it_is_seen_beside_the_answer(
    shared: Running, engine: FakeEngine
) -> None:
    add_checkpoint(shared.database, shared.home)
    await make_live(shared, "v1")
    engine.fail_next = 2  # one may be a connection that went stale
    assert (await shared.chat("hello", ruminate={"consent": "train"})).status_code == 200

    def answered() -> list[arms.Answered]:
        with shared.database.reading() as session:
            return arms.answered(session, [1])

    await until(lambda: len(answered()), "the death is not recorded beside the answer, which leaves before it", 2)
    assert sorted((one.ending, one.lost, one.conversation is None) for one in answered()) == [
        ("complete", False, False), ("error", True, True)
    ]  # fmt: skip


async def test_a_request_that_failed_under_a_key_may_be_tried_again_under_it(
    shared: Running, engine: FakeEngine
) -> None:
    wish = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
    keyed = {"Idempotency-Key": "the same"}
    engine.fail_next = 4
    answers = []
    for _ in range(2):
        answers.append(await shared.http.post("/v1/chat/completions", json=wish, headers=keyed))
        await shared.until_ready()
    assert [answer.status_code for answer in answers] == [503, 200], answers[1].text
    with shared.database.reading() as session:
        assert [one.ending for one in arms.answered(session, [0])] == ["error", "complete"]


async def test_what_is_the_clients_own_fault_is_no_error_of_the_checkpoint(shared: Running) -> None:
    assert (await shared.chat(max_tokens=100_000)).status_code == 400
    with shared.database.reading() as session:
        assert arms.answered(session, [0]) == []


def deaths(database: Database, engines: list[str]) -> None:
    """Answers of v1 that broke off with their engines, a minute apart."""
    with database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train").id
        for number, engine in enumerate(engines):
            ended = datetime.now(UTC) + timedelta(minutes=1 + number)
            place = f"dies {engine} {number}"
            turn = a_turn(user, said(place), checkpoint_id=1, conversation_id=place, started_at=ended, engine=engine)
            end = its_end(turn, ended_at=ended, ending="error", finish_reason="engine_lost")
            turns.record_turn(session, turn, end)


async def test_a_live_checkpoint_that_is_like_the_one_before_stays(shared: Running) -> None:
    add_checkpoint(shared.database, shared.home)
    record_before(shared.database, 60)
    await make_live(shared, "v1")
    record(shared.database, 1, [f"fine {n}" for n in range(60)])
    before = newest(shared)[0].id
    await shared.gateway.watcher.look()
    assert newest(shared)[0].id == before


async def test_a_rollback_by_hand_aborts_the_round_that_was_built_on_it_too(shared: Running) -> None:
    add_checkpoint(shared.database, shared.home)
    await make_live(shared, "v1")
    with shared.database.transaction() as session:
        asked = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.claim_round(session, "trainer", 60)
        rounds.save_progress(session, asked, "trainer", "train", 1, parent_id=1)
    await make_live(shared, "previous")
    with shared.database.reading() as session:
        assert rounds.get_round(session, asked).state == "cancelled"
    assert newest(shared)[1]["v1"] == "retired"
    await make_live(shared, "v1")  # a person may


async def test_a_second_rollback_does_not_bring_back_what_the_first_took_away(shared: Running) -> None:
    add_checkpoint(shared.database, shared.home)
    await make_live(shared, "v1")
    await make_live(shared, "previous")
    refused = await shared.http.post("/api/deployments", json={"checkpoint": "previous"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "taken_back_already")
    said = refused.json()["error"]["message"]
    assert "v1 was taken back when v0 became live again" in said
    assert said.endswith("promote it by its name; nothing older than v0 is kept")
    await make_live(shared, "v1")
    await make_live(shared, "previous")
    assert newest(shared)[0].live_checkpoint_id == 0


async def test_after_an_automatic_rollback_a_rollback_says_how_to_go_further_back(shared: Running) -> None:
    for _ in range(3):
        add_checkpoint(shared.database, shared.home)
        await make_live(shared, f"v{shared.gateway.catalog.live.id + 1}")  # type: ignore[union-attr]
    await shared.gateway.swap.deploy("v2", "the watch", "a test", disown=True)
    refused = await shared.http.post("/api/deployments", json={"checkpoint": "previous"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "checkpoint_rejected")
    assert refused.json()["error"]["message"].endswith("promote an older version by its name, such as v1")
    await make_live(shared, "v1")


async def test_an_older_version_that_was_made_live_by_name_is_watched_as_well(shared: Running) -> None:
    """It took the place of a newer one, which was not taken back: neither grew out of the other."""
    for name in ("v1", "v2"):
        add_checkpoint(shared.database, shared.home)
        await make_live(shared, name)
    record_before(shared.database, 60, checkpoint_id=2)
    await make_live(shared, "v1")
    assert newest(shared)[1]["v2"] == "published"
    record(shared.database, 1, [f"bad {n}" for n in range(9)], ending="error")
    await shared.gateway.watcher.look()
    row, states = newest(shared)
    assert (row.live_checkpoint_id, row.by, states["v1"]) == (2, "the watch on live traffic", "rejected")


async def test_a_rollback_to_what_live_did_not_grow_out_of_takes_it_back_as_well(shared: Running) -> None:
    for _ in range(2):
        add_checkpoint(shared.database, shared.home)
    await make_live(shared, "v1")
    await make_live(shared, "v2")  # both grew out of v0
    assert newest(shared)[1]["v1"] == "published"
    with shared.database.transaction() as session:
        asked = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.claim_round(session, "trainer", 60)
        rounds.save_progress(session, asked, "trainer", "train", 1, parent_id=2)
    await shared.gateway.swap.deploy("v1", "a test", "a test", disown=True)
    row, states = newest(shared)
    assert (row.live_checkpoint_id, states["v1"], states["v2"]) == (1, "published", "rejected")
    with shared.database.reading() as session:
        assert rounds.get_round(session, asked).state == "cancelled"


def record_before(database: Database, count: int, **how: object) -> None:
    """Answers, of v0 unless said otherwise, from before anything else became live, a second each."""
    with database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train").id
        for number in range(count):
            begun = datetime.now(UTC) - timedelta(hours=1, seconds=number)
            turn = a_turn(user, said(f"before {number}"), conversation_id=f"before {number}", started_at=begun, **how)
            turns.record_turn(session, turn, its_end(turn, ended_at=begun + timedelta(seconds=1)))


def slow(database: Database, names: list[str], **how: object) -> None:
    """Answers of v1 that take three seconds."""
    with database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train").id
        for name in names:
            begun = datetime.now(UTC) + timedelta(minutes=1)
            turn = a_turn(user, said(name), checkpoint_id=1, conversation_id=name, started_at=begun)
            turns.record_turn(session, turn, its_end(turn, ended_at=begun + timedelta(seconds=3), **how))
