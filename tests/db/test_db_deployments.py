"""Checkpoints have names that are never reused; the live one is changed by whoever judged the newest state."""

import threading

import pytest
from sqlalchemy.exc import IntegrityError
from support.records import settle

from db.errors import BaseChanged, DeploymentChanged, NotFound
from db.queries import checkpoints, deployments
from db.queries.rounds import request_round
from db.session import Database


def some_checkpoints(database: Database, number: int = 3) -> None:
    with database.transaction() as session:
        settle(session)
        for parent in range(number):
            checkpoints.reserve_checkpoint(session, parent)


def test_the_base_is_v0_and_a_database_keeps_its_base(database: Database) -> None:
    with database.transaction() as session:
        assert checkpoints.ensure_base(session, "tiny", {"a": 1}).name == "v0"
        again = checkpoints.ensure_base(session, "tiny", {"a": 2})
        assert (again.id, again.kind, again.state, again.manifest) == (0, "base", "published", {"a": 1})
        with pytest.raises(BaseChanged, match="stand on the base model 'tiny', not on 'large'"):
            checkpoints.ensure_base(session, "large", {})


def test_a_checkpoint_has_files_only_once_it_is_complete(database: Database) -> None:
    with database.transaction() as session:
        settle(session)
        made_by = request_round(session, "grpo", {}, "ann").id
        reserved = checkpoints.reserve_checkpoint(session, 0, made_by)
        assert (reserved.name, reserved.path, reserved.state, reserved.base) == ("v1", None, "candidate", "tiny")
        assert checkpoints.reserve_checkpoint(session, 0, made_by).id == reserved.id  # the round was resumed
        checkpoints.complete_checkpoint(session, 1, "/checkpoints/v1", {"format": 1})
        checkpoints.set_state(session, 1, "published")
        with pytest.raises(ValueError, match="live"):
            checkpoints.set_state(session, 1, "live")
    with database.reading() as session:
        found = checkpoints.find_checkpoint(session, "v1")
        assert found is not None
        assert (found.path, found.manifest, found.state) == ("/checkpoints/v1", {"format": 1}, "published")
        assert checkpoints.find_checkpoint(session, "v2") is None
        with pytest.raises(NotFound, match="no checkpoint 2"):
            checkpoints.get_checkpoint(session, 2)


def test_lineage_leads_back_to_the_base_and_forward_to_all_that_grew(database: Database) -> None:
    some_checkpoints(database)  # v0 ← v1 ← v2 ← v3
    with database.transaction() as session:
        checkpoints.reserve_checkpoint(session, 1)  # v4, beside v2
        assert [row.name for row in checkpoints.lineage(session, 3)] == ["v3", "v2", "v1", "v0"]
        assert [row.name for row in checkpoints.descendants(session, {2})] == ["v2", "v3"]
        assert [row.name for row in checkpoints.descendants(session, {1})] == ["v1", "v2", "v3", "v4"]


def test_promoting_keeps_the_previous_one_and_rolling_back_swaps_them(database: Database) -> None:
    some_checkpoints(database)
    with database.transaction() as session:
        assert deployments.current(session) is None
        first = deployments.propose(session, 0, "ruminate", "first start", None)
        second = deployments.propose(session, 1, "trainer", "round 1", first.id)
        assert (second.live_checkpoint_id, second.previous_checkpoint_id) == (1, 0)
        again = deployments.propose(session, 1, "ann", "try v2", second.id, canary_id=2, canary_share=0.1)
        assert (again.previous_checkpoint_id, again.canary_checkpoint_id, again.canary_share) == (0, 2, 0.1)
        back = deployments.propose(session, 0, "ann", "worse", again.id)
        assert (back.live_checkpoint_id, back.previous_checkpoint_id, back.canary_checkpoint_id) == (0, 1, None)
        assert [row.reason for row in deployments.history(session)] == ["worse", "try v2", "round 1", "first start"]


def test_who_judged_an_older_state_is_refused(database: Database) -> None:
    some_checkpoints(database)
    with database.transaction() as session:
        first = deployments.propose(session, 0, "a", "", None)
        second = deployments.propose(session, 1, "a", "", first.id)
        for expected in (None, first.id, 99):
            with pytest.raises(DeploymentChanged, match=f"expected deployment {expected} .* but it is {second.id}"):
                deployments.propose(session, 2, "b", "", expected)
        with pytest.raises(NotFound, match="no checkpoint 77"):
            deployments.propose(session, 77, "b", "", second.id)
        with pytest.raises(IntegrityError):
            deployments.propose(session, 2, "b", "", second.id, canary_id=3, canary_share=7)


@pytest.mark.parametrize("fresh", [True, False])
def test_of_many_who_propose_at_once_one_wins(database: Database, fresh: bool) -> None:
    some_checkpoints(database)
    expected = None
    if not fresh:
        with database.transaction() as session:
            expected = deployments.propose(session, 0, "a", "", None).id
    barrier = threading.Barrier(8)
    won: list[int] = []
    lost: list[DeploymentChanged] = []

    def work(index: int) -> None:
        barrier.wait()
        try:
            with database.transaction() as session:
                deployments.propose(session, index % 4, f"thread-{index}", "", expected)
            won.append(index)
        except DeploymentChanged as error:
            lost.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    with database.reading() as session:
        newest = deployments.current(session)
        assert newest is not None
        assert newest.by == f"thread-{won[0]}"
        assert {error.current_id for error in lost} == {newest.id}


def test_what_an_engine_has_is_what_was_last_seen(database: Database) -> None:
    with database.transaction() as session:
        deployments.observe(session, "http://a", "v1", "failed", "no such file")
        deployments.observe(session, "http://a", "v1", "loaded")
        deployments.observe(session, "http://a", "v2", "loaded")
        deployments.observe(session, "http://b", "v1", "loaded")
        deployments.unobserve(session, "http://a", "v2")
        seen = [(row.engine, row.checkpoint_name, row.state, row.detail) for row in deployments.observed(session)]
        assert seen == [("http://a", "v1", "loaded", ""), ("http://b", "v1", "loaded", "")]
        deployments.unobserve(session, "http://a")
        assert [row.engine for row in deployments.observed(session)] == ["http://b"]
