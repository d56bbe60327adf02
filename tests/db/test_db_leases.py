"""Leases: one holder at a time, taken over when its time has passed; and the adapters that are wished for."""

import threading
import time

import pytest
from support.records import settle

from db.errors import LeaseTaken
from db.queries import checkpoints, deployments, leases, retention, wishes
from db.session import Database


def take(database: Database, holder: str, seconds: float = 60) -> str:
    with database.transaction() as session:
        return leases.take(session, "work", holder, seconds)


def test_a_lease_has_one_holder_until_its_time_has_passed_or_it_is_given_up(database: Database) -> None:
    assert take(database, "a", 0.2) == "a"
    assert take(database, "b") == "a"
    assert take(database, "a", 0.2) == "a"
    time.sleep(0.25)
    assert take(database, "b") == "b"
    assert take(database, "a") == "b"
    with database.transaction() as session:
        leases.release(session, "work", "a")  # not its own
    assert take(database, "a") == "b"
    with database.transaction() as session:
        leases.release(session, "work", "b")
    assert take(database, "a") == "a"


def test_of_many_who_take_a_lease_at_once_one_holds_it(database: Database) -> None:
    barrier = threading.Barrier(8)
    told: list[str] = []

    def work(index: int) -> None:
        barrier.wait()
        told.append(take(database, f"thread-{index}"))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 8
    assert len(set(told)) == 1


def test_who_lost_the_lease_writes_nothing_more(database: Database) -> None:
    take(database, "a", 0.0)
    with database.transaction() as session:
        leases.require(session, "work", "a")  # late, but nobody else took it
    time.sleep(0.01)
    assert take(database, "b") == "b"
    words = "'a' does not hold the lease 'work' any more, 'b' does"
    with pytest.raises(LeaseTaken, match=words), database.transaction() as session:  # noqa: PT012  all of it must go
        deployments.observe(session, "http://engine", "v1", "loaded")
        leases.require(session, "work", "a")
    with database.reading() as session:
        assert list(deployments.observed(session)) == []


def test_wishes_hold_until_they_are_taken_back_or_run_out_and_the_newest_of_a_kind_stay(database: Database) -> None:
    def names() -> list[str]:
        with database.reading() as session:
            return [row.name for row in wishes.wanted(session)]

    with database.transaction() as session:
        for name in ("step-1", "step-2", "step-3"):
            wishes.wish(session, wishes.STEP, name, f"/{name}", "one")
        wishes.wish(session, wishes.CANDIDATE, "v1", "/v1", "one", 0.2)
    assert names() == ["step-1", "step-2", "step-3", "v1"]
    with database.transaction() as session:
        assert wishes.keep_newest(session, wishes.STEP, 2) == ["step-1"]
        wishes.renew(session, wishes.CANDIDATE, "v1", "two", 0.4)
        wishes.renew(session, wishes.CANDIDATE, "v9", "two", 60)
    time.sleep(0.25)
    assert names() == ["step-2", "step-3", "v1"]
    with database.reading() as session:
        assert [row.by for row in wishes.wanted(session) if row.name == "v1"] == ["two"]
    time.sleep(0.25)
    assert names() == ["step-2", "step-3"]
    with database.transaction() as session:
        assert wishes.unwish(session, wishes.STEP, "step-2")
        assert not wishes.unwish(session, wishes.STEP, "step-2")
        assert not wishes.unwish(session, wishes.STEP, "step-3", by="two")
    assert names() == ["step-3"]


def test_wishing_again_lets_engines_that_failed_try_again(database: Database) -> None:
    with database.transaction() as session:
        deployments.observe(session, "http://a", "v1", "failed", "no such file")
        deployments.observe(session, "http://b", "v1", "loaded")
        wishes.wish(session, wishes.CANDIDATE, "v1", "/v1", "one", 60)
        assert [row.engine for row in deployments.observed(session)] == ["http://b"]


def test_what_a_gateway_wishes_keeps_its_files(database: Database) -> None:
    with database.transaction() as session:
        settle(session)
        for parent in range(3):
            row = checkpoints.reserve_checkpoint(session, parent)
            checkpoints.complete_checkpoint(session, row.id, f"/checkpoints/{row.name}", {})
            checkpoints.set_state(session, row.id, "published")
        wishes.wish(session, wishes.GUEST, "ruminate-v1", "/checkpoints/v1", "one")
        assert retention.release(session, 1, set()) == [("v2", "/checkpoints/v2")]
