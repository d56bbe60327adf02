"""Arms of an experiment: what each runs with, what is noted of it, and what all of it comes to; by hand-made rounds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.learning import algorithms, thinking, zero
from bench.learning.arm_plots import course, plot_gold, plot_lengths, tokens_by
from bench.learning.arms import AT_MOST, Arm, Asked, _Runner, noted, options, parsed, run
from bench.learning.contrasts import contrast, of_arm, summary
from bench.learning.notes import Notes
from bench.learning.pooling import pooled
from bench.rounds import Ended
from trainer.round_config import RoundConfig
from trainer.settings import TrainerSettings

PNG = b"\x89PNG\r\n\x1a\n"


def asked(**changes: Any) -> Asked:
    return Asked(**{"seeds": [1], "prompts": 4, "samples": 1, "out": Path("x"), "common": {}, "own": {}, **changes})


def filled(path: Path, gains: dict[str, list[float]]) -> Notes:
    """Notes of rounds whose gold rose by so much on each of four prompts, seed by seed; the control began lower."""
    notes = Notes(path / "notes.jsonl", {})
    bases = {False: [0.5, 0.6, 0.7, 0.6], True: [0.4, 0.5, 0.6, 0.5]}
    for thoughtless, gold in bases.items():
        notes.add({"what": "before", "thoughtless": thoughtless, "gold": gold})
    for arm in thinking.ARMS:
        for seed, gain in enumerate(gains.get(arm.name, []), 1):
            series = {
                "reward": [[step, step / 10] for step in (1, 2, 3)],
                "sampled_tokens": [[step, 100.0] for step in (1, 2, 3)],
                "thought_tokens": [[step, 30.0 + step] for step in (1, 2, 3)],
                "response_tokens": [[step, 60.0] for step in (1, 2, 3)],
            }
            after = [base + gain for base in bases[arm.thoughtless]]
            notes.add(
                {
                    "what": "round", "arm": arm.name, "seed": seed, "thoughtless": arm.thoughtless,
                    "state": "published", "error": None, "steps": 3, "seconds": 10.0, "sampled_tokens": 300,
                    "reward": 0.4, "judge": None, "gold": after, "malformed": 0.0,
                    "thought_tokens": 33.0, "response_tokens": 60.0, "series": series,
                }
            )  # fmt: skip
    return notes


def test_every_arm_runs_with_settings_that_the_trainer_takes() -> None:
    settings = TrainerSettings()
    for arm in (*thinking.ARMS, *algorithms.ARMS, *zero.ARMS):
        config = settings.round_config(asked().config(arm, 1000) | {"algorithm": arm.algorithm}, 1)
        assert (config.lookout_every, config.stop_kl, config.stop_malformed) == (0, 0.0, 0.0)
        assert config.rlhf is arm.thoughtless


def test_an_arm_with_a_budget_of_tokens_has_that_in_place_of_its_steps() -> None:
    whole = RoundConfig.model_fields["steps"].default
    config = asked().config(thinking.ARMS[2], 12_345)
    assert (config["max_sampled_tokens"], config["steps"]) == (12_345, AT_MOST * whole)
    assert asked(common={"steps": 5}).config(thinking.ARMS[2], 1)["steps"] == AT_MOST * 5
    assert "steps" not in asked().config(thinking.ARMS[0])


def test_settings_of_one_arm_stand_over_those_of_all() -> None:
    given = ["--set", "learning_rate=1e-3", "dpo:learning_rate=5e-4", "loss_type=grpo"]
    found = options("algorithms", "x", algorithms.ARMS, given)
    assert found.config(algorithms.ARMS[0])["learning_rate"] == 1e-3
    assert found.config(algorithms.ARMS[1])["learning_rate"] == 5e-4
    assert found.config(algorithms.ARMS[1])["loss_type"] == "grpo"


@pytest.mark.parametrize("given", ["learning_rate", "sft:steps=3"])
def test_a_setting_that_is_none_is_refused_with_what_is_expected(given: str) -> None:
    with pytest.raises(ValueError, match=f"--set {given}: expected NAME=VALUE or ARM:NAME=VALUE .* grpo, dpo, ppo"):
        parsed(given, algorithms.ARMS)
    with pytest.raises(SystemExit):
        options("algorithms", "x", algorithms.ARMS, ["--set", given])


def test_the_smoke_form_is_small_and_settings_stand_over_it() -> None:
    found = options("thinking", "x", thinking.ARMS, ["--smoke", "--set", "steps=3"])
    assert (found.seeds, found.prompts, found.samples) == ([1], 8, 1)
    assert found.config(thinking.ARMS[0])["steps"] == 3
    TrainerSettings().round_config(found.config(algorithms.ARMS[1]) | {"algorithm": "dpo"}, 1)
    assert found.out == Path("bench/out/thinking-smoke")


def test_a_round_is_noted_with_its_tokens_and_what_its_judges_said() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    row = SimpleNamespace(
        id=4, state="rejected", error=None, step=2, total_steps=2,
        started_at=began, ended_at=began + timedelta(seconds=9),
        verdict={"words": "rejected: x", "reward": {"difference": 0.5}, "judge": {"difference": -0.1}},
    )  # fmt: skip
    series = {"sampled_tokens": [(1, 400.0), (2, 500.0)], "reward": [(1, 0.12345), (2, 0.2)], "loss": [(1, 1.0)]}
    found = noted(Arm("think"), 3, Ended(row, series, None))
    assert (found["sampled_tokens"], found["seconds"], found["steps"]) == (900, 9.0, 2)
    assert (found["reward"], found["judge"], found["words"]) == (0.5, -0.1, "rejected: x")
    assert found["series"] == {"sampled_tokens": [[1, 400.0], [2, 500.0]], "reward": [[1, 0.1235], [2, 0.2]]}
    told_once = noted(Arm("dpo", "dpo"), 3, Ended(row, {"sampled_tokens": [(1, 800.0)]}, None))
    assert told_once["sampled_tokens"] == 800
    failed = SimpleNamespace(
        **vars(row) | {"verdict": None, "state": "failed", "error": "no pairs", "started_at": None}
    )
    assert noted(Arm("dpo", "dpo"), 3, Ended(failed, {}, None))["error"] == "no pairs"


def test_arms_are_told_against_their_base_and_against_each_other(tmp_path: Path) -> None:
    notes = filled(tmp_path, {"think": [0.10, 0.06], "rlhf": [0.02, 0.04]})
    found = of_arm(notes, thinking.ARMS[0])
    assert found["gold"]["difference"] == pytest.approx(0.08)
    assert (found["seeds"], found["published"], found["judge"]) == ([1, 2], 2, None)
    told = contrast(notes, "rlhf", "think")
    assert told is not None
    assert told["gain"]["difference"] == pytest.approx(0.05)  # 0.08 against 0.03, each against its own base
    assert told["level"]["difference"] == pytest.approx(0.15)  # and 0.10 that the bases are apart
    whole = summary(notes, thinking.ARMS, thinking.PAIRS)
    assert whole["contrasts"]["think over rlhf"] == told
    assert whole["contrasts"]["think over rlhf-tokens"] is None


def test_a_round_that_came_to_nothing_is_named_and_not_counted(tmp_path: Path) -> None:
    notes = filled(tmp_path, {"think": [0.1], "rlhf": [0.0]})
    failed = {"what": "round", "arm": "think", "seed": 2, "thoughtless": False, "state": "failed", "error": "no disk"}
    notes.add({**failed, "series": {}, "steps": 0})
    assert of_arm(notes, thinking.ARMS[0])["failed"] == {2: "no disk"}
    told = contrast(notes, "rlhf", "think")
    assert told is not None
    assert told["seeds"] == [1]
    assert plot_gold(notes, thinking.ARMS, "x", tmp_path / "gold.png").is_file()


def test_an_arm_whose_budget_was_never_sampled_is_told_and_ends_nothing(tmp_path: Path) -> None:
    notes = filled(tmp_path, {})
    notes.add({"what": "round", "arm": "think", "seed": 1, "thoughtless": False, "state": "failed", "error": "no disk",
               "sampled_tokens": 0, "series": {}})  # fmt: skip
    runner = object.__new__(_Runner)
    runner._name, runner._notes, runner._benches = "thinking", notes, {True: None}  # type: ignore[dict-item]
    runner.round(thinking.ARMS[2], 1)
    failed = of_arm(notes, thinking.ARMS[2])["failed"]
    assert failed == {1: "it has the tokens of think, which has sampled none"}
    assert plot_gold(notes, thinking.ARMS, "x", tmp_path / "gold.png").is_file()


def test_what_is_done_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an engine was started")

    monkeypatch.setattr("bench.learning.arms.running", refuse)
    wanted = asked(out=tmp_path)
    settings = {"prompts": wanted.prompts, "samples": wanted.samples, "common": {}, "own": {}}
    notes = Notes(tmp_path / "notes.jsonl", settings)
    for arm in algorithms.ARMS:
        notes.add({"what": "round", "arm": arm.name, "seed": 1})
    assert len(run("algorithms", algorithms.ARMS, wanted).entries) == 4
    with pytest.raises(AssertionError, match="an engine was started"):
        run("algorithms", algorithms.ARMS, asked(out=tmp_path, seeds=[1, 2]))
    with pytest.raises(ValueError, match="choose another --out"):
        run("algorithms", algorithms.ARMS, asked(out=tmp_path, samples=2))


def test_a_pool_of_other_prompts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"same seeds and prompts on both sides, got \[\(2,\)\] and \[\(3,\)\]"):
        pooled([[0.1, 0.2]], [[0.1, 0.2, 0.3]])
    with pytest.raises(ValueError, match="same seeds and prompts"):
        pooled([], [])


def test_courses_are_smoothed_and_tokens_add_up() -> None:
    one = {"series": {"reward": [[step, float(step)] for step in range(1, 8)], "sampled_tokens": [[1, 10], [2, 20]]}}
    steps, values = course(one, "reward")
    assert steps == [1, 2, 3, 4, 5, 6, 7]
    assert values == [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]
    assert course(one, "kl") == ([], [])
    assert tokens_by(one) == {1: 10, 2: 30}


def test_the_pictures_are_written(tmp_path: Path) -> None:
    notes = filled(tmp_path, {"think": [0.1, 0.05], "rlhf": [0.0, 0.01], "rlhf-tokens": [0.02, 0.0]})
    for path in (
        plot_gold(notes, thinking.ARMS, "thinking", tmp_path / "out" / "gold.png"),
        plot_lengths(notes, thinking.ARMS, "thinking", tmp_path / "out" / "lengths.png"),
    ):
        assert path.read_bytes()[:8] == PNG
