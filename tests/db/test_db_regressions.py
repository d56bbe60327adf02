"""Answers that people keep an eye on: whose, which, and gone with their consent and their words."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from support.records import a_turn, its_end, said, settle

from db.errors import NotFound
from db.queries import conversations, forget, regressions, turns, users
from db.schema import Regression
from db.session import Database


def answer(session: Session, user: str, text: str, place: str, **end: str) -> str:
    """A turn with a whole answer; gives the generation's id."""
    consent = end.pop("consent", "train")
    turn = a_turn(user, said(text), conversation_id=place, origin="chat", consent=consent)
    turns.record_turn(session, turn, its_end(turn, f"{text}, indeed", **end))
    return turn.generation_id


def kept(session: Session) -> int:
    return session.scalars(select(func.count()).select_from(Regression)).one()


def test_what_is_kept_is_asked_again_with_its_whole_history(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session, "ann")
        first = answer(session, ann, "hello", "c")
        turn = a_turn(ann, said("hello", "hello, indeed", "more"), conversation_id="c", origin="chat")
        turns.record_turn(session, turn, its_end(turn, "much more"))
        regressions.keep(session, first, ann, "good")
        regressions.keep(session, turn.generation_id, ann, "good")
        regressions.keep(session, turn.generation_id, ann, "never")  # a second thought
        found = regressions.to_ask(session, 10, 10)
        assert [(one.id, one.kind, one.response, [m["content"] for m in one.messages]) for one in found] == [
            (first, "good", "hello, indeed", ["hello"]),
            (turn.generation_id, "never", "much more", ["hello", "hello, indeed", "more"]),
        ]
        regressions.drop(session, first, ann)
        assert [row.kind for row, _ in regressions.kept_by(session, ann)] == ["never"]
        with pytest.raises(NotFound):
            regressions.drop(session, first, ann)


def test_only_own_whole_answers_that_may_be_trained_on_can_be_kept(database: Database) -> None:
    with database.transaction() as session:
        ann, bob = settle(session, "ann"), settle(session, "bob")
        own = answer(session, ann, "hello", "c")
        for name, user in ((own, bob), ("nothing", ann)):
            with pytest.raises(NotFound):
                regressions.keep(session, name, user, "good")
        short = answer(session, ann, "cut", "d", ending="truncated_in_response")
        private = answer(session, ann, "secret", "e", consent="history")
        for name, why in ((short, "with a whole answer"), (private, "is not `train`")):
            with pytest.raises(ValueError, match=why):
                regressions.keep(session, name, ann, "good")


def test_one_user_fills_no_more_than_their_share(database: Database) -> None:
    with database.transaction() as session:
        ann, bob = settle(session, "ann"), settle(session, "bob")
        first = answer(session, bob, "bob asks", "b")
        regressions.keep(session, first, bob, "good")
        mine = [answer(session, ann, f"question {number}", f"a{number}") for number in range(6)]
        for name in mine:
            regressions.keep(session, name, ann, "never")
        assert [one.id for one in regressions.to_ask(session, 10, 3)] == [first, *mine[-3:]]
        assert [one.id for one in regressions.to_ask(session, 2, 3)] == mine[-2:]


@pytest.mark.parametrize("how", ["user", "data", "conversation", "opt-out", "conversation's opt-out"])
def test_what_is_deleted_or_withdrawn_is_kept_no_more(database: Database, how: str) -> None:
    with database.transaction() as session:
        ann, bob = settle(session, "ann"), settle(session, "bob")
        for user, place in ((ann, "a"), (bob, "b")):
            regressions.keep(session, answer(session, user, "hello", place), user, "good")
    with database.transaction() as session:
        if how == "user":
            assert forget.delete_user(session, ann).regressions == 1
        elif how == "data":
            assert forget.delete_user_data(session, ann).regressions == 1
        elif how == "conversation":
            assert forget.delete_conversation(session, "a").regressions == 1
        elif how == "opt-out":
            users.set_consent(session, ann, "history")
            users.set_consent(session, ann, "train")  # which allows later turns only
        else:
            conversations.set_consent(session, "a", ann, "history")
        assert kept(session) == 1
        assert len(regressions.to_ask(session, 10, 10)) == 1
