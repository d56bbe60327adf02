"""After a forgetting the later rounds are done again by the trainer, one by one, without what was forgotten."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from support.tiny_policy import prompt

from db.queries import checkpoints, curation, deployments, forget, regressions, replays, turns, users
from db.schema import Base
from db.values import Completion, Turn
from trainer.loop import FAILED, PUBLISHED, REJECTED, claim, work_on

CONFIG = {"steps": 3, "prompts_per_step": 2, "group_size": 4, "micro_batch": 8, "heldout_share": 0.0}
ASKED = {"ann": range(210, 213), "bob": range(213, 216)}


@pytest.fixture
def taught(site):
    """Two rounds trained on what Ann and Bob asked; both keep an eye on an answer; v2 is live. Gives their ids."""
    now, ids = datetime.now(UTC), {}
    with site.database.transaction() as session:
        for name, numbers in ASKED.items():
            ids[name] = users.ensure_user(session, name, consent="train").id
            for number in numbers:
                turn = Turn(
                    f"r-{number}", f"g-{number}", ids[name], prompt(number), 0, "ruminate-v0", now,
                    origin="chat", consent="train",
                )  # fmt: skip
                turns.record_turn(session, turn, Completion(turn.request_id, "plan", "red cat", "complete", now))
            regressions.keep(session, f"g-{numbers[0]}", ids[name], "good")
    house = site.open()
    for round_id in (1, 2):
        assert site.request(**CONFIG, seed=round_id) == round_id
        assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
        serve(site, f"v{round_id}")
    return ids


def serve(site, name):
    """As the gateway: load it, and make it live if the gate did not."""
    with site.database.transaction() as session:
        row = checkpoints.find_checkpoint(session, name)
        now = deployments.current(session)
        if now.live_checkpoint_id != row.id:
            deployments.propose(session, row.id, "test", "for the test", now.id)
            checkpoints.set_state(session, row.id, "published")
    if row.path:
        site.gateway.answer(
            "POST", "/internal/adapters", {"name": f"ruminate-{name}", "path": row.path}, "Bearer service"
        )


def forgotten(site, user_id):
    """As the gateway, without the request."""
    with site.database.transaction() as session:
        forget.delete_user(session, user_id)
        plan = replays.plan(session, "root", user_id=user_id)
    site.database.scrub()
    return plan


def trained_on(site, round_id):
    with site.database.reading() as session:
        return [row.prompt for row in curation.round_prompts(session, round_id, split="train", verdict="kept")]


def holding(site, words):
    """The rows of all tables and the files of the home that hold any of the words."""
    with site.database.reading() as session:
        rows = [
            table.name
            for table in Base.metadata.sorted_tables
            for row in session.execute(select(table))
            if any(word in repr(tuple(row)) for word in words)
        ]
    files = [path for path in site.settings.home.rglob("*") if path.is_file()]
    return rows + [path.name for path in files if any(word.encode() in path.read_bytes() for word in words)]


def test_later_rounds_are_done_again_without_the_forgotten_by_whichever_trainer_is_there(site, taught):
    anns = [prompt(number)[0]["content"] for number in ASKED["ann"]]
    bobs = [prompt(number) for number in ASKED["bob"]]
    assert holding(site, anns)
    before = {one.name: one.manifest["config"] for one in (site.checkpoint(1), site.checkpoint(2))}
    plan = forgotten(site, taught["ann"])
    assert (plan.clean.name, [one.name for one in plan.rejected], plan.rounds) == ("v0", ["v1", "v2"], [1, 2])
    assert holding(site, anns) == []

    early = site.open(lease_seconds=0.0)
    assert claim(early) is None  # live still is what learnt from her
    serve(site, "v0")
    first = claim(early)
    assert first.id == 3  # and here its trainer is killed, before it did anything
    late = site.open()
    late.owner = "another"
    row = claim(late)
    assert (row.id, row.attempts) == (3, 2)
    assert work_on(late, row) in (PUBLISHED, REJECTED), site.round(3).error
    # and here the second trainer is, between two rounds; a third one finds in the rows what is left
    last = site.open()
    row = claim(last)
    assert (row.id, row.seed, row.trigger) == (4, 2, "rebuild")
    assert work_on(last, row) in (PUBLISHED, REJECTED), site.round(4).error
    assert claim(last) is None

    for old, new in (("v1", 3), ("v2", 4)):
        made = site.checkpoint(new)
        assert made.round_id == new
        assert made.manifest["config"] == before[old]
        assert trained_on(site, new) == [said for said in trained_on(site, int(old[1:])) if said is not None]
        assert sorted(trained_on(site, new), key=str) == sorted(bobs, key=str)
        assert made.manifest["verdict"]["regressions"]["prompts"] == 1  # Bob's: hers is gone
    with site.database.reading() as session:
        line = {one.name for one in checkpoints.lineage(session, 4)}
        assert not line & {"v1", "v2"}
        learnt = forget.checkpoints_that_learnt_from(session, user_id=taught["ann"])
        assert [(one.name, one.state) for one in learnt] == [("v1", "rejected"), ("v2", "rejected")]
    assert holding(site, anns) == []


def test_a_round_of_which_too_little_is_left_fails_in_words_and_the_next_one_has_its_turn(site, taught):
    with site.database.transaction() as session:
        users.set_consent(session, taught["bob"], "none")  # an opt-out counts as well
    forgotten(site, taught["ann"])
    serve(site, "v0")
    house = site.open()
    assert work_on(house, claim(house)) == FAILED
    why = "round 1 is not done again: 0 of its prompts are left to train on and 16 held out; a step needs 2"
    assert why in site.round(3).error
    assert claim(house).id == 4
