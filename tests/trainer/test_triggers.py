"""When a round starts by itself, and that of many trainers one asks for it, once."""

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.records import a_turn, its_end, said, settle
from support.tiny_policy import make_classifier

from db.queries import curation, rounds, triggers, turns
from db.queries.users import ensure_user
from db.session import Database
from trainer.settings import BadSetting, TrainerSettings, read_settings
from trainer.triggers import Seen, due, scheduled
from trainer.wake import Wake

REPOSITORY = Path(__file__).parents[2]
NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


def seen(new: int = 0, idle: bool = False, now: datetime = NOON, last: datetime | None = None) -> Seen:
    return Seen(now, last, new, idle)


def test_nothing_starts_a_round_unless_it_is_set():
    assert due(TrainerSettings(), seen(new=10_000, idle=True)) is None
    assert TrainerSettings().in_words == "rounds start when somebody asks for one"


def test_so_many_new_prompts_start_a_round():
    settings = TrainerSettings(trigger_prompts=200)
    assert due(settings, seen(199)) is None
    found = due(settings, seen(200))
    assert (found.trigger, found.words) == ("prompts", "200 or more new prompts since the last round")


def test_an_idle_house_starts_a_round_only_when_there_is_something_to_learn_from():
    settings = TrainerSettings(trigger_idle_minutes=10, trigger_min_prompts=200)
    assert due(settings, seen(200, idle=False)) is None
    assert due(settings, seen(199, idle=True)) is None
    found = due(settings, seen(200, idle=True))
    assert found.trigger == "idle"
    assert found.words == "nobody was answered for 10 minutes; 200 or more new prompts since the last round"
    assert due(TrainerSettings(trigger_idle_minutes=10), seen(0, idle=True)) is None  # else it would train for ever
    eager = TrainerSettings(
        trigger_idle_minutes=10, trigger_min_prompts=0, trigger_schedule="0 12 * * *", trigger_zone="UTC"
    )
    assert due(eager, seen(0, idle=True, now=NOON - timedelta(hours=1))) is None  # so it would with this setting
    assert due(eager, seen(0, now=NOON)).trigger == "schedule"


def test_one_setting_turns_all_of_it_off():
    settings = TrainerSettings(automatic=False, trigger_prompts=1, trigger_idle_minutes=1, trigger_schedule="* * * * *")
    assert due(settings, seen(10, idle=True)) is None
    assert not settings.any_trigger


def test_a_time_of_the_schedule_starts_one_round_in_the_minutes_after_it():
    settings = TrainerSettings(trigger_schedule="0 12 * * *", trigger_zone="UTC")
    found = due(settings, seen(5, now=NOON + timedelta(seconds=20)))
    assert found.trigger == "schedule"
    assert found.words == "`0 12 * * *` was due at 2026-07-01 12:00 UTC; 5 or more new prompts since the last round"
    assert due(settings, seen(5, now=NOON - timedelta(seconds=20))) is None
    assert due(settings, seen(5, now=NOON + timedelta(minutes=11))) is None  # no trainer ran at that time
    after = NOON + timedelta(minutes=5)
    assert due(settings, seen(5, now=after, last=NOON + timedelta(seconds=20))) is None
    assert due(settings, seen(5, now=after, last=NOON - timedelta(hours=1))) is not None


