"""What may be trained on: what its user allows today, each history once, with nothing on its path that was withheld."""

from datetime import UTC, datetime, timedelta

import pytest
from support.records import a_turn, its_end, said, settle

from db.errors import LeaseLost, NotFound
from db.queries import conversations, curation, rounds, turns, users
from db.session import Database
from db.values import CuratedPrompt, TrainablePrompt


def record(database: Database, user_id: str, *words: str, **changed: object) -> None:
    with database.transaction() as session:
        turn = a_turn(user_id, said(*words), **changed)
        turns.record_turn(session, turn, its_end(turn))


def trainable(database: Database, since: datetime | None = None) -> list[TrainablePrompt]:
    with database.reading() as session:
        return list(curation.trainable_prompts(session, since))


def prompts(database: Database) -> list[str]:
    return [prompt.messages[-1]["content"] for prompt in trainable(database)]


@pytest.fixture
def ann(database: Database) -> str:
    with database.transaction() as session:
        return settle(session)


def test_a_prompt_is_the_path_to_the_user_s_message_without_thoughts(database: Database, ann: str) -> None:
    record(database, ann, "Hi")
    record(database, ann, "Hi", "Hello.", "Plan a dinner")
    record(database, ann, "Hi", "Hello.", "Plan a lunch")
    found = trainable(database)
    assert [prompt.messages for prompt in found] == [
        said("Hi"),
        said("Hi", "Hello.", "Plan a dinner"),
        said("Hi", "Hello.", "Plan a lunch"),
    ]
    assert {prompt.user_id for prompt in found} == {ann}
    assert len({prompt.conversation_id for prompt in found}) == 1


def test_the_same_history_comes_once_whoever_asked_it(database: Database, ann: str) -> None:
    with database.transaction() as session:
        bob = settle(session, "bob")
    for user_id, conversation_id in ((ann, "a"), (ann, "b"), (bob, "c"), (bob, None)):
        record(database, user_id, "Hi", conversation_id=conversation_id)
    record(database, bob, "Bye")
    assert prompts(database) == ["Hi", "Bye"]
    with database.reading() as session:
        assert curation.count_prompts(session) == (2, 2)


@pytest.mark.parametrize(
    "changed",
    [{"consent": "none"}, {"consent": "history"}, {"origin": "title"}, {"origin": "rollout"}, {"origin": "eval"}],
)
def test_only_what_people_asked_with_leave_to_train_is_trainable(
    database: Database, ann: str, changed: dict[str, str]
) -> None:
    record(database, ann, "Hi", **changed)
    assert prompts(database) == []
    with database.reading() as session:
        assert curation.count_prompts(session)[1] == 0


def test_a_message_given_under_a_lesser_consent_keeps_what_follows_it_out(database: Database, ann: str) -> None:
    record(database, ann, "A secret", consent="history")
    record(database, ann, "A secret", "Hello.", "Plan a dinner")
    assert prompts(database) == []
    record(database, ann, "A secret")  # asked again, with leave to train
    assert prompts(database) == ["A secret", "Plan a dinner"]


def test_a_history_that_the_client_brought_goes_with_its_turn(database: Database, ann: str) -> None:
    record(database, ann, "From elsewhere", "Indeed.", "Plan a dinner")
    assert prompts(database) == ["Plan a dinner"]


def test_an_opt_out_holds_for_what_was_said_before_it_also_after_a_later_opt_in(database: Database, ann: str) -> None:
    record(database, ann, "Hi")
    ids = [prompt.message_id for prompt in trainable(database)]
    for consent, left in (("history", set()), ("train", set())):
        with database.transaction() as session:
            users.set_consent(session, ann, consent)
            assert curation.still_trainable(session, ids) == left
        assert prompts(database) == []
    record(database, ann, "Bye")
    assert prompts(database) == ["Bye"]


def test_a_conversation_can_be_kept_out(database: Database, ann: str) -> None:
    record(database, ann, "Hi", conversation_id="a")
    record(database, ann, "Bye", conversation_id="b")
    ids = [prompt.message_id for prompt in trainable(database)]
    with database.transaction() as session:
        conversations.set_consent(session, "a", ann, "history")
        assert curation.still_trainable(session, ids) == {ids[1]}
    assert prompts(database) == ["Bye"]


def test_since_means_recorded_since_also_for_a_turn_that_lay_in_the_spool(database: Database, ann: str) -> None:
    record(database, ann, "Old")
    since = datetime.now(UTC) + timedelta(milliseconds=1)
    while datetime.now(UTC) < since:
        pass
    record(database, ann, "Replayed", started_at=since - timedelta(hours=1))
    assert [prompt.messages[0]["content"] for prompt in trainable(database, since)] == ["Replayed"]


def test_a_long_record_is_read_page_by_page(database: Database, ann: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curation, "PAGE", 3)
    for index in range(7):
        record(database, ann, f"Number {index}")
    assert prompts(database) == [f"Number {index}" for index in range(7)]
    with database.reading() as session:
        ids = [prompt.message_id for prompt in curation.trainable_prompts(session)]
        assert curation.still_trainable(session, [*ids, "unknown"]) == set(ids)
        assert curation.still_trainable(session, []) == set()


def test_a_round_s_prompts_are_kept_with_their_verdicts(database: Database, ann: str) -> None:
    record(database, ann, "Hi")
    (prompt,) = trainable(database)
    kept = CuratedPrompt(
        0, "recorded", "train", "kept", "", prompt.messages, prompt.message_id, prompt.conversation_id, ann
    )
    left = CuratedPrompt(1, "mix", "heldout", "left", "too long", said("x" * 100))
    with database.transaction() as session:
        round_id = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.claim_round(session, "trainer", 60)
        curation.save_prompts(session, round_id, "trainer", [left])
        curation.save_prompts(session, round_id, "trainer", [kept, left])  # curated anew after a resume
        with pytest.raises(LeaseLost):
            curation.save_prompts(session, round_id, "another", [])
        rows = curation.round_prompts(session, round_id)
        assert [(row.position, row.message_id, row.verdict, row.why) for row in rows] == [
            (0, prompt.message_id, "kept", ""),
            (1, None, "left", "too long"),
        ]
        assert [row.prompt for row in curation.round_prompts(session, round_id, split="train", verdict="kept")] == [
            said("Hi")
        ]


def test_the_funnel_counts_prompts_by_how_they_ended(database: Database) -> None:
    def row(position: int, verdict: str, why: str, source: str = "mix") -> CuratedPrompt:
        return CuratedPrompt(position, source, "train", verdict, why, said(f"prompt {position}"))

    with database.transaction() as session:
        round_id = rounds.request_round(session, "grpo", {}, "someone").id
        rounds.claim_round(session, "trainer", 60)
        rows = [row(0, "kept", "eligible"), row(1, "kept", "eligible"), row(2, "left", "900 tokens, more than 512")]
        rows += [row(3, "left", "513 tokens, more than 512"), row(4, "left", "513 tokens, more than 512")]
        rows += [row(5, "left", "a duplicate", "recorded")]
        curation.save_prompts(session, round_id, "trainer", rows)
    with database.reading() as session:
        assert curation.funnel(session, round_id) == [
            ("mix", "train", "left", "more than 512", 3),
            ("mix", "train", "kept", "eligible", 2),
            ("recorded", "train", "left", "a duplicate", 1),
        ]
        with pytest.raises(NotFound):
            curation.funnel(session, 99)
