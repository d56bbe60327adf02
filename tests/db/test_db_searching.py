"""Conversations are found by words of titles and messages: in any case, script and branch, by their owner alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session
from support.records import a_turn, its_end, said, settle

from db.queries import conversations, forget, searching, turns
from db.queries.searching import search_conversations
from db.session import Database

BEGAN = datetime(2026, 5, 1, tzinfo=UTC)


def talk(session: Session, user: str, name: str, *messages: Any, hour: int = 0, response: str = "I see.") -> None:
    told = said(*messages) if isinstance(messages[0], str) else [{"role": "user", "content": messages[0]}]
    at = BEGAN + timedelta(hours=hour)
    turn = a_turn(user, told, conversation_id=name, started_at=at)
    turns.record_turn(session, turn, its_end(turn, response=response, ended_at=at + timedelta(seconds=1)))


def found(database: Database, user: str, words: str, **page: Any) -> list[tuple[str, str | None]]:
    with database.reading() as session:
        return [(one.conversation.id, one.excerpt) for one in search_conversations(session, user, words, **page)]


def test_words_are_found_in_titles_questions_answers_and_parts_the_latest_first(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
        talk(session, ann, "asked", "Where does the walrus live?", hour=1)
        talk(session, ann, "answered", "Who swims there?", response="The\nWALRUS of course.", hour=2)
        parts = [{"type": "text", "text": "a walrus?"}, {"type": "image_url", "image_url": {"url": "data:walruses"}}]
        talk(session, ann, "shown", parts, hour=3)
        talk(session, ann, "titled", "Of something else", hour=4)
        talk(session, ann, "other", "Nothing of the kind", hour=5)
        conversations.rename(session, "titled", ann, "My Walrus")
    assert found(database, ann, "walrus") == [
        ("titled", None),
        ("shown", "a walrus?"),
        ("answered", "The WALRUS of course."),
        ("asked", "Where does the walrus live?"),
    ]
    assert found(database, ann, " the  walrus ") == [
        ("answered", "The WALRUS of course."),
        ("asked", "Where does the walrus live?"),
    ]
    assert found(database, ann, "walruses") == []  # an image is no words
    assert found(database, ann, "image_url") == []
    assert found(database, ann, "  ") == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('they say "50 % off"', '"50 % OFF"'),
        ("a_b\\c", "A_B\\C"),
        ("ЧЕРЕМША й мед", "черемша"),
        ("Ärger im Verzug", "ärGER"),
        ("日本語の質問", "本語"),
        ("naïve \ud800 surrogate", "NAÏVE"),  # what no database keeps as it is
        ("a zero\x00byte", "ZERO"),
    ],
)
def test_words_are_taken_as_they_are_and_in_any_case(database: Database, text: str, wanted: str) -> None:
    with database.transaction() as session:
        ann = settle(session)
        talk(session, ann, "this", f"Well, {text}.")
        talk(session, ann, "other", "5000 of aXb/c", hour=1)
    assert [name for name, _ in found(database, ann, wanted)] == ["this"]


def test_nobody_finds_anothers_conversation_or_a_deleted_one(database: Database) -> None:
    with database.transaction() as session:
        ann, bob = settle(session), settle(session, "bob")
        talk(session, ann, "anns", "a secret of mine")
        talk(session, ann, "gone", "a secret that is gone")
        talk(session, bob, "bobs", "a secret of his")
        forget.delete_conversation(session, "gone", ann)
    assert [name for name, _ in found(database, ann, "secret")] == ["anns"]
    assert [name for name, _ in found(database, bob, "secret")] == ["bobs"]


def test_pages_go_on_until_there_is_nothing_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "CHUNK", 3)
    with database.transaction() as session:
        ann = settle(session)
        for hour in range(10):
            parts = [{"type": "text", "text": "xyz" if hour % 2 else "abc"}, {"type": "image_url", "url": "xyz"}]
            talk(session, ann, f"talk-{hour}", parts, hour=hour)
    assert [name for name, _ in found(database, ann, "xyz", limit=3)] == ["talk-9", "talk-7", "talk-5"]
    before = BEGAN + timedelta(hours=5, seconds=1)
    assert [name for name, _ in found(database, ann, "xyz", limit=3, before=before)] == ["talk-3", "talk-1"]


def test_an_excerpt_is_short_and_of_the_newest_message(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
        talk(session, ann, "long", "pear " * 500, "fine", "x " * 500 + "pear" + " y" * 500)
    ((_, excerpt),) = found(database, ann, "pear")
    assert excerpt is not None
    assert (excerpt[:4], excerpt[-4:]) == ("…x x", "y y…")
    assert len(excerpt) < 2 * searching.AROUND + 10
