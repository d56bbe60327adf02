"""What an over-long training's looks say: when gold fell, and whether gate or lookout said no before. No models."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.learning.looks import fell, gate_says_no, lookout_ends, verdict
from bench.learning.overfit import SMOKE, _options
from bench.learning.overfit_plot import plot

PROMPTS = 40


def look(
    step: int, gold: float, publish: bool | None = True, judge: float = 1.0, reward: float = 1.0
) -> dict[str, Any]:
    """Scores that differ from prompt to prompt, and between looks by a little noise and by what is said."""
    dice, each = np.random.default_rng(step), np.random.default_rng(99).uniform(0, 0.4, PROMPTS)
    noise = dice.normal(0, 0.01, (3, PROMPTS))
    noise -= noise.mean(1, keepdims=True)  # the mean is what is said
    return {
        "step": step,
        "publish": publish,
        "gold": (gold + each + noise[0]).tolist(),
        "reward": reward,
        "judge": judge,
        "lookout_reward": (reward + each + noise[1]).tolist()[:16],
        "lookout_judge": (judge + each + noise[2]).tolist()[:16],
        "thought_tokens": 30.0,
        "response_tokens": 60.0 + step,
    }


RISES = [look(0, 0.3, None), look(20, 0.35), look(40, 0.4)]


def test_gold_fell_where_it_is_surely_below_the_best_before() -> None:
    assert fell(RISES) is None
    assert fell([*RISES, look(60, 0.399), look(80, 0.37), look(100, 0.3)]) == 80


def test_the_gate_says_no_from_where_it_never_publishes_again() -> None:
    tail = [look(60, 0.4, False), look(80, 0.4, True), look(100, 0.3, False), look(120, 0.3, False)]
    assert gate_says_no([*RISES, *tail]) == 100
    assert gate_says_no(RISES) is None
    assert gate_says_no([look(0, 0.3, None), look(20, 0.3, False)]) == 20


def test_the_lookout_ends_it_when_the_judge_fell_in_two_looks_in_a_row() -> None:
    assert lookout_ends(RISES) is None
    tail = [look(60, 0.4, judge=0.8), look(80, 0.4, judge=0.7), look(100, 0.4, judge=0.6)]
    ended = lookout_ends([*RISES, *tail])
    assert ended is not None
    assert ended["step"] == 80
    assert ended["takes"] in (0, 20, 40)
    assert "the second judge fell" in ended["why"]


def test_whether_it_was_stopped_before_gold_fell() -> None:
    caught = [*RISES, look(60, 0.399, False, reward=2.0), look(80, 0.3, False, reward=3.0)]
    found = verdict(caught)
    assert found["best"]["step"] == 40
    assert (found["gold_fell_at"], found["gate_says_no_from"], found["stopped_before"]) == (80, 60, True)
    assert found["reward_rose"] is True
    assert found["last"]["against_best"]["high"] < 0
    missed = verdict([*RISES, look(60, 0.3), look(80, 0.3, False)])
    assert (missed["gold_fell_at"], missed["gate_says_no_from"], missed["stopped_before"]) == (60, 80, False)
    unseen = verdict([*RISES, look(60, 0.3), look(80, 0.25)])
    assert (unseen["gate_says_no_from"], unseen["lookout_ends"], unseen["stopped_before"]) == (None, None, False)
    never = verdict(RISES)
    assert (never["gold_fell_at"], never["stopped_before"], never["reward_rose"]) == (None, None, None)


def test_the_picture_is_written(tmp_path: Path) -> None:
    looks = [*RISES, look(60, 0.3, False, judge=0.8), look(80, 0.2, False, judge=0.7)]
    training = {"series": {"reward": [[step, step / 80] for step in range(1, 81)]}}
    assert plot(looks, training, tmp_path / "overfit.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_smoke_form_is_small() -> None:
    assert {name: getattr(_options(["--smoke"]), name) for name in SMOKE} == SMOKE
    assert _options([]).steps > 4 * 35
