"""What `ruminate up` says about rounds that start by themselves, and how a round tells what made it start."""

import pytest

from cli import tables
from cli.house import _when_rounds_start
from cli.profiles import PROFILES, TINY

PREFIX = "RUMINATE_TRAINER_"


def test_the_tiny_house_says_when_it_learns_and_how_to_keep_it_from_that() -> None:
    env = {PREFIX + name: value for name, value in TINY.trainer.items()}
    assert _when_rounds_start(env) == (
        "a round starts by itself when nobody was answered for 10 minutes, with 200 new prompts or more; "
        "RUMINATE_TRAINER_AUTOMATIC=false turns that off"
    )
    assert _when_rounds_start(env | {PREFIX + "AUTOMATIC": "false"}) == ""
    assert "`0 3 * * *`" in _when_rounds_start(env | {PREFIX + "TRIGGER_SCHEDULE": "0 3 * * *"})
    assert _when_rounds_start(env | {PREFIX + "TRIGGER_IDLE_MINUTES": "soon"}) == ""  # the trainer will refuse it


def test_no_other_profile_trains_unasked() -> None:
    for profile in PROFILES.values():
        if profile is not TINY:
            assert _when_rounds_start({PREFIX + name: value for name, value in profile.trainer.items()}) == ""


def test_what_made_a_round_start_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    row = dict.fromkeys(("step", "total_steps", "algorithm", "parent", "candidate", "started_at", "error", "verdict"))
    tables.show([row | {"id": 3, "state": "running", "trigger": "idle"}], tables.ROUND, as_json=False)
    told = capsys.readouterr().out
    assert "trigger" in told
    assert "idle" in told
    state = {"id": 3, "state": "running", "phase": "train", "step": 4, "requested_by": "the trainer"}
    status = {"live": None, "previous": None, "engines": [], "prompts": {"recorded": 0, "trainable": 0}}
    tables.show_status(status | {"round": state | {"trigger": "idle", "reason": "nobody was answered"}}, as_json=False)
    assert "started by idle: nobody was answered" in capsys.readouterr().out


def test_what_keeps_a_canary_from_being_promoted_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    trial = {"name": "v2", "share": 0.1, "since": "2026-01-02T03:04:05+00:00", "trouble": "canary v2 can't be promoted"}
    status = {"live": None, "previous": None, "engines": [], "round": None, "canary": trial}
    tables.show_status(status | {"prompts": {"recorded": 0, "trainable": 0}}, as_json=False)
    assert "canary v2 can't be promoted" in capsys.readouterr().out
