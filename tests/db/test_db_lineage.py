"""What went into a checkpoint, who it learnt from, and which files it may give up, on every database."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from support.records import a_turn, its_end, said, settle

from db.errors import NotFound
from db.queries import checkpoints, conversations, curation, deployments, lineage, retention, rounds, turns
from db.queries.common import utcnow
from db.schema import EngineState, Message
from db.session import Database
from db.values import CuratedPrompt


def learn(database: Database, user_id: str, conversation_id: str, parent: int, steps: int) -> str:
    """A published checkpoint of a round that trained on one prompt of this user and one of the mix."""
    with database.transaction() as session:
        round_id = rounds.request_round(session, "grpo", {}, "schedule").id
        rounds.claim_round(session, "trainer", 60)
        prompts = [
            CuratedPrompt(0, "recorded", "train", "kept", "", said("hi"), "m", conversation_id, user_id),
            CuratedPrompt(1, "recorded", "heldout", "kept", "", said("no"), "n", "another", "somebody"),
            CuratedPrompt(2, "mix", "train", "kept", "", said("mixed")),
        ]
        curation.save_prompts(session, round_id, "trainer", prompts)
        rounds.add_metrics(session, round_id, 1, {"kl": float("nan"), "reward": 1.0}, owner="trainer")
        rounds.add_metrics(session, round_id, 9, {"reward": 2.0}, owner="trainer")
        row = checkpoints.reserve_checkpoint(session, parent, round_id)
        checkpoints.complete_checkpoint(session, row.id, f"/files/{row.name}", {"config": {"steps": steps, "seed": 1}})
        checkpoints.set_state(session, row.id, "published")
        rounds.finish_round(session, round_id, "trainer", "published", candidate=row.id)
        return row.name


def test_a_story_counts_what_was_trained_on_and_names_what_changed(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session, "ann")
    learn(database, ann, "c1", 0, steps=5)
    learn(database, ann, "c1", 1, steps=7)
    with database.reading() as session:
        told = lineage.story(session, "v2")
        assert [one.name for one in told.line] == ["v2", "v1", "v0"]
        assert told.changed == {"steps": (5, 7)}
        assert told.prompts == {"mix": 1, "recorded": 1, "erased": 0}
        assert told.metrics["reward"] == (1.0, 2.0)
        with pytest.raises(NotFound):
            lineage.story(session, "v9")


def test_the_last_clean_checkpoint_grew_out_of_none_that_learnt(database: Database) -> None:
    with database.transaction() as session:
        ann, bob = settle(session, "ann"), settle(session, "bob")
    learn(database, bob, "bob's", 0, steps=1)  # v1
    learn(database, ann, "ann's", 1, steps=1)  # v2
    learn(database, bob, "bob's", 2, steps=1)  # v3, out of v2
    with database.reading() as session:
        found = lineage.learnt(session, user_id=ann)
        assert ([one.name for one in found.checkpoints], found.last_clean.name) == (["v2", "v3"], "v1")
        assert lineage.learnt(session, conversation_id="bob's").last_clean.name == "v0"
        assert lineage.learnt(session, user_id="nobody").last_clean.name == "v3"
        assert lineage.whose(session, "ann", None) == lineage.whose(session, ann, None) == (ann, None)
        with pytest.raises(ValueError, match="one user or one conversation"):
            lineage.whose(session, None, None)


def test_a_conversation_tells_what_each_round_made_of_its_prompts(database: Database) -> None:
    with database.transaction() as session:
        ann, bob = settle(session, "ann"), settle(session, "bob")
        first, later = said("a soup?"), said("a soup?", "Leek.", "and then?")
        made = [a_turn(ann, one, conversation_id="c1") for one in (first, later)]
        for turn in made:
            turns.record_turn(session, turn, its_end(turn, "Leek."))
        asked = select(Message.id).where(Message.role == "user").order_by(Message.id)
        opening, after = session.scalars(asked).all()
    with database.reading() as session:
        unseen = lineage.uses(session, "c1", ann)
    assert (unseen.own, unseen.grown, unseen.open_round, unseen.may_train) == ([], [], None, True)
    assert set(unseen.prompts.values()) == {0}
    with database.transaction() as session:
        round_id = rounds.request_round(session, "grpo", {}, "schedule").id
        rounds.claim_round(session, "trainer", 60)
        prompts = [
            CuratedPrompt(0, "recorded", "heldout", "kept", "held out for good", first, opening, "c1", ann),
            CuratedPrompt(1, "recorded", "train", "left", "a duplicate", later, after, "c1", ann),
        ]
        curation.save_prompts(session, round_id, "trainer", prompts)
        looked_at = lineage.uses(session, "c1", ann)
        assert looked_at.prompts == {"trained": 0, "heldout": 1, "left": 1}
        assert looked_at.open_round is None, "it is open, and trains on none of it"
        again = [prompts[0], CuratedPrompt(1, "recorded", "train", "kept", "eligible", later, after, "c1", ann)]
        curation.save_prompts(session, round_id, "trainer", again)
        assert lineage.uses(session, "c1", ann).open_round == round_id
        rounds.finish_round(session, round_id, "trainer", "failed")
        assert lineage.uses(session, "c1", ann).open_round is None
    learn(database, ann, "c1", 0, steps=1)  # v1
    learn(database, bob, "c2", 1, steps=1)  # v2, out of v1
    with database.transaction() as session:
        conversations.set_consent(session, "c1", ann, "history")
    with database.reading() as session:
        found = lineage.uses(session, "c1", None)
        assert ([one.name for one in found.own], [one.name for one in found.grown]) == (["v1"], ["v2"])
        assert not found.may_train
        for somebody, conversation in ((bob, "c1"), (ann, "c9")):
            with pytest.raises(NotFound):
                lineage.uses(session, conversation, somebody)


def test_files_are_given_up_by_the_oldest_that_nobody_needs(database: Database) -> None:
    with database.transaction() as session:
        settle(session)
        for _ in range(8):
            row = checkpoints.reserve_checkpoint(session, 0)
            checkpoints.complete_checkpoint(session, row.id, f"/files/{row.name}", {})
            checkpoints.set_state(session, row.id, "published")
        first = deployments.propose(session, 1, "me", "", None)
        deployments.propose(session, 2, "me", "", first.id, canary_id=3, canary_share=0.1)
        for name in ("ruminate-v4", "ruminate-v5"):
            deployments.observe(session, "engine", name, "loaded")
        old = utcnow() - timedelta(days=8)  # an engine that is gone by now
        session.execute(update(EngineState).where(EngineState.checkpoint_name == "ruminate-v5").values(observed_at=old))
        checkpoints.set_state(session, 6, "candidate")
        assert retention.release(session, keep=1, used=set()) == [("v7", "/files/v7"), ("v5", "/files/v5")]
        assert retention.release(session, keep=1, used=set()) == []
        assert retention.without_files(session) == ["v5", "v7"]
        assert checkpoints.get_checkpoint(session, 5).state == "retired"
