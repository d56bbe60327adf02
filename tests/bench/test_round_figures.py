"""The arithmetic of bench.round, and how our side's times are read from a round; on made-up rounds."""

from types import SimpleNamespace
from typing import Any

import pytest

from bench.round.alone import Drawn, as_json
from bench.round.figures import Side, compared, target_of
from bench.round.ours import side
from bench.round.setups import SETUPS, SMOKE
from bench.rounds import Ended
from trainer.gateway import Sample
from trainer.settings import TrainerSettings


def a_side(name: str, step: float, rewards: dict[int, float] | None = None, steps: int = 4) -> Side:
    """A warm-up of 20 s, then steps of which a half is sampling, a tenth scoring and a third training."""
    wall = [20.0] + [step] * (steps - 1)
    parts = {
        part: [share * seconds for seconds in wall]
        for part, share in (("sample", 0.5), ("score", 0.1), ("train", 1 / 3))
    }
    return Side(name, 64, wall, parts, [6400.0] * steps, rewards or {})


def test_a_side_is_told_without_its_first_step() -> None:
    told = a_side("ours", 8.0).as_json(None)
    assert told["samples_per_second"] == 8.0
    assert told["tokens_per_second"] == 800.0
    assert told["tokens_per_sample"] == 100.0
    assert told["seconds"] == {"step": 8.0, "sample": 4.0, "score": 0.8, "train": 2.667, "rest": 0.533}
    assert (told["seconds_first_step"], told["seconds_all"], told["seconds_to_target"]) == (20.0, 44.0, None)
    assert a_side("ours", 8.0, steps=1).as_json(None)["seconds"]["step"] == 20.0


def test_the_time_to_a_reward_lies_on_a_line_between_two_measurements() -> None:
    one = a_side("ours", 8.0, {0: 1.0, 2: 2.0, 4: 1.5})
    assert one.seconds_to(1.0) == 0.0
    assert one.seconds_to(1.5) == pytest.approx(14.0)  # halfway through the first two steps, 28 s
    assert one.seconds_to(2.0) == pytest.approx(28.0)
    assert one.seconds_to(2.1) is None


def test_the_target_is_what_every_side_came_to() -> None:
    ours, theirs = a_side("ours", 8.0, {0: 1.0, 4: 2.0}), a_side("trl", 16.0, {0: 1.0, 2: 1.8, 4: 1.7})
    assert target_of([ours, theirs]) == 1.8
    assert target_of([ours, a_side("trl", 16.0, {0: 1.0, 4: 0.9})]) is None  # one learnt nothing
    assert target_of([ours, a_side("trl", 16.0)]) is None  # of random weights nothing is asked


def test_sides_are_told_against_floors_and_against_each_other() -> None:
    steps = {"ours": (10.0, 2.0), "ours-ahead": (6.0, 1.9), "trl": (18.0, 1.8)}
    sides = [a_side(name, seconds, {0: 1.0, 4: reward}) for name, (seconds, reward) in steps.items()]
    found = compared(sides, sampling=4.0, training={"ours": 3.0, "ours-ahead": 5.0}, goal=1.5)
    assert found["best"] == "ours-ahead"
    assert found["times_trl"] == found["times_trl_tokens"] == 3.0  # samples as long on both sides
    assert found["sides"]["ours-ahead"]["of_larger_floor"] == 1.2  # 6 s against the larger of 4 and 5
    assert found["sides"]["ours"]["of_larger_floor"] == 2.5
    assert "of_larger_floor" not in found["sides"]["trl"]
    assert found["reached"] == {"larger_floor": True, "trl": True}
    assert found["target_reward"] == 1.8
    assert all(one["seconds_to_target"] is not None for one in found["sides"].values())


def test_a_goal_that_is_not_reached_is_told() -> None:
    sides = [a_side("ours", 10.0), a_side("trl", 14.0)]
    found = compared(sides, sampling=4.0, training={"ours": 3.0}, goal=1.5)
    assert found["reached"] == {"larger_floor": False, "trl": False}
    even = compared([a_side("ours", 10.0), a_side("trl", 10.0)], 4.0, {"ours": 3.0}, goal=1.0)
    assert even["reached"]["trl"] is False  # as fast is not ahead


def test_our_steps_end_when_their_states_are_whole() -> None:
    setup = SMOKE["tiny"]
    series: dict[str, Any] = {
        "seconds_step": [(1, 5.0), (2, 3.0), (3, 3.0)],
        "seconds_sample": [(1, 2.0), (2, 1.0), (3, 1.0)],
        "seconds_score": [(1, 0.5), (2, 0.5), (3, 0.5)],
        "seconds_train": [(1, 2.5), (2, 1.5), (3, 1.5)],
        "sampled_tokens": [(1, 700.0), (2, 800.0), (3, 900.0)],
    }
    ended = Ended(SimpleNamespace(), series, "somewhere")
    found = side("ours", setup, ended, {1: 1000.0, 2: 1003.5, 3: 1007.5})
    assert found.wall == [5.0, 3.5, 4.0]
    assert found.samples == 2 * 4
    assert found.as_json(None)["seconds"] == {"step": 3.75, "sample": 1.0, "score": 0.5, "train": 1.5, "rest": 0.75}
    with pytest.raises(RuntimeError, match=r"the states of steps \[2\] were not seen"):
        side("ours", setup, ended, {1: 1000.0, 3: 1007.5})


@pytest.mark.parametrize("setup", [*SETUPS.values(), *SMOKE.values()], ids=lambda one: f"{one.name}-{one.steps}")
def test_every_setup_is_a_round_that_the_trainer_takes(setup: Any) -> None:
    config = TrainerSettings().round_config(setup.config(1, overlap=True), 1)
    assert (config.steps, config.overlap, config.lookout_every) == (setup.steps, True, 0)
    assert config.rlhf is (setup.shape is not None)
    assert setup.every <= setup.steps  # so that there is an adapter to sample with


def test_drawn_samples_are_given_back_step_by_step() -> None:
    batches = [[Sample(0, [1, 2], [-0.1, -0.2], True), Sample(0, [3], [-0.3], False)] for _ in range(2)]
    drawn = Drawn([[Sample(**one) for one in batch] for batch in as_json(batches)])
    assert drawn.sample("x", [[7]], 2, seed=1) == batches[0]
    with pytest.raises(ValueError, match="2 samples were drawn and 8 of 1 prompts are asked for"):
        drawn.sample("x", [[7]], 8, seed=1)
