"""Differences over paired prompts, with how sure one can be of them. Numbers only."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Paired:
    """Two sides measured on the same prompts. The interval is of the mean difference, by bootstrap over prompts."""

    before: float
    after: float
    difference: float
    low: float
    high: float
    win_rate: float
    """Share of prompts on which the second side is better, ties counting half."""
    effect: float
    """The difference in standard deviations of the first side's single answers."""

    def as_json(self) -> dict[str, Any]:
        """For a row; rounded to what is meaningful."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def paired(before: np.ndarray, after: np.ndarray, confidence: float, seed: int) -> Paired:
    """Compare scores of shape (prompts, samples); the rows of both are the same prompts.

    Percentile bootstrap (Efron 1979) of the mean over prompts of the difference of the prompts' means.
    Raises ValueError on other shapes or fewer than two prompts.
    """
    if before.ndim != 2 or after.ndim != 2 or len(before) != len(after) or len(before) < 2:
        raise ValueError(f"expected (prompts, samples) of the same prompts, got {before.shape} and {after.shape}")
    differences = after.mean(1) - before.mean(1)
    low, high = interval(differences, confidence, seed)
    spread = float(before.std())
    gain = float(differences.mean())
    return Paired(
        before=float(before.mean()),
        after=float(after.mean()),
        difference=gain,
        low=low,
        high=high,
        win_rate=float((differences > 0).mean() + (differences == 0).mean() / 2),
        effect=gain / spread if spread > 0 else 0.0,
    )


def interval(differences: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    """Bootstrap interval of the mean of `differences`, one per prompt."""
    dice = np.random.default_rng(seed)
    places = dice.integers(0, len(differences), (RESAMPLES, len(differences)))
    means = differences[places].mean(1)
    tail = (1 - confidence) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
