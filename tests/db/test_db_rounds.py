"""Rounds: one open at a time, claimed by one trainer, carried on by another only when its lease ran out."""

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.records import settle

from db.errors import LeaseLost, NotFound, RoundAlreadyOpen
from db.queries import checkpoints, retention, rounds
from db.session import Database


def at_once(work: Callable[[int], Any], threads: int = 8) -> list[Any]:
    """What `work` gave or raised in each of the threads, which begin together."""
    barrier = threading.Barrier(threads)
    results: list[Any] = [None] * threads

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work(index)
        except Exception as error:  # noqa: BLE001  handed to the test, which asserts on it
            results[index] = error

    running = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return results


def ask(database: Database) -> int:
    with database.transaction() as session:
        return rounds.request_round(session, "grpo", {"steps": 3}, "ann", seed=2**40).id


def claim(database: Database, owner: str, seconds: float = 60) -> Any:
    with database.transaction() as session:
        return rounds.claim_round(session, owner, seconds)


def test_a_round_from_request_to_verdict(database: Database) -> None:
    with database.transaction() as session:
        settle(session)
    round_id = ask(database)
    claimed = claim(database, "trainer-1")
    assert (claimed.id, claimed.state, claimed.attempts, claimed.seed) == (round_id, "running", 1, 2**40)
    assert claimed.config == {"steps": 3}
    with database.transaction() as session:
        rounds.save_progress(session, round_id, "trainer-1", "train", 2, total_steps=3, parent_id=0)
        candidate = checkpoints.reserve_checkpoint(session, 0, round_id)
        rounds.finish_round(session, round_id, "trainer-1", "published", {"win_rate": 0.6}, candidate=candidate.id)
    with database.reading() as session:
        row = rounds.get_round(session, round_id)
        assert (row.state, row.phase, row.step, row.total_steps) == ("published", "train", 2, 3)
        assert (row.parent_checkpoint_id, row.candidate_checkpoint_id, row.verdict) == (0, 1, {"win_rate": 0.6})
        assert row.started_at is not None
        assert row.ended_at is not None
        assert [listed.id for listed in rounds.list_rounds(session)] == [round_id]
        with pytest.raises(NotFound, match="no round 99"):
            rounds.get_round(session, 99)
    assert claim(database, "trainer-1") is None


def test_of_many_who_ask_for_a_round_one_gets_it_and_the_others_learn_its_id(database: Database) -> None:
    results = at_once(lambda _: ask(database))
    opened = [result for result in results if isinstance(result, int)]
    assert len(opened) == 1
    refused = [result for result in results if isinstance(result, RoundAlreadyOpen)]
    assert len(refused) == 7
    assert {error.round_id for error in refused} == set(opened)


def test_after_a_round_ended_another_may_be_asked_for(database: Database) -> None:
    first = ask(database)
    with database.transaction() as session:
        with pytest.raises(RoundAlreadyOpen, match=f"round {first} is still open"):
            rounds.request_round(session, "grpo", {}, "ann")
        assert rounds.cancel_round(session, first).state == "cancelled"
        assert rounds.open_round(session) is None
    assert ask(database) > first


def test_of_many_who_claim_one_gets_it(database: Database) -> None:
    round_id = ask(database)
    claimed = [row for row in at_once(lambda index: claim(database, f"trainer-{index}")) if row is not None]
    assert [row.id for row in claimed] == [round_id]


def test_an_expired_lease_is_claimed_again_once_and_its_old_owner_writes_no_more(database: Database) -> None:
    round_id = ask(database)
    assert claim(database, "old", seconds=-1).attempts == 1
    claimed = [row for row in at_once(lambda index: claim(database, f"new-{index}")) if row is not None]
    assert [(row.id, row.attempts) for row in claimed] == [(round_id, 2)]
    with database.transaction() as session:
        assert rounds.heartbeat(session, round_id, claimed[0].lease_owner, 60)
        assert not rounds.heartbeat(session, round_id, "old", 60)
        for write in (
            lambda: rounds.save_progress(session, round_id, "old", "train", 5),
            lambda: rounds.add_metrics(session, round_id, 5, {"reward": 1.0}, owner="old"),
            lambda: rounds.finish_round(session, round_id, "old", "published"),
        ):
            with pytest.raises(LeaseLost, match=f"'old' no longer holds round {round_id}"):
                write()
    with database.reading() as session:
        assert (rounds.get_round(session, round_id).step, rounds.metrics(session, round_id)) == (0, {})


