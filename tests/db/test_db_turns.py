"""Turns: recorded once however often they are sent, laid into the tree, kept as far as their consent goes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from support.records import a_turn, its_end, said, settle

from db.errors import TurnRefused
from db.queries import turns
from db.queries.conversations import messages_of
from db.queries.tree import attach
from db.schema import Conversation, Generation, Message
from db.session import Database
from db.values import Completion, Turn


def count(database: Database, table: Any) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def generation(database: Database, turn: Turn) -> Generation:
    with database.reading() as session:
        return session.scalars(select(Generation).where(Generation.request_id == turn.request_id)).one()


def test_a_turn_is_recorded_with_its_checkpoint_tokens_times_ending_and_consent(database: Database) -> None:
    with database.transaction() as session:
        turn = a_turn(settle(session), said("Hi"), sampling={"temperature": 0.7}, engine="http://127.0.0.1:1")
        end = its_end(turn, first_token_at=datetime.now(UTC))
        turns.record_turn(session, turn, end)
    row = generation(database, turn)
    assert row.id == turn.generation_id
    assert (row.checkpoint_id, row.model, row.engine) == (0, "ruminate-v0", "http://127.0.0.1:1")
    assert (row.reasoning, row.response, row.ending, row.finish_reason) == (
        "They greet me.",
        "Hello.",
        "complete",
        "stop",
    )
    assert (row.prompt_tokens, row.completion_tokens, row.reasoning_tokens) == (5, 9, 4)
    assert (row.started_at, row.first_token_at, row.ended_at) == (turn.started_at, end.first_token_at, end.ended_at)
    assert (row.origin, row.consent, row.sampling, row.error) == ("api", "train", {"temperature": 0.7}, None)
    with database.reading() as session:
        asked, answered = messages_of(session, str(row.conversation_id))
    assert (asked.role, asked.content, asked.parent_id) == ("user", "Hi", None)
    assert (answered.role, answered.content, answered.parent_id) == ("assistant", "Hello.", asked.id)
    assert (row.prompt_message_id, row.message_id) == (asked.id, answered.id)


def test_begun_and_completed_is_the_same_as_recorded_at_once(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
        turn, other = a_turn(ann, said("Hi")), a_turn(ann, said("Bye"))
        turns.begin_turn(session, turn)
    running = generation(database, turn)
    assert (running.message_id, running.ending, running.response, running.ended_at) == (None, None, None, None)
    with database.transaction() as session:
        assert turns.complete_turn(session, its_end(turn))
        turns.record_turn(session, other, its_end(other))
    first, second = generation(database, turn), generation(database, other)
    differing = {"id", "request_id", "message_id", "prompt_message_id", "conversation_id", "started_at", "ended_at"}
    for column in set(Generation.__table__.columns.keys()) - differing:
        assert getattr(first, column) == getattr(second, column), column
    assert first.message_id is not None


def test_a_turn_sent_again_stays_one(database: Database) -> None:
    with database.transaction() as session:
        turn = a_turn(settle(session), said("Hi"))
        turns.begin_turn(session, turn)
        turns.begin_turn(session, turn)
    for _ in range(2):
        with database.transaction() as session:
            turns.record_turn(session, turn, its_end(turn))  # as a replayed spool does
            assert turns.complete_turn(session, its_end(turn, "Something else."))
    with database.transaction() as session:
        assert turns.record_many(session, [(turn, its_end(turn)), (turn, its_end(turn))]) == []
    assert (count(database, Generation), count(database, Message), count(database, Conversation)) == (1, 2, 1)
    assert generation(database, turn).response == "Hello."


def test_the_end_of_an_unknown_turn_is_reported(database: Database) -> None:
    with database.transaction() as session:
        turn = a_turn(settle(session), said("Hi"))
        assert turns.complete_many(session, [its_end(turn)]) == [turn.request_id]
        assert not turns.complete_turn(session, its_end(turn))


def test_without_consent_only_that_it_took_place_is_kept(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
        secret = a_turn(ann, said("my secret"), consent="none", sampling={"stop": ["secret"]}, conversation_id="c")
        turns.record_turn(session, secret, its_end(secret, "a secret", error="secret prompt too long"))
        begun = a_turn(ann, said("my secret"), consent="none", sampling={"stop": ["secret"]})
        turns.begin_turn(session, begun)
        turns.complete_turn(session, its_end(begun, "a secret", error="secret"))
    assert (count(database, Message), count(database, Conversation)) == (0, 0)
    for turn in (secret, begun):
        row = generation(database, turn)
        assert "secret" not in repr(vars(row))
        assert (row.reasoning, row.conversation_id, row.ending, row.completion_tokens) == (None, None, "complete", 9)


def test_a_history_goes_on_in_its_conversation_and_an_edit_branches(database: Database) -> None:
    first = said("Hi", "Hello.", "Tell me more")
    with database.transaction() as session:
        ann = settle(session)
        told = [
            a_turn(ann, said("Hi")),
            a_turn(ann, first),  # goes on
            a_turn(ann, said("Hi", "Hello.", "Tell me less")),  # edits the last message
            a_turn(ann, first),  # is generated anew
        ]
        for turn, answer in zip(told, ("Hello.", "More.", "Less.", "Even more."), strict=True):
            turns.record_turn(session, turn, its_end(turn, answer))
        conversation = session.scalars(select(Conversation)).one()
        tree = messages_of(session, conversation.id)
        assert attach(session, ann, [*first, *said("x", "Even more.")[1:]]) == conversation.id
        assert attach(session, ann, said("Something else")) is None
    by_content = {node.content: node for node in tree}
    assert len(tree) == len(by_content) == 7
    parents = {node.content: next((up.content for up in tree if up.id == node.parent_id), None) for node in tree}
    assert parents == {
        "Hi": None,
        "Hello.": "Hi",
        "Tell me more": "Hello.",
        "More.": "Tell me more",
        "Tell me less": "Hello.",
        "Less.": "Tell me less",
        "Even more.": "Tell me more",
    }


def test_what_clients_vary_without_meaning_it_finds_the_same_messages(database: Database) -> None:
    sent_back = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": " Hello.\n", "reasoning": "a thought", "tool_calls": None, "refusal": None},
        {"role": "user", "content": "And now?"},
    ]
    with database.transaction() as session:
        ann = settle(session)
        for history in (said("Hi"), sent_back):
            turn = a_turn(ann, history)
            turns.record_turn(session, turn, its_end(turn))
    assert (count(database, Conversation), count(database, Message)) == (1, 4)


def test_tool_calls_are_part_of_the_history(database: Database) -> None:
    calls = [{"id": "call-1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}]
    with database.transaction() as session:
        ann = settle(session)
        turn = a_turn(ann, said("What time is it?"))
        turns.record_turn(session, turn, its_end(turn, "", tool_calls=calls))
        called = {"role": "assistant", "content": None, "tool_calls": calls}
        result = {"role": "tool", "content": "12:00", "tool_call_id": "call-1"}
        turn = a_turn(ann, [*said("What time is it?"), called, result])
        turns.record_turn(session, turn, its_end(turn, "Noon."))
        tree = messages_of(session, session.scalars(select(Conversation)).one().id)
    assert [(node.role, node.extra) for node in tree] == [
        ("user", None),
        ("assistant", {"tool_calls": calls}),
        ("tool", {"tool_call_id": "call-1"}),
        ("assistant", None),
    ]


def test_a_common_system_prompt_makes_no_common_conversation(database: Database) -> None:
    system = {"role": "system", "content": "Be brief."}
    with database.transaction() as session:
        ann = settle(session)
        for words in ("One", "Two"):
            turn = a_turn(ann, [system, *said(words)])
            turns.record_turn(session, turn, its_end(turn))
    assert (count(database, Conversation), count(database, Message)) == (2, 6)


def test_equal_histories_of_two_users_stay_apart(database: Database) -> None:
    with database.transaction() as session:
        for name in ("ann", "bob"):
            turn = a_turn(settle(session, name), said("Hi"))
            turns.record_turn(session, turn, its_end(turn))
        assert session.scalar(select(func.count(Conversation.user_id.distinct()))) == 2


def test_a_conversation_can_be_given_before_it_exists_but_not_taken_from_another_user(database: Database) -> None:
    with database.transaction() as session:
        ann, bob = settle(session), settle(session, "bob")
        turns.begin_turn(session, a_turn(ann, said("Hi"), conversation_id="mine"))
        with pytest.raises(TurnRefused, match="conversation 'mine' is not this user's"):
            turns.begin_turn(session, a_turn(bob, said("Hi"), conversation_id="mine"))
        assert session.scalars(select(Conversation.user_id)).all() == [ann]


def test_one_refused_turn_holds_up_no_other_of_its_batch(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
        good = a_turn(ann, said("Hi"))
        bad: dict[str, Turn] = {
            "unknown or was deleted": a_turn("nobody", said("Hi")),
            "has no messages": a_turn(ann, []),
            "no object with a role": a_turn(ann, [{"content": "Hi"}]),
            "not JSON compliant": a_turn(ann, said("Hi"), sampling={"temperature": float("nan")}),
        }
        refused = turns.record_many(session, [(turn, its_end(turn)) for turn in (*bad.values(), good)])
    reasons = {left.request_id: left.why for left in refused}
    assert len(reasons) == len(bad)
    for why, turn in bad.items():
        assert why in reasons[turn.request_id]
    assert generation(database, good).response == "Hello."


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "日本語 🎉", "'; DROP TABLE messages; --", "%s :name ?"])
def test_any_text_that_json_can_carry_is_recorded(database: Database, text: str) -> None:
    with database.transaction() as session:
        turn = a_turn(settle(session), said(text), request_id=f"request {text}", sampling={"stop": [text]})
        for _ in range(2):
            turns.record_turn(session, turn, its_end(turn, text, reasoning=text, error=text))
    assert (count(database, Message), count(database, Generation)) == (2, 1)
    with database.reading() as session:
        assert session.scalars(select(Message.content).where(Message.role == "user")).one() == text
        expected = text.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
        assert session.scalars(select(Generation.response)).one() == expected


def test_unfinished_turns_are_called_interrupted_and_a_late_end_still_counts(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
        lost, others, young = (a_turn(ann, said("Hi"), gateway=name) for name in ("one", "two", "one"))
        turns.begin_many(session, [lost, others])
        start = datetime.now(UTC) + timedelta(seconds=1)
        turns.begin_many(
            session, [a_turn(ann, said("Hi"), started_at=start, request_id=young.request_id, gateway="one")]
        )
    with database.transaction() as session:
        assert turns.interrupt_unfinished(session, start, "one") == 1
    assert [generation(database, turn).ending for turn in (lost, others, young)] == ["interrupted", None, None]
    with database.transaction() as session:
        assert turns.interrupt_unfinished(session, start) == 1
        assert turns.complete_turn(session, its_end(lost))
    assert (generation(database, lost).ending, generation(database, lost).response) == ("complete", "Hello.")


@pytest.mark.parametrize(("ending", "answers"), [("error", 0), ("interrupted", 0), ("truncated_thought", 1)])
def test_an_answer_without_words_is_a_message_only_if_it_ended_by_itself(
    database: Database, ending: str, answers: int
) -> None:
    with database.transaction() as session:
        turn = a_turn(settle(session), said("Hi"))
        turns.record_turn(session, turn, its_end(turn, "", ending=ending))
    assert count(database, Message) == 1 + answers


def test_a_turn_of_another_request_is_not_paired(database: Database) -> None:
    with database.transaction() as session:
        one, other = (a_turn(settle(session), said("Hi")) for _ in range(2))
        with pytest.raises(ValueError, match="was paired with the end of"):
            turns.record_many(session, [(one, its_end(other))])


def test_a_batch_takes_few_statements_however_long_it_is(database: Database) -> None:
    from sqlalchemy import event

    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with database.transaction() as session:
        ann = settle(session)
    for length in (1, 300):
        pairs: list[tuple[Turn, Completion]] = []
        for index in range(length):
            turn = a_turn(ann, said(f"{length} {index}"))
            pairs.append((turn, its_end(turn)))
        with database.transaction() as session:
            statements.clear()
            assert turns.record_many(session, pairs) == []
            assert len(statements) <= 11, statements
