"""Forgetting leaves nothing that a person said, and still tells which weights had learnt from it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from support.records import a_turn, its_end, said, settle

from db.errors import NotFound, TurnRefused
from db.queries import (
    audit,
    checkpoints,
    conversations,
    curation,
    deployments,
    feedback,
    forget,
    lessons,
    rounds,
    turns,
    users,
)
from db.schema import Base, Conversation, Engine, Generation, Message, Replay, RoundPrompt, User
from db.session import Database
from db.values import CuratedPrompt, Forgotten, Turn

SECRET = "xylophone"


@pytest.fixture
def people(database: Database) -> dict[str, str]:
    """Ann and Bob, each with a conversation of two turns, one turn not kept, and all that can hang on them.

    Round 1 trained checkpoint v1 on Ann's prompts, v2 grew out of it; round 2 trained v3 on Bob's, beside v1.
    """
    with database.transaction() as session:
        ids = {name: settle(session, name) for name in ("ann", "bob")}
        for name, user_id in ids.items():
            told = []
            for words in ((SECRET,), (SECRET, "Hello.", f"more {SECRET}"), (SECRET, "Hello.", f"more {SECRET}")):
                turn = a_turn(user_id, said(*words), conversation_id=f"{name}'s", sampling={"stop": [SECRET]})
                turns.record_turn(session, turn, its_end(turn, "Hello.", reasoning=SECRET, error=SECRET))
                told.append(turn)
            turns.begin_turn(session, a_turn(user_id, said(SECRET), consent="none"))
            conversations.rename(session, f"{name}'s", user_id, SECRET)
            feedback.give_feedback(session, told[0].generation_id, user_id, 1, [SECRET], SECRET)
            feedback.compare(session, user_id, told[1].generation_id, told[2].generation_id, "left", {"note": SECRET})
            users.create_key(session, user_id)
        for name, parent in (("ann", 0), ("bob", 0)):
            learn(session, ids[name], f"{name}'s", parent)
            if name == "ann":
                checkpoints.reserve_checkpoint(session, 1)
    return ids


def learn(session: Session, user_id: str, conversation_id: str, parent: int) -> None:
    found = select(Message).where(Message.conversation_id == conversation_id, Message.role == "user")
    prompts = [
        CuratedPrompt(index, "recorded", "train", "kept", "", said(SECRET), node.id, conversation_id, user_id)
        for index, node in enumerate(session.scalars(found.order_by(Message.id)))
    ]
    prompts.append(CuratedPrompt(len(prompts), "mix", "train", "kept", "", said("from the mix")))
    round_id = rounds.request_round(session, "grpo", {}, "schedule").id
    rounds.claim_round(session, "trainer", 60)
    curation.save_prompts(session, round_id, "trainer", prompts)
    made = checkpoints.reserve_checkpoint(session, parent, round_id)
    rounds.finish_round(session, round_id, "trainer", "published", candidate=made.id)


def rows(database: Database, mark: str) -> dict[str, int]:
    """In how many rows of each table `mark` stands anywhere."""
    found: dict[str, int] = {}
    with database.reading() as session:
        for table in Base.metadata.sorted_tables:
            hits = sum(mark in repr(tuple(row)) for row in session.execute(select(table)))
            if hits:
                found[table.name] = hits
    return found


def names(checkpoints_found: list[Any]) -> list[str]:
    return [checkpoint.name for checkpoint in checkpoints_found]


def test_of_a_deleted_user_nothing_is_left_but_ids(database: Database, people: dict[str, str]) -> None:
    before = rows(database, SECRET)
    before_bob = rows(database, people["bob"])
    assert set(before) == {
        "comparisons", "conversations", "feedback", "generations", "messages", "round_prompts",
    }  # fmt: skip
    with database.transaction() as session:
        gone = forget.delete_user(session, people["ann"])
    assert gone == Forgotten(
        conversations=1, messages=4, generations=4, feedback=1, comparisons=1, keys=1, round_prompts=2
    )
    # The words that are left are Bob's, half of what there was; of Ann her row and what lineage needs.
    assert rows(database, SECRET) == {table: number // 2 for table, number in before.items()}
    assert rows(database, people["ann"]) == {"users": 1, "conversations": 1, "round_prompts": 2}
    assert rows(database, people["bob"]) == before_bob
    with database.reading() as session:
        user = session.get(User, people["ann"])
        assert user is not None
        assert (user.name, user.consent) == (f"deleted-{people['ann']}", "none")
        tomb = session.get(Conversation, "ann's")
        assert tomb is not None
        assert (tomb.title, tomb.deleted_at is not None) == (None, True)
        erased = session.scalars(select(RoundPrompt).where(RoundPrompt.user_id == people["ann"])).all()
        assert [(row.prompt, row.erased_at is not None) for row in erased] == [(None, True)] * 2
        with pytest.raises(NotFound):
            users.get_user(session, people["ann"])
    with database.transaction() as session:
        assert forget.delete_user(session, people["ann"]) == Forgotten()
        assert users.ensure_user(session, "ann").id != people["ann"]  # the name is free again


def test_data_can_go_while_the_user_stays(database: Database, people: dict[str, str]) -> None:
    with database.transaction() as session:
        assert forget.delete_user_data(session, people["ann"]).generations == 4
        assert users.get_user(session, people["ann"]).name == "ann"
    assert rows(database, people["ann"]) == {"users": 1, "conversations": 1, "round_prompts": 2, "api_keys": 1}


def test_a_deleted_conversation_takes_its_words_along(database: Database, people: dict[str, str]) -> None:
    with database.transaction() as session:
        with pytest.raises(NotFound):
            forget.delete_conversation(session, "ann's", people["bob"])
        gone = forget.delete_conversation(session, "ann's", people["ann"])
        assert (gone.conversations, gone.messages, gone.generations, gone.round_prompts) == (1, 4, 3, 2)
        with pytest.raises(NotFound):
            forget.delete_conversation(session, "ann's", people["ann"])
        assert conversations.list_conversations(session, people["ann"]) == []
        assert [prompt.user_id for prompt in curation.trainable_prompts(session)] == [people["bob"]] * 2


def test_an_opt_out_empties_what_rounds_saved_and_keeps_the_history(database: Database, people: dict[str, str]) -> None:
    with database.transaction() as session:
        users.set_consent(session, people["ann"], "history")
        erased = session.scalars(select(RoundPrompt).where(RoundPrompt.user_id == people["ann"])).all()
        assert [row.prompt for row in erased] == [None, None]
        assert len(conversations.messages_of(session, "ann's")) == 4
        assert {prompt.user_id for prompt in curation.trainable_prompts(session)} == {people["bob"]}


@pytest.mark.parametrize(
    "act",
    [
        lambda session, user_id: forget.delete_user(session, user_id),
        lambda session, user_id: forget.delete_user_data(session, user_id),
        lambda session, user_id: users.set_consent(session, user_id, "none"),
    ],
)
def test_the_checkpoints_that_learnt_from_it_are_known_before_and_after(
    database: Database, people: dict[str, str], act: Callable[[Session, str], object]
) -> None:
    with database.transaction() as session:
        asked = session.scalars(select(Message.id).where(Message.user_id == people["ann"])).all()
    for _ in range(2):
        with database.transaction() as session:
            assert names(forget.checkpoints_that_learnt_from(session, user_id=people["ann"])) == ["v1", "v2"]
            assert names(forget.checkpoints_that_learnt_from(session, conversation_id="ann's")) == ["v1", "v2"]
            assert names(forget.checkpoints_that_learnt_from(session, asked)) == ["v1", "v2"]
            assert names(forget.checkpoints_that_learnt_from(session, user_id=people["bob"])) == ["v3"]
            assert forget.checkpoints_that_learnt_from(session, ["unknown"]) == []
            act(session, people["ann"])


def late(user_id: str, **changed: Any) -> Turn:
    return a_turn(user_id, said(SECRET), started_at=datetime(2026, 1, 1, tzinfo=UTC), **changed)


def test_a_turn_that_arrives_late_brings_nothing_back(database: Database, people: dict[str, str]) -> None:
    with database.transaction() as session:
        running = late(people["ann"], conversation_id="ann's")
        turns.begin_turn(session, running)
    with database.transaction() as session:
        forget.delete_conversation(session, "ann's")
    with database.transaction() as session:
        assert not turns.complete_turn(session, its_end(running))
        with pytest.raises(TurnRefused, match='conversation "ann\'s" was deleted'):
            turns.record_turn(session, running, its_end(running))
        forget.delete_user(session, people["ann"])
        with pytest.raises(TurnRefused, match="was deleted"):
            turns.begin_turn(session, late(people["ann"]))
    with database.reading() as session:
        assert session.scalar(select(func.count()).where(Generation.user_id == people["ann"])) == 0
        assert session.scalar(select(func.count()).where(Message.user_id == people["ann"])) == 0


def test_what_was_said_before_all_of_it_was_deleted_is_refused_when_it_arrives_late(
    database: Database, people: dict[str, str]
) -> None:
    """As from the memory of a replay, the spool of another gateway, or an answer that is being written."""
    ann = people["ann"]
    late = a_turn(ann, said(SECRET), conversation_id="another")
    with database.transaction() as session:
        forget.delete_user_data(session, ann)
    bobs, anns = a_turn(people["bob"], said("a kazoo")), a_turn(ann, said("a kazoo"))
    with database.transaction() as session:
        refused = turns.record_many(session, [(one, its_end(one)) for one in (late, bobs, anns)])
    assert [one.request_id for one in refused] == [late.request_id]
    with database.reading() as session:
        assert session.get(Conversation, "another") is None
        assert session.get(Generation, anns.generation_id) is not None


def withdraw_from(session: Session, user_id: str, whose: str, consent: str | None) -> None:
    if whose == "user":
        users.set_consent(session, user_id, consent or "train")
    else:
        conversations.set_consent(session, "ann's", user_id, consent)


@pytest.mark.parametrize("way", ["record", "begin", "replay"])
@pytest.mark.parametrize("whose", ["user", "conversation"])
def test_a_turn_of_before_an_opt_out_that_arrives_later_is_not_trained_on_also_after_an_opt_in(
    database: Database, people: dict[str, str], whose: str, way: str
) -> None:
    """As from a spool, or an answer that was being written."""
    ann = people["ann"]
    early = a_turn(ann, said(f"a new {SECRET}"), conversation_id="ann's")
    with database.transaction() as session:
        withdraw_from(session, ann, whose, "history")
    with database.transaction() as session:
        withdraw_from(session, ann, whose, None)
        later = a_turn(ann, said("a kazoo"), conversation_id="ann's")
    for turn in (early, later):
        with database.transaction() as session:
            if way == "begin":
                turns.begin_turn(session, turn)
                assert turns.complete_turn(session, its_end(turn))
            elif way == "record":
                turns.record_turn(session, turn, its_end(turn))
            else:
                assert turns.record_many(session, [(turn, its_end(turn))]) == []
    with database.reading() as session:
        rows = {
            name: session.get(Generation, turn.generation_id) for name, turn in (("early", early), ("later", later))
        }
        assert {name: row and (row.consent, row.response) for name, row in rows.items()} == {
            "early": ("history", "Hello."),
            "later": ("train", "Hello."),
        }
        trained = [one.messages for one in curation.trainable_prompts(session) if one.user_id == ann]
        assert said("a kazoo") in trained
        assert said(f"a new {SECRET}") not in trained


@pytest.mark.parametrize("now", ["history", "none"])
@pytest.mark.parametrize("of_its_own", [None, "history", "train", "none"])
def test_a_turn_is_kept_as_far_as_its_user_and_conversation_allow_when_it_is_recorded(
    database: Database, people: dict[str, str], now: str, of_its_own: str | None
) -> None:
    """As one that another gateway began just after the change, of which it had not heard."""
    ann, places = people["ann"], {"ann's": of_its_own, "new": None}
    with database.transaction() as session:
        users.set_consent(session, ann, now)
        conversations.set_consent(session, "ann's", ann, of_its_own)
        asked = {place: a_turn(ann, said(f"of {place}"), conversation_id=place) for place in places}
        ends = [(turn, its_end(turn)) for turn in asked.values()]
    with database.transaction() as session:
        assert turns.record_many(session, ends) == []
    for place, own in places.items():
        allowed = "none" if (own or now) == "none" else "history"
        with database.reading() as session:
            row = session.get(Generation, asked[place].generation_id)
            assert row is not None
            assert (row.consent, bool(row.response)) == (allowed, allowed != "none"), place
            assert bool(row.prompt_message_id) == (allowed != "none")
            assert (session.get(Conversation, place) is not None) == (place == "ann's" or allowed != "none")
    assert rows(database, "of new").get("messages", 0) == (0 if now == "none" else 1)


def test_the_name_of_a_deleted_user_stands_nowhere(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session, "ann.zimmermann")
        bob = settle(session, "bob")
        for who, name, action in ((ann, "ann.zimmermann", "user.add"), (bob, "bob", "key.add")):
            audit.note(session, "operator", action, {"user": who, "name": name})
        audit.note(session, "ann.zimmermann", "prune", {"checkpoints": ["v1"]})
        asked = rounds.request_round(session, "grpo", {}, "ann.zimmermann").id
        rounds.cancel_round(session, asked, "stopped by ann.zimmermann: wrong seed")
        deployments.propose(session, 0, "ann.zimmermann", "", None)
        session.add(Replay(of_round_id=asked, by="ann.zimmermann", created_at=datetime.now(UTC)))
        session.add(Engine(url="http://e", wanted=True, by="ann.zimmermann", at=datetime.now(UTC)))
    assert set(rows(database, "zimmermann")) == {"users", "audit", "rounds", "deployments", "replays", "engines"}
    with database.transaction() as session:
        forget.delete_user(session, ann)
    assert rows(database, "zimmermann") == {}
    with database.reading() as session:
        assert rounds.get_round(session, asked).error == f"stopped by deleted-{ann}: wrong seed"
    assert rows(database, "bob") == {"users": 1, "audit": 1}


def test_a_checkpoint_learnt_from_those_whose_preferences_taught_its_reward_model(
    database: Database, people: dict[str, str]
) -> None:
    with database.transaction() as session:
        bobs = session.scalars(
            select(Message.id).where(Message.user_id == people["bob"], Message.role == "user").limit(1)
        ).one()
        lessons.save(session, 1, [bobs])  # round 1 trained on Ann's prompts alone
        lessons.save(session, 1, [bobs])
    for _ in ("before", "after"):
        with database.transaction() as session:
            found = forget.checkpoints_that_learnt_from(session, user_id=people["bob"])
            assert names(found) == ["v1", "v2", "v3"]
            found = forget.checkpoints_that_learnt_from(session, conversation_id="bob's")
            assert names(found) == ["v1", "v2", "v3"]
            forget.delete_user(session, people["bob"])
