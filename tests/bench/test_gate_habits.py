"""The gate's checks that ask no judge, on candidates that are drawn: what each default stops, and what it lets pass."""

import numpy as np
import pytest

from bench.gate_habits import TABLES, habits
from trainer.habits import Habits
from trainer.round_config import RoundConfig

DEFAULTS = RoundConfig.model_validate({})
RUNS = 200


@pytest.mark.parametrize("setting", [table.setting for table in TABLES])
def test_neighbours_of_each_default_are_tried(setting: str) -> None:
    thresholds = next(table.thresholds for table in TABLES if table.setting == setting)
    assert thresholds[0] < getattr(DEFAULTS, setting) < thresholds[-1]
    assert getattr(DEFAULTS, setting) in thresholds


def test_no_default_stops_many_that_are_no_worse_and_each_finds_nearly_all_that_are_clearly_worse() -> None:
    rows = habits(RUNS, seed=1)
    assert {row["check"] for row in rows} == {table.check for table in TABLES}
    for row in rows:
        stopped = row["stopped"][row["default"]]
        assert row["truth"] != "no worse" or stopped < 0.06, row
        assert row["truth"] != "clearly worse" or stopped > 0.85, row


def test_what_is_drawn_is_what_its_words_say() -> None:
    kinds = {kind.candidate: kind for table in TABLES for kind in table.kinds}
    drawn = {name: mean(name, kinds) for name in ("10%", "1.75 times", "0.097 nats per token")}
    assert drawn["10%"][0].empty_thoughts == pytest.approx(0.1, abs=0.005)
    assert drawn["1.75 times"][0].response_tokens == pytest.approx(1.75 * 80 * np.exp(0.5 + 0.125), rel=0.05)
    assert drawn["0.097 nats per token"][1] == pytest.approx(0.097, abs=0.004)
    looping = next(kind for name, kind in kinds.items() if "1 answer in 10" in name)
    assert mean(looping.candidate, kinds)[0].repetition == pytest.approx(0.9 * 0.0223 + 0.05, abs=0.002)


def mean(name: str, kinds: dict) -> tuple[Habits, float]:  # type: ignore[type-arg]
    """The candidate's habits and its distance, over many draws."""
    dice = np.random.default_rng(2)
    drawn = [kinds[name].draw(dice)[1:] for _ in range(RUNS)]
    fields = {one: float(np.mean([getattr(habit, one) for habit, _ in drawn])) for one in vars(drawn[0][0])}
    return Habits(**fields), float(np.mean([far for _, far in drawn]))
