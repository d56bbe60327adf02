"""What a trainer decides before a round begins, and by what it is told from other trainers."""

import time

import pytest

from db.queries import rounds
from trainer.files import read_json
from trainer.lease import LeaseLost, Stopped
from trainer.ledger import Ledger
from trainer.loop import claim, work_on


def planned(site, config, seed):
    """The settings that a round is begun with which is asked for with this config and seed."""
    with site.database.transaction() as session:
        round_id = rounds.request_round(session, "grpo", config, "someone", seed=seed).id
    house = site.open()

    def stop(*_, **__):
        raise Stopped("SIGTERM")

    house.gateway.sample = stop
    with pytest.raises(Stopped):
        work_on(house, claim(house))
    with site.database.transaction() as session:
        rounds.cancel_round(session, round_id)
    return read_json(site.settings.home / "rounds" / str(round_id) / "plan.json")["config"]


def test_a_seed_among_a_rounds_settings_counts(site):
    assert planned(site, {"seed": 11}, seed=7)["seed"] == 11
    assert planned(site, {}, seed=7)["seed"] == 7
    assert planned(site, {}, seed=0)["seed"] == site.settings.seed


def test_two_trainers_of_one_host_and_process_id_are_told_apart(site):
    """As in containers on their host's network, in each of which the trainer is process 1."""
    round_id = site.request()
    first, second = site.open(lease_seconds=0.0), site.open()
    claim(first)
    time.sleep(0.01)
    assert claim(second) is not None
    with pytest.raises(LeaseLost):
        Ledger(first.database, round_id, first.owner).step(1, {"reward": 1.0})
    Ledger(second.database, round_id, second.owner).step(1, {"reward": 2.0})
    assert site.metrics(round_id) == {"reward": [(1, 2.0)]}
