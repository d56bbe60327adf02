"""The sequential test: by simulation its false alarms stay under its level, looked at after every event."""

import math

import numpy as np
import pytest

from server.sequential import BETS, above, differences, evidence, no_worse, worse

RUNS, EVENTS, LEVEL = 1000, 1000, 0.05
SLACK = 3 * math.sqrt(LEVEL * (1 - LEVEL) / RUNS)  # three standard deviations of the simulation itself


def gaps(dice: np.random.Generator, candidate: float, live: float, runs: int = RUNS, block: int = 9) -> np.ndarray:
    """Differences of arms that fail at these rates: (runs, events), each answer of the candidate against nine."""
    new = dice.binomial(1, candidate, (runs, EVENTS))
    return new - dice.binomial(block, live, (runs, EVENTS)) / block


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_a_candidate_that_is_no_different_is_called_worse_no_more_often_than_the_level(rate: float) -> None:
    """`evidence` is the largest wealth at any of the looks."""
    found = evidence(gaps(np.random.default_rng(1), rate, rate), 1.0)
    assert 0 < (found >= 1 / LEVEL).mean() <= LEVEL + SLACK


def test_a_test_of_fixed_size_looked_at_as_often_would_be_wrong_far_more_often() -> None:
    """That the simulation can tell: the z-test, taken after each event from the 100th on, breaks its level."""
    found = gaps(np.random.default_rng(1), 0.1, 0.1)
    counts = np.arange(1, EVENTS + 1)
    z = found.cumsum(1) / np.sqrt(counts * 0.1 * 0.9 * (1 + 1 / 9))
    assert (z[:, 100:] > 1.645).any(1).mean() > 3 * LEVEL


@pytest.mark.parametrize("live", [0.02, 0.2])
def test_one_that_is_worse_by_the_margin_is_called_no_worse_no_more_often_than_the_level(live: float) -> None:
    margin = 0.05
    found = evidence(margin - gaps(np.random.default_rng(2), live + margin, live), 1 - margin)
    assert (found >= 1 / LEVEL).mean() <= LEVEL + SLACK


def test_a_share_at_its_bound_is_called_above_it_no_more_often_than_the_level() -> None:
    outcomes = np.random.default_rng(3).binomial(1, 0.07, (RUNS, EVENTS))
    assert (evidence(outcomes - 0.07, 0.07) >= 1 / LEVEL).mean() <= LEVEL + SLACK


def test_what_is_worse_or_no_worse_is_found() -> None:
    bad = evidence(gaps(np.random.default_rng(4), 0.2, 0.05, 200)[:, :150], 1.0)
    assert (bad >= 1 / LEVEL).mean() > 0.9
    alike = evidence(0.05 - gaps(np.random.default_rng(5), 0.01, 0.01, 200)[:, :250], 0.95)
    assert (alike >= 1 / LEVEL).mean() > 0.9


def test_the_wealth_is_the_mean_over_the_bets_at_its_highest() -> None:
    assert worse(np.array([])) == pytest.approx(1.0)
    assert worse(np.array([1.0, -1.0])) == pytest.approx((1 + BETS).mean())
    assert no_worse(np.array([0.0]), 0.05) == pytest.approx((1 + BETS / 0.95 * 0.05).mean())
    assert above(np.array([1.0]), 0.5) == pytest.approx((1 + BETS / 0.5 * 0.5).mean())
    assert math.isfinite(worse(np.ones(100_000)))


def test_each_candidates_outcome_meets_as_many_of_lives_as_the_share_gives() -> None:
    found = differences(np.array([1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), 0.25)
    assert found.tolist() == pytest.approx([1 - 1 / 3, 0 - 2 / 3])
    assert differences(np.array([1.0]), np.array([1.0]), 0.5).tolist() == [0.0]
    assert len(differences(np.array([]), np.array([1.0]), 0.1)) == 0


def test_a_gain_below_its_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="below"):
        evidence(np.array([-0.6]), 0.5)
