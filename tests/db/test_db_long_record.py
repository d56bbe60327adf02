"""What a long record costs: how often it is asked, and what is read of it."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text
from support.records import a_turn, its_end, said, settle
from support.statements import selected

from db.queries import (
    answers,
    checkpoints,
    conversations,
    curation,
    expiry,
    forget,
    lineage,
    rounds,
    triggers,
    turns,
    users,
)
from db.queries.common import utcnow
from db.queries.searching import search_conversations
from db.schema import Conversation, Generation, Message, RoundPrompt
from db.session import Database
from db.values import CuratedPrompt


def record(database: Database, user_id: str, *words: str, **changed: Any) -> str:
    """Gives the id of the generation."""
    turn = a_turn(user_id, said(*words), **changed)
    with database.transaction() as session:
        turns.record_turn(session, turn, its_end(turn))
    return turn.generation_id


def grown(database: Database, count: int) -> None:
    """So many rounds, each with a checkpoint built on the one before."""
    with database.transaction() as session:
        settle(session)
        for number in range(1, count + 1):
            round_id = rounds.request_round(session, "grpo", {}, "schedule").id
            rounds.claim_round(session, "trainer", 60)
            mixed = [CuratedPrompt(0, "mix", "train", "kept", "", said("mixed"))]
            curation.save_prompts(session, round_id, "trainer", mixed)
            row = checkpoints.reserve_checkpoint(session, number - 1, round_id)
            checkpoints.complete_checkpoint(session, row.id, f"/files/{row.name}", {"config": {"seed": number}})
            rounds.finish_round(session, round_id, "trainer", "published", candidate=row.id)


def test_a_long_line_of_checkpoints_takes_no_more_statements_than_a_short_one(database: Database) -> None:
    grown(database, 6)
    with database.reading() as session:
        ann = users.find_user(session, "ann").id
    found = {}
    for checkpoint_id in (1, 6):
        answer = record(database, ann, "Hi", checkpoint_id=checkpoint_id)
        with database.reading() as session, selected(database) as asked:
            line = lineage.behind_answer(session, answer, ann)[1]
            assert [one.checkpoint.name for one in line] == [f"v{place}" for place in range(checkpoint_id, -1, -1)]
            assert [one.prompts for one in line] == [{"mix": 1, "erased": 0}] * checkpoint_id + [{}]
            found[checkpoint_id] = len(asked)
    assert found[6] == found[1]


def test_manifests_are_read_where_they_are_asked_for(database: Database) -> None:
    grown(database, 3)
    with database.reading() as session, selected(database) as asked:
        line = checkpoints.lineage(session, 3)
        family = checkpoints.descendants(session, {2})
        assert checkpoints.names(session) == {0: "v0", 1: "v1", 2: "v2", 3: "v3"}
        assert not [statement for statement in asked if "manifest" in statement]
        assert [one.name for one in family] == ["v2", "v3"]
        assert line[1].manifest == {"config": {"seed": 2}}
        assert checkpoints.manifests(session, {0, 3}) == {0: {}, 3: {"config": {"seed": 3}}}


def test_what_several_prompts_have_before_them_is_read_once(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
    record(database, ann, "A long text", conversation_id="a")
    record(database, ann, "A long text", "Hello.", "Go on", conversation_id="a")
    with database.reading() as session:
        first, second = curation.trainable_prompts(session)
        assert second.messages[0]["content"] is first.messages[0]["content"]
        ids = [first.message_id, second.message_id]
        with selected(database) as asked:
            assert curation.still_trainable(session, ids) == set(ids)
        assert not [statement for statement in asked if "content" in statement]  # no words are needed for it


def plan(database: Database, statement: str) -> list[str]:
    """How SQLite goes about it."""
    with database.reading() as session:
        given = ("1",) * statement.count("?")
        rows = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given).all()
    return [str(row[-1]) for row in rows]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_trainer_looks_only_at_turns_that_may_be_trained_on(database: Database, kind: str) -> None:
    with database.transaction() as session:
        ann = settle(session)
    record(database, ann, "Hi", consent="history")
    with database.reading() as session, selected(database) as asked:
        assert triggers.count_new(session, utcnow() - timedelta(days=9), 10) == 0
    (statement,) = asked
    index = "ix_generations_train (prompt_message_id>?)"
    assert plan(database, statement) == [f"SEARCH generations USING COVERING INDEX {index}"]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_prompts_are_counted_without_reading_what_they_say(database: Database, kind: str) -> None:
    with database.reading() as session, selected(database) as asked:
        assert curation.count_prompts(session) == (0, 0)
    recorded, trainable = (plan(database, one) for one in asked)
    assert "SCAN messages USING COVERING INDEX ix_messages_asked" in recorded
    assert any("USING COVERING INDEX ix_generations_train" in step for step in trainable)


@pytest.mark.parametrize("kind", ["sqlite"])
def test_what_is_too_old_is_found_page_by_page_without_sorting_all_of_it(database: Database, kind: str) -> None:
    with database.reading() as session, selected(database) as asked:
        for find in (expiry.old_conversations, expiry.old_lone_turns, expiry.old_lessons):
            assert find(session, utcnow(), "") == []
    assert [plan(database, one) for one in asked] == [
        ["SEARCH conversations USING INDEX sqlite_autoindex_conversations_1 (id>?)"],
        ["SEARCH generations USING INDEX ix_generations_conversation_id (conversation_id=?)"],
        ["SEARCH generations USING INDEX sqlite_autoindex_generations_1 (id>?)"],
    ]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_whom_rounds_learnt_from_is_told_from_what_they_kept(database: Database, kind: str) -> None:
    with database.reading() as session, selected(database) as asked:
        assert forget.rounds_that_learnt_from(session, user_id="ann") == set()
        assert lineage.trained_on(session, 1) == {"erased": 0}
    by_user, _, by_round = (plan(database, one)[0] for one in asked)
    assert by_user == "SEARCH round_prompts USING COVERING INDEX ix_round_prompts_kept_of (user_id=? AND split=?)"
    assert by_round == "SEARCH round_prompts USING COVERING INDEX ix_round_prompts_kept (round_id=? AND split=?)"


def test_the_words_of_a_prompt_that_a_round_left_are_not_copied(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
    record(database, ann, "A secret")
    with database.transaction() as session:
        (prompt,) = curation.trainable_prompts(session)
        ids = prompt.message_id, prompt.conversation_id, ann
        round_id = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.claim_round(session, "trainer", 60)
        curation.save_prompts(
            session, round_id, "trainer",
            [CuratedPrompt(0, "recorded", "train", "left", "the round is full", prompt.messages, *ids),
             CuratedPrompt(1, "mix", "train", "left", "stands in", said("mixed"))],
        )  # fmt: skip
        assert [row.prompt for row in curation.round_prompts(session, round_id)] == [None, said("mixed")]
        (row,) = curation.round_prompts(session, round_id, with_words=True)
        assert row.position == 1


@pytest.mark.parametrize("how", ["deleted", "withdrawn"])
def test_what_was_forgotten_while_curation_worked_is_not_written_down_again(database: Database, how: str) -> None:
    with database.transaction() as session:
        ann = settle(session)
        round_id = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.claim_round(session, "trainer", 60)
    record(database, ann, "A secret", conversation_id="a")
    record(database, ann, "No secret", conversation_id="b")
    with database.reading() as session:
        found = list(curation.trainable_prompts(session))
    with database.transaction() as session:
        if how == "deleted":
            forget.delete_conversation(session, "a", ann)
        else:
            conversations.set_consent(session, "a", ann, "history")
    chosen = [
        CuratedPrompt(place, "recorded", "train", "kept", "", one.messages, one.message_id, one.conversation_id, ann)
        for place, one in enumerate(found)
    ]
    with database.transaction() as session:
        curation.save_prompts(session, round_id, "trainer", chosen)
        rows = curation.round_prompts(session, round_id)
        assert [(row.prompt, row.erased_at is None) for row in rows] == [(None, False), (said("No secret"), True)]


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_deletion_waits_for_curation_to_write_and_then_finds_it(database: Database, kind: str) -> None:
    with database.transaction() as session:
        ann = settle(session)
        round_id = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.claim_round(session, "trainer", 60)
    record(database, ann, "A secret", conversation_id="a")

    def delete() -> None:
        with database.transaction() as session:
            forget.delete_conversation(session, "a", ann)

    with database.transaction() as session:
        (one,) = curation.trainable_prompts(session)
        prompt = CuratedPrompt(0, "recorded", "train", "kept", "", one.messages, one.message_id, "a", ann)
        curation.save_prompts(session, round_id, "trainer", [prompt])
        other = threading.Thread(target=delete)
        other.start()
        time.sleep(0.2)
    other.join()
    with database.reading() as session:
        assert [row.prompt for row in session.scalars(select(RoundPrompt))] == [None]


def test_an_answer_is_found_without_the_other_branches_of_its_conversation(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
    for number in range(4):
        answer = record(database, ann, f"Number {number}", conversation_id="a")
    loaded: list[Any] = []
    event.listen(Message, "load", note := lambda node, _: loaded.append(node))
    try:
        with database.reading() as session:
            found = answers.find_answer(session, ann, answer)
    finally:
        event.remove(Message, "load", note)
    assert found is not None
    assert found.messages == said("Number 3", "Hello.")
    assert len(loaded) == 2


def test_all_conversations_are_read_each_once_whatever_is_said_meanwhile(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
    began = datetime(2026, 5, 1, tzinfo=UTC)
    for number in range(5):
        record(database, ann, f"Number {number}", conversation_id=f"talk-{number}", started_at=began)
    read: list[str] = []
    while True:
        with database.reading() as session:
            page = [one.id for one in conversations.all_conversations(session, ann, 2, read[-1] if read else None)]
        if not page:
            break
        read += page
        record(database, ann, "More", conversation_id="talk-1")
        record(database, ann, "More", conversation_id="talk-3")
    assert read == ["talk-4", "talk-3", "talk-2", "talk-1", "talk-0"]


def test_somebody_of_many_conversations_is_forgotten_some_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget, "SOME", 2)
    with database.transaction() as session:
        ann, bob = settle(session), settle(session, "bob")
    for number in range(3):
        record(database, ann, "Hi", conversation_id=f"talk-{number}")
    for _ in range(21):
        record(database, ann, "Hi", consent="none")
    record(database, bob, "Hi")
    parts = []
    while True:
        with database.transaction() as session:
            part = forget.delete_some(session, ann)
        if part is None:
            break
        parts.append((part[0].generations, part[1]))
    assert parts == [(2, ["talk-0", "talk-1"]), (1, ["talk-2"]), (20, []), (1, [])]
    with database.reading() as session:
        assert [one.user_id for one in session.scalars(select(Generation))] == [bob]
        assert len(session.scalars(select(Conversation).where(Conversation.deleted_at.is_(None))).all()) == 1


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_deletion_that_waits_for_a_reader_keeps_nobody_from_writing(database: Database, kind: str) -> None:
    with database.transaction() as session:
        ann = settle(session)
    record(database, ann, "A secret", conversation_id="a")
    with database.reading() as reader:
        assert len(reader.scalars(select(Message)).all()) == 2
        with database.transaction() as session:
            forget.delete_conversation(session, "a", ann)
        scrubbing = threading.Thread(target=database.scrub)
        scrubbing.start()
        time.sleep(0.1)
        began = time.monotonic()
        record(database, ann, "Something else")
        took = time.monotonic() - began
        assert scrubbing.is_alive()
    scrubbing.join()
    assert took < 5  # it waited for 10 s where the log was cut with the write lock held
    with database.engine.connect() as connection:
        log = str(connection.execute(text("PRAGMA database_list")).one()[2]) + "-wal"
    with open(log, "rb") as file:
        assert b"A secret" not in file.read()


def test_what_older_rounds_left_is_told_by_number_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curation, "LEFT_ROUNDS", 1)
    with database.transaction() as session:
        ann = settle(session)
    told = []
    for number in (1, 2):
        with database.transaction() as session:
            round_id = rounds.request_round(session, "grpo", {}, "ann").id
            rounds.claim_round(session, "trainer", 60)
            prompts = [
                CuratedPrompt(0, "recorded", "train", "kept", "eligible", said("Hi"), "m", "c", ann),
                CuratedPrompt(
                    1, "recorded", "train", "left", f"{number}00 tokens, more than 50", said("No"), "n", "c", ann
                ),
                CuratedPrompt(2, "mix", "train", "left", "stands in", said("mixed")),
            ]
            curation.save_prompts(session, round_id, "trainer", prompts)
            curation.settle_left(session, round_id)
            rounds.cancel_round(session, round_id)
            told.append(curation.funnel(session, round_id))
    with database.reading() as session:
        assert [len(curation.round_prompts(session, number)) for number in (1, 2)] == [2, 3]
        assert [curation.funnel(session, number) for number in (1, 2)] == told
        assert curation.round_prompts(session, 1, with_words=True)[1].prompt == said("mixed")  # a rebuild asks for it


def test_a_search_looks_at_its_users_messages_alone(database: Database, kind: str) -> None:
    with database.reading() as session, selected(database) as asked:
        assert search_conversations(session, "ann", "walrus") == []
    (statement,) = asked
    # SQLite takes the conversation's index as long as it is told nothing else; PostgreSQL might scan the table.
    assert ("messages.user_id =" in statement) == (kind == "postgresql")
