"""A home whose database was exchanged: what is left of the old one's rounds is not taken for the new one's."""

import shutil

import pytest
from support.databases import migrated_file

from db.queries import checkpoints, deployments, rounds
from db.session import Database
from trainer.files import read_json, write_json
from trainer.lease import Stopped
from trainer.loop import FAILED, PUBLISHED, REJECTED, claim, work_on

QUICK = {"steps": 1, "gate_prompts": 4, "gate_samples": 1}


@pytest.fixture
def exchanged(site):
    """A house over a fresh database, in a home in which a round of another database has ended."""
    site.request(**QUICK)
    house = site.open()
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(1).error
    shutil.copy(migrated_file(), site.settings.home / "new.db")
    database = Database(f"sqlite:///{site.settings.home / 'new.db'}")
    with database.transaction() as session:
        checkpoints.ensure_base(session, "test base", {})
        deployments.propose(session, 0, "test", "the base", None)
        assert rounds.request_round(session, "grpo", QUICK | {"learning_rate": 5e-3}, "someone", seed=8).id == 1
    yield site.open(database_url=f"sqlite:///{site.settings.home / 'new.db'}"), database
    database.close()


def of_new(database):
    with database.reading() as session:
        return rounds.get_round(session, 1)


def test_a_round_of_the_same_number_is_refused_before_it_begins(site, exchanged):
    house, database = exchanged
    verdict = (site.settings.home / "rounds" / "1" / "verdict.json").read_bytes()
    assert work_on(house, claim(house)) == FAILED
    assert "rounds/1 is of another database's round 1; move" in of_new(database).error
    assert "RUMINATE_HOME" in of_new(database).error
    assert (site.settings.home / "rounds" / "1" / "verdict.json").read_bytes() == verdict


def test_a_checkpoint_of_the_same_name_is_not_taken_for_its_own(site, exchanged):
    house, database = exchanged
    shutil.rmtree(site.settings.home / "rounds")
    assert work_on(house, claim(house)) == FAILED
    assert "checkpoints/v1 is there already with other weights" in of_new(database).error
    with database.reading() as session:
        assert checkpoints.find_checkpoint(session, "v1").path is None


def test_a_round_that_was_begun_by_an_older_trainer_goes_on(site):
    """Whose plan does not say when the round was asked for."""
    round_id = site.request(**QUICK)
    house = site.open()

    def stop(*_, **__):
        raise Stopped("SIGTERM")

    house.gateway.sample = stop
    with pytest.raises(Stopped):
        work_on(house, claim(house))
    plan = site.settings.home / "rounds" / str(round_id) / "plan.json"
    kept = read_json(plan)
    del kept["asked_at"]
    write_json(plan, kept)
    resumed = site.open()
    assert work_on(resumed, claim(resumed)) in (PUBLISHED, REJECTED), site.round(round_id).error


def test_a_round_that_began_with_a_setting_that_is_no_more_fails_in_a_sentence(site):
    round_id = site.request(**QUICK)
    house = site.open()
    plan = site.begin(house).folder / "plan.json"
    decided = read_json(plan)
    write_json(plan, decided | {"config": decided["config"] | {"gone": 1}})
    site.let_lapse(round_id)
    assert work_on(house, claim(house)) == FAILED
    assert site.round(round_id).error == (
        "BadSetting: round config gone = 1: Extra inputs are not permitted; it began with another version, so ask for "
        "a new round"
    )
