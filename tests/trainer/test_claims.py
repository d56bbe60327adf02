"""Who has a round: one trainer at a time, by its lease; and what is let go, failed or never made live again."""

import time

import pytest

from db.queries import checkpoints, deployments
from trainer.lease import LeaseLost, Stopped
from trainer.loop import FAILED, claim, work_on
from trainer.publish import make_live

CONFIG = {"steps": 4, "prompts_per_step": 3, "group_size": 4, "micro_batch": 6, "learning_rate": 5e-3, "kl_beta": 0.02}


def test_a_round_that_was_cancelled_or_taken_is_let_go(site):
    from db.queries import rounds

    round_id = site.request(**CONFIG)
    house = site.open(lease_seconds=0.4)

    def cancel(body):
        if body["model"].endswith("step-2"):
            with site.database.transaction() as session:
                rounds.cancel_round(session, round_id)

    site.gateway.before_sample = cancel
    assert work_on(house, claim(house)) == FAILED
    assert site.round(round_id).state == "cancelled"
    assert site.round(round_id).step == 2
    assert site.live().name == "v0"


def test_two_trainers_never_have_one_round(site):
    site.request(**CONFIG)
    first, second = site.open(), site.open()
    second.owner = "another"
    assert claim(first) is not None
    assert claim(second) is None


def test_a_trainer_whose_round_was_taken_writes_nothing_more(site):
    site.request(**CONFIG)
    first, second = site.open(lease_seconds=0.0), site.open()
    second.owner = "another"
    work = site.begin(first)
    time.sleep(0.01)
    assert claim(second) is not None
    with pytest.raises(LeaseLost):
        work.ledger.step(1, {"reward": 1.0})
    assert site.metrics(1) == {}


def test_a_round_that_keeps_killing_its_trainer_is_failed(site):
    round_id = site.request(**CONFIG)
    house = site.open(lease_seconds=0.0, max_attempts=2)
    for _ in range(2):
        assert claim(house) is not None
        time.sleep(0.01)
    assert claim(house) is None
    assert site.round(round_id).state == "failed"
    assert "ended its trainer 2 times" in site.round(round_id).error


def test_stopping_a_trainer_again_and_again_is_no_failure_of_its_round(site):
    round_id = site.request(**CONFIG)
    house = site.open(max_attempts=2)

    def stop(row, ledger):
        raise Stopped("SIGINT")

    house.prepare = stop
    attempts = []
    for _ in range(4):
        row = claim(house)
        attempts.append(row.attempts)
        with pytest.raises(Stopped):
            work_on(house, row)
        time.sleep(0.01)
    assert attempts == [1, 2, 3, 4], "names of versions go by it, and are never used twice"
    assert site.round(round_id).state == "running"


def test_what_a_person_took_back_while_its_trainer_was_dead_is_not_made_live_again(site):
    site.request(**CONFIG)
    house = site.open()
    work = site.begin(house)
    name = work.ledger.reserve(work.parent.id, "adapter").name
    make_live(work, name, "it wins")
    assert site.live().name == name
    with site.database.transaction() as session:
        deployments.propose(session, 0, "a person", "it talks nonsense", deployments.current(session).id)
        checkpoints.set_state(session, checkpoints.find_checkpoint(session, name).id, "retired")
    make_live(work, name, "it wins")
    assert site.live().name == "v0"
    assert len(site.gateway.deployed) == 1
