"""A rebuild as rows: what is rejected, which rounds are done again in what order, and what nobody starts meanwhile."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.orm import Session
from support.records import said, settle

from db.queries import checkpoints, curation, deployments, forget, replays, rounds
from db.schema import Checkpoint
from db.session import Database
from db.values import CuratedPrompt

CONFIG = {"steps": 3, "seed": 11, "algorithm": "grpo"}


def learn(session: Session, users: Sequence[str], *, publish: bool = True, **config: Any) -> int:
    """A round on live's checkpoint with a prompt of each user; gives its id. Its checkpoint is made live."""
    made = rounds.request_round(session, "grpo", {}, "schedule", seed=5)
    rounds.claim_round(session, "trainer", 60)
    return train(session, made.id, users, publish=publish, **config)


def train(session: Session, round_id: int, users: Sequence[str], *, publish: bool = True, **config: Any) -> int:
    prompts = [
        CuratedPrompt(place, "recorded", "train", "kept", "", said("hi"), f"m{round_id}-{place}", f"{user}'s", user)
        for place, user in enumerate(users)
    ]
    wanted = deployments.current(session)
    assert wanted is not None
    live = wanted.live_checkpoint_id
    rounds.save_progress(session, round_id, "trainer", "train", 1, parent_id=live)
    curation.save_prompts(session, round_id, "trainer", prompts)
    row = checkpoints.reserve_checkpoint(session, live, round_id)
    checkpoints.complete_checkpoint(session, row.id, f"/checkpoints/{row.name}", {"config": CONFIG | config})
    checkpoints.set_state(session, row.id, "published" if publish else "rejected")
    if publish:
        deployments.propose(session, row.id, "trainer", "passed", wanted.id)
    rounds.finish_round(session, round_id, "trainer", "published" if publish else "rejected", candidate=row.id)
    return round_id


def found(session: Session, name: str) -> Checkpoint:
    row = checkpoints.find_checkpoint(session, name)
    assert row is not None
    return row


def make_live(session: Session, checkpoint: Checkpoint) -> None:
    wanted = deployments.current(session)
    assert wanted is not None
    deployments.propose(session, checkpoint.id, "gateway", "taken back", wanted.id)


def next_round(session: Session) -> int | None:
    """What a trainer does when it looks for work."""
    replays.ask_next(session)
    row = rounds.claim_round(session, "trainer", 60)
    return None if row is None else row.id


@pytest.fixture
def line(database: Database) -> Database:
    """v1 (round 1, bob), v2 (round 2, ann and bob), v3 (round 3, bob), v4 (round 4, ann, rejected); v3 is live."""
    with database.transaction() as session:
        settle(session)
        deployments.propose(session, 0, "gateway", "the base", None)
        learn(session, ["bob"])
        learn(session, ["ann", "bob"], steps=7)
        learn(session, ["bob"])
        learn(session, ["ann"], publish=False)
    return database


def test_all_that_learnt_is_rejected_and_the_rounds_of_lives_line_are_done_again(line: Database) -> None:
    with line.transaction() as session:
        plan = replays.plan(session, "root", user_id="ann")
        assert (plan.clean.name, plan.taken_back, plan.cancelled) == ("v1", True, None)
        assert [one.name for one in plan.rejected] == ["v2", "v3", "v4"]
        assert plan.rounds == [2, 3]  # 4 came to nothing: its recipe is in no checkpoint that was live
        states = {one.name: one.state for one in checkpoints.list_checkpoints(session)}
        assert states == {"v0": "published", "v1": "published", "v2": "rejected", "v3": "rejected", "v4": "rejected"}
    with line.reading() as session:
        assert replays.clean_ancestor(session, 3).name == "v1"


def test_nothing_starts_from_a_rejected_checkpoint_and_then_round_after_round_is_asked_for(line: Database) -> None:
    with line.transaction() as session:
        replays.plan(session, "root", user_id="ann")
        assert next_round(session) is None  # it waits: live is still the one that is to go
        make_live(session, found(session, "v1"))
    with line.transaction() as session:
        assert next_round(session) == 5
        row = rounds.get_round(session, 5)
        assert (row.seed, row.config, row.trigger, row.requested_by) == (
            11, {"steps": 7, "algorithm": "grpo"}, "rebuild", "root",
        )  # fmt: skip
        assert row.reason == "round 2 again, without what was forgotten; 1 more to do"
        assert replays.repeated(session, 5) == 2
        assert next_round(session) is None  # one is open
        train(session, 5, ["bob"])
    with line.transaction() as session:
        assert next_round(session) == 6
        assert replays.repeated(session, 6) == 3
        train(session, 6, ["bob"])
        assert next_round(session) is None
        names = [one.name for one in checkpoints.lineage(session, checkpoints.list_checkpoints(session)[-1].id)]
        assert names == ["v6", "v5", "v1", "v0"]
        assert forget.checkpoints_that_learnt_from(session, user_id="ann")[-1].name == "v4"