def test_a_heartbeat_keeps_a_round_from_being_claimed(database: Database) -> None:
    round_id = ask(database)
    claim(database, "trainer", seconds=-1)
    with database.transaction() as session:
        assert rounds.heartbeat(session, round_id, "trainer", 60)  # late, but nobody else came
    assert claim(database, "other") is None


def test_a_cancelled_round_refuses_its_trainer(database: Database) -> None:
    round_id = ask(database)
    claim(database, "trainer")
    with database.transaction() as session:
        rounds.cancel_round(session, round_id)
        assert not rounds.heartbeat(session, round_id, "trainer", 60)
        with pytest.raises(LeaseLost, match="state cancelled"):
            rounds.finish_round(session, round_id, "trainer", "published")
        assert rounds.cancel_round(session, round_id).state == "cancelled"


def test_metrics_of_a_step_done_again_replace_its_first_ones(database: Database) -> None:
    round_id = ask(database)
    with database.transaction() as session:
        rounds.add_metrics(session, round_id, 1, {"reward": 0.5, "kl": 0.0})
        rounds.add_metrics(session, round_id, 2, {"reward": math.nan})
        rounds.add_metrics(session, round_id, 1, {"reward": 0.25})
        rounds.add_metrics(session, round_id, 3, {})
        series = rounds.metrics(session, round_id)
    assert series["kl"] == [(1, 0.0)]
    assert series["reward"][0] == (1, 0.25)
    assert math.isnan(series["reward"][1][1])


def test_a_round_ends_in_an_ending_only(database: Database) -> None:
    round_id = ask(database)
    claim(database, "trainer")
    with database.transaction() as session, pytest.raises(ValueError, match="not as 'running'"):
        rounds.finish_round(session, round_id, "trainer", "running")


def test_what_a_round_that_came_to_nothing_made_is_nobodys_to_promote(database: Database) -> None:
    with database.transaction() as session:
        settle(session)
    for end in ("cancelled", "failed", "published"):
        round_id = ask(database)
        claim(database, "trainer")
        with database.transaction() as session:
            made = checkpoints.reserve_checkpoint(session, 0, round_id)
            checkpoints.complete_checkpoint(session, made.id, f"/checkpoints/{made.name}", {})
            if end == "cancelled":
                rounds.cancel_round(session, round_id)
            else:
                rounds.finish_round(session, round_id, "trainer", end)
            state = checkpoints.get_checkpoint(session, made.id).state
            assert state == ("candidate" if end == "published" else "rejected")
    with database.transaction() as session:  # one that went live before its round was cancelled stays so
        round_id = rounds.request_round(session, "grpo", {}, "ann").id
        made = checkpoints.reserve_checkpoint(session, 0, round_id)
        checkpoints.set_state(session, made.id, "published")
        rounds.cancel_round(session, round_id)
        assert checkpoints.get_checkpoint(session, made.id).state == "published"
        assert [name for name, _ in retention.release(session, 1, set())] == ["v2", "v1"]


def test_a_round_whose_trainer_was_stopped_is_free_at_once_and_that_was_no_failure(database: Database) -> None:
    round_id = ask(database)
    claim(database, "one")
    with database.transaction() as session:
        rounds.put_back(session, round_id, "another")
    assert claim(database, "another") is None
    with database.transaction() as session:
        rounds.put_back(session, round_id, "one")
    claimed = claim(database, "another")
    assert (claimed.id, claimed.attempts, claimed.stops) == (round_id, 2, 1)
