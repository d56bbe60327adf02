"""What a trainer sees of the record before it starts a round by itself, on every database."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from support.records import a_turn, its_end, said, settle

from db import ids
from db.queries import rounds, triggers, turns
from db.schema import Message
from db.session import Database


def test_new_prompts_are_those_since_a_time_counted_once_and_not_beyond_the_limit(database: Database) -> None:
    with database.transaction() as session:
        user = settle(session)
        for number in range(5):
            turns.begin_turn(session, a_turn(user, said(f"prompt {number}")))
        turns.begin_turn(session, a_turn(user, said("prompt 1")))
        turns.begin_turn(session, a_turn(user, said("kept for me"), consent="history"))
    with database.reading() as session:
        assert triggers.count_new(session, None, 100) == 5
        assert triggers.count_new(session, None, 3) == 3
        assert triggers.count_new(session, datetime.now(UTC) - timedelta(minutes=1), 100) == 5
        assert triggers.count_new(session, datetime.now(UTC) + timedelta(minutes=1), 100) == 0


def test_somebody_is_there_while_an_answer_is_written_and_until_it_is_long_over(database: Database) -> None:
    now = datetime.now(UTC)
    with database.transaction() as session:
        user = settle(session)
        turn = a_turn(user, said("hello"), consent="none")  # who keeps nothing is there as well
        turns.begin_turn(session, turn)
        turns.begin_turn(session, done := a_turn(user, said("a title"), origin="title"))
        turns.complete_turn(session, its_end(done))
    with database.reading() as session:
        assert triggers.anyone_since(session, now + timedelta(minutes=30))  # still being written
    with database.transaction() as session:
        turns.complete_turn(session, its_end(turn, ended_at=now + timedelta(minutes=5)))
    with database.reading() as session:
        assert triggers.anyone_since(session, now + timedelta(minutes=4))
        assert not triggers.anyone_since(session, now + timedelta(minutes=6))


def test_what_a_wrong_clock_dated_in_a_later_year_neither_hides_what_is_new_nor_is_new_for_ever(
    database: Database,
) -> None:
    now, later = datetime.now(UTC), datetime.now(UTC) + timedelta(days=900)
    with database.transaction() as session:
        user = settle(session)
        for number in range(2):
            turns.begin_turn(session, a_turn(user, said(f"prompt {number}")))
        asked = rounds.request_round(session, "grpo", {}, "ann")
        asked.created_at = later  # while the clock was wrong
        rounds.cancel_round(session, asked.id)
    with database.reading() as session:
        assert triggers.newest_round(session, now) is None
        assert triggers.newest_round(session, later) is not None
        assert triggers.count_new(session, None, 9, now) == 2
    with database.transaction() as session:
        session.execute(update(Message).values(created_at=later))
    with database.reading() as session:
        assert triggers.count_new(session, None, 9, now) == 0
        assert triggers.count_new(session, None, 9, later) == 2


def test_ids_that_run_ahead_since_the_clock_was_set_back_make_no_prompt_new_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    ahead = (time.time_ns() + 900 * 86_400 * 10**9) * 4096 // 1_000_000
    monkeypatch.setattr(ids, "_last", ahead)
    with database.transaction() as session:
        turns.begin_turn(session, a_turn(settle(session), said("prompt")))
    with database.reading() as session:
        assert triggers.count_new(session, now - timedelta(minutes=1), 9, now) == 1
        assert triggers.count_new(session, now + timedelta(minutes=1), 9, now + timedelta(minutes=2)) == 0


def test_the_newest_round_is_the_one_asked_for_last_however_it_ended(database: Database) -> None:
    with database.reading() as session:
        assert triggers.newest_round(session) is None
    with database.transaction() as session:
        first = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.cancel_round(session, first)
        second = rounds.request_round(session, "grpo", {}, "the trainer", trigger="idle", reason="nobody is there").id
    with database.reading() as session:
        newest = triggers.newest_round(session)
        assert newest is not None
        assert (newest.id, newest.trigger, newest.reason) == (second, "idle", "nobody is there")


def test_what_went_wrong_once_is_kept_until_the_round_ends(database: Database) -> None:
    with database.transaction() as session:
        round_id = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.claim_round(session, "one", 60)
        rounds.note_error(session, round_id, "one", "the reward model is away")
        assert rounds.get_round(session, round_id).error == "the reward model is away"
        rounds.finish_round(session, round_id, "one", "published")
        assert rounds.get_round(session, round_id).error is None