def test_doing_it_twice_is_doing_it_once(line: Database) -> None:
    with line.transaction() as session:
        first = replays.plan(session, "root", user_id="ann")
        again = replays.plan(session, "root", user_id="ann")
        assert (first.rounds, first.clean) == (again.rounds, again.clean)
        make_live(session, found(session, "v1"))
        after = replays.plan(session, "root", user_id="ann")
        assert (after.clean.name, after.taken_back, after.rounds) == ("v1", False, [2, 3])
        assert len(replays.left(session)) == 2


def test_a_pruned_clean_checkpoint_is_made_again_as_well(line: Database) -> None:
    with line.transaction() as session:
        found(session, "v1").path = None
        plan = replays.plan(session, "root", user_id="ann")
        assert (plan.clean.name, plan.rounds) == ("v0", [1, 2, 3])


def test_a_second_forgetting_in_the_middle_of_the_first_puts_everything_in_its_order(line: Database) -> None:
    """Bob's prompts are in round 5, which did round 2 again, and in round 6, which is doing round 3 again."""
    with line.transaction() as session:
        replays.plan(session, "root", user_id="ann")
        make_live(session, found(session, "v1"))
        assert next_round(session) == 5
        train(session, 5, ["bob", "eve"])
        assert next_round(session) == 6
        rounds.save_progress(session, 6, "trainer", "train", 1, parent_id=found(session, "v5").id)
        plan = replays.plan(session, "root", user_id="bob")
        assert (plan.clean.name, plan.cancelled) == ("v0", 6)
        assert plan.rounds == [1, 5, 3]
        assert rounds.get_round(session, 6).state == "cancelled"


def test_an_open_round_goes_on_unless_it_learnt_from_what_is_forgotten(line: Database) -> None:
    with line.transaction() as session:
        rounds.request_round(session, "grpo", {}, "schedule")
        assert replays.plan(session, "root", user_id="nobody").cancelled is None
        rounds.claim_round(session, "trainer", 60)
        rounds.save_progress(session, 5, "trainer", "train", 1, parent_id=0)
        assert replays.plan(session, "root", user_id="eve").cancelled is None
        prompt = CuratedPrompt(0, "recorded", "train", "kept", "", said("hi"), "m", "eve's", "eve")
        curation.save_prompts(session, 5, "trainer", [prompt])
        plan = replays.plan(session, "root", conversation_id="eve's")
        assert (plan.cancelled, plan.rejected, plan.rounds, plan.clean.name) == (5, [], [], "v3")


def test_what_is_left_can_be_given_up(line: Database) -> None:
    with line.transaction() as session:
        replays.plan(session, "root", user_id="ann")
        assert replays.give_up(session) == [2, 3]
        make_live(session, found(session, "v1"))
        assert next_round(session) is None


@pytest.mark.parametrize("phase", ["curate", "train", "publish"])
def test_a_plain_forgetting_cancels_the_round_that_has_trained_on_it_and_only_that(line: Database, phase: str) -> None:
    with line.transaction() as session:
        asked = rounds.request_round(session, "grpo", {}, "schedule").id
        rounds.claim_round(session, "trainer", 60)
        rounds.save_progress(session, asked, "trainer", phase, 0 if phase == "curate" else 2, parent_id=0)
        prompt = CuratedPrompt(0, "recorded", "train", "kept", "", said("hi"), "m", "eve's", "eve")
        curation.save_prompts(session, asked, "trainer", [prompt])
        made = checkpoints.reserve_checkpoint(session, 0, asked)
        assert replays.abort(session, "ann", user_id="somebody else") is None
        assert replays.abort(session, "ann", user_id="eve") == (None if phase == "curate" else asked)
    with line.transaction() as session:
        row = rounds.get_round(session, asked)
        assert (row.state, found(session, made.name).state) == (
            ("running", "candidate") if phase == "curate" else ("cancelled", "rejected")
        )
        assert rounds.heartbeat(session, asked, "trainer", 60) == (phase == "curate")


def test_a_round_of_a_rebuild_that_a_plain_forgetting_cancels_is_done_once_more_first(line: Database) -> None:
    with line.transaction() as session:
        plan = replays.plan(session, "ann", user_id="bob")
        make_live(session, plan.clean)
    with line.transaction() as session:
        begun = next_round(session)
        assert begun is not None
        rounds.save_progress(session, begun, "trainer", "train", 1, parent_id=plan.clean.id)
        prompt = CuratedPrompt(0, "recorded", "train", "kept", "", said("hi"), "m", "eve's", "eve")
        curation.save_prompts(session, begun, "trainer", [prompt])
        assert replays.abort(session, "ann", user_id="eve") == begun
        assert [one.of_round_id for one in replays.left(session)] == plan.rounds
