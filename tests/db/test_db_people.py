"""Users, keys, conversations, feedback and the audit: each to their own, and nothing that gives a key away."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from support.records import a_turn, its_end, said, settle

from db.errors import NotFound
from db.queries import audit, conversations, feedback, turns, users
from db.schema import ApiKey, Comparison
from db.session import Database


def test_a_key_is_found_by_its_plaintext_which_is_not_stored(database: Database) -> None:
    with database.transaction() as session:
        ann = users.ensure_user(session, "ann", "admin", "history")
        key, plaintext = users.create_key(session, ann.id, ["chat"])
    assert plaintext.startswith("rk-")
    assert len(plaintext) > 40
    with database.reading() as session:
        found = users.find_by_key(session, plaintext)
        assert found is not None
        assert (found[0].id, found[0].role, found[1].id, found[1].scopes) == (ann.id, "admin", key.id, ["chat"])
        assert users.find_by_key(session, plaintext + "x") is None
        assert plaintext not in repr(session.execute(select(ApiKey.__table__)).all())
        assert plaintext.startswith(users.list_keys(session, ann.id)[0].prefix)


def test_a_revoked_or_expired_key_opens_nothing(database: Database) -> None:
    with database.transaction() as session:
        ann = users.ensure_user(session, "ann")
        revoked, first = users.create_key(session, ann.id)
        _, second = users.create_key(session, ann.id, expires_at=datetime.now(UTC) - timedelta(seconds=1))
        _, third = users.create_key(session, ann.id, expires_at=datetime.now(UTC) + timedelta(hours=1))
        users.revoke_key(session, revoked.id)
        assert [users.find_by_key(session, key) is None for key in (first, second, third)] == [True, True, False]
        with pytest.raises(NotFound):
            users.revoke_key(session, "unknown")
        with pytest.raises(NotFound):
            users.create_key(session, "unknown")


def test_a_user_who_is_there_keeps_role_and_consent(database: Database) -> None:
    with database.transaction() as session:
        first = users.ensure_user(session, "ann", "admin", "train")
        assert users.ensure_user(session, "ann", "user", "none").id == first.id
        assert [(user.role, user.consent) for user in users.list_users(session)] == [("admin", "train")]
        with pytest.raises(ValueError, match="perhaps"):
            users.set_consent(session, first.id, "perhaps")


def test_conversations_are_listed_latest_first_and_only_to_their_user(database: Database) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with database.transaction() as session:
        ann, bob = settle(session), settle(session, "bob")
        for minute, name in enumerate(("a", "b", "c", "a")):
            turn = a_turn(ann, said(f"{minute}"), conversation_id=name, started_at=start + timedelta(minutes=minute))
            turns.begin_turn(session, turn)
        listed = conversations.list_conversations(session, ann, limit=2)
        assert [row.id for row in listed] == ["a", "c"]
        assert [row.id for row in conversations.list_conversations(session, ann, 2, listed[-1].updated_at)] == ["b"]
        assert conversations.list_conversations(session, bob) == []
        conversations.rename(session, "a", ann, "Dinner")
        conversations.pin(session, "a", ann, True)
        row = conversations.get_conversation(session, "a", ann)
        assert (row.title, row.pinned, row.created_at) == ("Dinner", True, start)
        assert len(conversations.generations_of(session, "a")) == 2
        with pytest.raises(NotFound):
            conversations.rename(session, "a", bob, "Mine")


def test_feedback_is_one_per_person_and_answer(database: Database) -> None:
    with database.transaction() as session:
        ann, bob = settle(session), settle(session, "bob")
        turn = a_turn(ann, said("Hi"), conversation_id="a")
        turns.record_turn(session, turn, its_end(turn))
        feedback.give_feedback(session, turn.generation_id, ann, 1)
        assert [(place, row.shown) for place, row in feedback.feedback_in(session, ["a", "b"])] == [("a", None)]
        feedback.give_feedback(session, turn.generation_id, ann, -1, ["wrong"], "No.", {"opened": True})
        rows = [row for _, row in feedback.feedback_in(session, ["a"])]
        session.expire_all()
        assert [(row.rating, row.tags, row.words) for row in rows] == [(-1, ["wrong"], "No.")]
        assert [row.shown for row in rows] == [{"opened": True}]
        with pytest.raises(NotFound):
            feedback.give_feedback(session, turn.generation_id, bob, 1)
        with pytest.raises(NotFound):
            feedback.take_back(session, turn.generation_id, bob)
        feedback.take_back(session, turn.generation_id, ann)
        assert feedback.feedback_in(session, ["a"]) == []


def test_only_answers_to_one_prompt_are_compared(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
        told = [a_turn(ann, said(words)) for words in ("Hi", "Hi", "Bye")]
        turns.record_many(session, [(turn, its_end(turn, f"{index}")) for index, turn in enumerate(told)])
        left, right, other = (turn.generation_id for turn in told)
        feedback.compare(session, ann, left, right, "tie", {"order": [1, 0]})
        assert session.scalars(select(Comparison.choice)).all() == ["tie"]
        with pytest.raises(ValueError, match="don't answer the same recorded prompt"):
            feedback.compare(session, ann, left, other, "left", {})


def test_choices_are_counted_by_checkpoint_whichever_side_it_stood_on(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
        told = [a_turn(ann, said("Hi"), model=f"ruminate-{name}", conversation_id="a") for name in ("v1", "v2", "v2")]
        turns.record_many(session, [(turn, its_end(turn, f"{index}")) for index, turn in enumerate(told)])
        old, new, again = (turn.generation_id for turn in told)
        for left, right, choice in ((old, new, "right"), (new, old, "left"), (old, new, "left"), (new, old, "tie")):
            feedback.compare(session, ann, left, right, choice, {})
        feedback.compare(session, ann, new, again, "left", {})
        assert feedback.chosen(session) == {("ruminate-v1", "ruminate-v2"): (1, 2, 1)}
        assert [place for place, _ in feedback.comparisons_in(session, ["a"])] == ["a"] * 5


def test_a_title_for_the_untitled_alone_is_refused_by_one_that_is_there(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
        turn = a_turn(ann, said("Hi"), conversation_id="a")
        turns.record_turn(session, turn, its_end(turn))
        for title in ("Greeting", "Hello"):
            conversations.rename(session, "a", ann, title, unless_titled=True)
        assert conversations.get_conversation(session, "a", ann).title == "Greeting"


def test_the_audit_tells_the_latest_first(database: Database) -> None:
    with database.transaction() as session:
        for action in ("key.create", "key.revoke"):
            audit.note(session, "ann", action, {"key": "k1"})
        assert [(row.action, row.detail) for row in audit.noted(session)] == [
            ("key.revoke", {"key": "k1"}),
            ("key.create", {"key": "k1"}),
        ]