def test_a_schedule_is_in_its_own_time_zone_also_over_a_change_of_clocks():
    settings = TrainerSettings(trigger_schedule="0 3 * * *", trigger_zone="Europe/Berlin")
    assert scheduled(settings, datetime(2026, 3, 28, 2, 1, tzinfo=UTC)) == datetime(2026, 3, 28, 2, tzinfo=UTC)
    assert scheduled(settings, datetime(2026, 3, 30, 1, 1, tzinfo=UTC)) == datetime(2026, 3, 30, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", ["0 3 * *", "every night", "0 25 * * *", "0 0 3 * * *", "0 3 30 2 *"])
def test_a_schedule_that_is_none_is_refused_at_the_start(value: str):
    with pytest.raises(BadSetting, match=r"RUMINATE_TRAINER_TRIGGER_SCHEDULE = .* expected cron's five fields"):
        read_settings(trigger_schedule=value)


def test_a_time_zone_that_is_none_is_refused_at_the_start():
    with pytest.raises(BadSetting, match=r"RUMINATE_TRAINER_TRIGGER_ZONE = 'Berlin': .*name of a time zone"):
        read_settings(trigger_zone="Berlin")


@pytest.fixture
def database(tmp_path: Path) -> Any:
    found = Database(f"sqlite:///{tmp_path / 'ruminate.db'}")
    found.migrate()
    with found.transaction() as session:
        settle(session)
    yield found
    found.close()


def ask(database: Database, count: int, consent: str = "train", **changed: Any) -> None:
    """So many different prompts, asked and answered just now."""
    with database.transaction() as session:
        user = ensure_user(session, "ann", "user", "train").id
        for number in range(count):
            turn = a_turn(user, said(f"{consent} prompt {number} {changed}"), consent=consent, **changed)
            turns.begin_turn(session, turn)
            turns.complete_turn(session, its_end(turn))


def wake(database: Database, owner: str = "one", **settings: Any) -> Wake:
    return Wake(database, TrainerSettings(**settings), owner, seconds=0.0)


def test_prompts_count_once_and_only_those_that_may_be_trained_on(database: Database):
    waking = wake(database, trigger_prompts=3)
    ask(database, 2)
    ask(database, 2)  # the same again
    ask(database, 5, consent="history")
    ask(database, 5, origin="title")
    assert waking.ask() is None
    ask(database, 3)
    round_id = waking.ask()
    with database.reading() as session:
        row = rounds.get_round(session, round_id)
    assert (row.trigger, row.requested_by, row.state) == ("prompts", "the trainer", "requested")
    assert row.reason == "3 or more new prompts since the last round"
    assert row.algorithm == "grpo"


def test_no_round_is_asked_for_while_one_is_open_nor_after_it_without_new_prompts(database: Database):
    waking = wake(database, trigger_prompts=3)
    ask(database, 4)
    first = waking.ask()
    ask(database, 9)
    assert waking.ask() is None  # it is open
    with database.transaction() as session:
        rounds.cancel_round(session, first)
    assert waking.ask() == first + 1  # for those that came while it was
    with database.transaction() as session:
        rounds.cancel_round(session, first + 1)
    assert waking.ask() is None  # however it ended: else what fails would start again and again


def test_a_house_in_use_is_not_idle(database: Database):
    waking = wake(database, trigger_idle_minutes=10, trigger_min_prompts=2)
    ask(database, 2)
    now = datetime.now(UTC)
    assert waking.ask(now + timedelta(minutes=9)) is None
    with database.transaction() as session:  # an answer that is still being written
        turns.begin_turn(session, a_turn(settle(session), said("a long one"), consent="none"))
    assert waking.ask(now + timedelta(minutes=11)) is None
    with database.reading() as session:
        assert triggers.anyone_since(session, now - timedelta(minutes=1))
        assert not triggers.anyone_since(session, now + timedelta(hours=2))
    assert waking.ask(now + timedelta(minutes=80)) is not None  # what takes longer than any answer was left behind


def test_of_many_trainers_one_asks(database: Database):
    ask(database, 3)
    trainers = [wake(database, f"trainer-{number}", trigger_prompts=3) for number in range(6)]
    barrier, asked = threading.Barrier(6), []

    def look(one: Wake) -> None:
        barrier.wait()
        asked.append(one.ask())

    threads = [threading.Thread(target=look, args=(one,)) for one in trainers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 6
    assert len([one for one in asked if one is not None]) == 1
    with database.reading() as session:
        assert len(rounds.list_rounds(session)) == 1


def test_the_record_is_looked_at_now_and_then_only(database: Database):
    ask(database, 3)
    patient = Wake(database, TrainerSettings(trigger_prompts=4), "one", seconds=3600)
    assert patient.ask() is None
    ask(database, 4)
    assert patient.ask() is None


def test_a_trainer_that_runs_starts_a_round_by_itself_and_works_on_it(site: Any, policy: Path, tmp_path: Path):
    judge = make_classifier(policy, tmp_path / "judge", seed=11)
    ask(site.database, 3)
    environment = os.environ | {
        "RUMINATE_HOME": str(site.settings.home),
        "RUMINATE_SERVICE_KEY": "service",
        "OMP_NUM_THREADS": "1",
    }
    settings = {
        "GATEWAY": site.settings.gateway, "BASE_MODEL": policy, "REWARD_MODEL": judge, "JUDGE_MODEL": judge,
        "BASE_MIX": site.settings.base_mix, "HELDOUT": site.settings.heldout,
        "STEPS": 1, "PROMPTS_PER_STEP": 2, "GROUP_SIZE": 8, "MICRO_BATCH": 4, "MAX_COMPLETION_TOKENS": 16,
        "GATE_PROMPTS": 4, "GATE_SAMPLES": 1, "TRIGGER_PROMPTS": 3,
    }  # fmt: skip
    environment |= {f"RUMINATE_TRAINER_{name}": str(value) for name, value in settings.items()}
    log = tmp_path / "trainer.log"
    with log.open("ab") as sink:
        trainer = subprocess.Popen(
            [sys.executable, "-m", "trainer"], cwd=REPOSITORY, env=environment, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 300
        while not (found := _all_rounds(site.database)) or found[0].open:
            assert trainer.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
    finally:
        trainer.terminate()
        trainer.wait(60)
    (row,) = found
    nothing_learnt = "can't be told from it" in (
        row.error or ""
    )  # so may one small step end, where all rewards are alike
    assert row.trigger == "prompts"
    assert row.state in ("published", "rejected") or nothing_learnt, row.error
    told = log.read_text()
    assert "a round starts by itself when 3 new prompts came in" in told
    assert "round 1 starts by itself: 3 or more new prompts since the last round" in told
    with site.database.reading() as session:
        sources = {row.source for row in curation.round_prompts(session, 1, verdict="kept")}
    assert "recorded" in sources


def _all_rounds(database: Database) -> Any:
    with database.reading() as session:
        return rounds.list_rounds(session)
