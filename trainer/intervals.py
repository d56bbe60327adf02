"""Differences over paired prompts, with how sure one can be of them, and what is left of them at equal length.

Numbers only. All intervals are percentile bootstraps over prompts (Efron 1979): samples of one prompt are not
independent, prompts are.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Paired:
    """Two sides measured on the same prompts."""

    before: float
    after: float
    difference: float
    """Of what counts: the mean margin, or the win rate above one half."""
    low: float
    high: float
    win_rate: float
    """Share of pairings (each answer of one side with each of the other, to one prompt) won; ties count half."""
    win_low: float
    win_high: float
    effect: float
    """The difference in standard deviations of the first side's single answers; of wins, the difference itself."""
    controlled: float
    """The difference that would be left if the answers were equally long."""
    controlled_low: float
    controlled_high: float

    def as_json(self) -> dict[str, Any]:
        """For a row; rounded to what is meaningful."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def paired(
    before: np.ndarray,
    after: np.ndarray,
    confidence: float,
    seed: int,
    *,
    gaps: np.ndarray | None = None,
    wins: bool = False,
) -> Paired:
    """Compare scores of shape (prompts, samples); the rows of both are the same prompts.

    `wins`: count who won each pairing, and not by how much. `gaps`: how much longer the second side's answer is in each
    pairing, see `pairings`. Raises ValueError on other shapes or fewer than two prompts.
    """
    if before.ndim != 2 or after.ndim != 2 or len(before) != len(after) or len(before) < 2:
        raise ValueError(f"expected (prompts, samples) of the same prompts, got {before.shape} and {after.shape}")
    margins = pairings(before, after)
    won = (np.sign(margins) + 1) / 2
    outcomes = won - 0.5 if wins else margins
    differences, shares = outcomes.mean((1, 2)), won.mean((1, 2))
    level = differences if gaps is None else at_equal_length(outcomes, gaps)
    lows, highs = interval(np.stack([differences, shares, level], -1), confidence, seed)
    spread = 1.0 if wins else float(before.std())
    gain = float(differences.mean())
    return Paired(
        before=float(before.mean()),
        after=float(after.mean()),
        difference=gain,
        low=float(lows[0]),
        high=float(highs[0]),
        win_rate=float(shares.mean()),
        win_low=float(lows[1]),
        win_high=float(highs[1]),
        effect=gain / spread if spread > 0 else 0.0,
        controlled=float(level.mean()),
        controlled_low=float(lows[2]),
        controlled_high=float(highs[2]),
    )


def pairings(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Second side minus first, for each answer of one with each of the other: (prompts, samples before, after)."""
    return after[:, None, :] - before[:, :, None]


def at_equal_length(outcomes: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Each prompt's mean outcome, without what its judge pays for length. Both arguments as `pairings` gives them.

    The price of length is the slope of outcomes on gaps within prompts, where the sides' difference cancels; with one
    sample there is nothing within, and the slope is taken between prompts. After the regression of length-controlled
    AlpacaEval (arXiv 2404.04475), which knows no samples. A gap that is NaN (no response to measure) is left out.
    """
    known = np.isfinite(gaps)
    counts = np.maximum(known.sum((1, 2)), 1)
    gap = np.where(known, gaps, 0.0)
    means = gap.sum((1, 2)) / counts
    own = np.where(known, outcomes, 0.0).sum((1, 2)) / counts
    inner_gap = np.where(known, gap - means[:, None, None], 0.0)
    inner_outcome = np.where(known, outcomes - own[:, None, None], 0.0)
    if not inner_gap.any():
        inner_gap, inner_outcome = means - means.mean(), own - own.mean()
    spread = float((inner_gap**2).sum())
    slope = float((inner_gap * inner_outcome).sum()) / spread if spread > 0 else 0.0
    return outcomes.mean((1, 2)) - slope * means


def interval(differences: np.ndarray, confidence: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap interval of the mean of `differences`, one per prompt; of several figures at once, in columns."""
    means = _shares(len(differences), seed) @ differences
    tail = (1 - confidence) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


@lru_cache(maxsize=1)
def _shares(prompts: int, seed: int) -> np.ndarray:
    """How much of each resample each prompt is: (RESAMPLES, prompts). All figures of a verdict share the resamples."""
    places = np.random.default_rng(seed).integers(0, prompts, (RESAMPLES, prompts))
    places += np.arange(RESAMPLES)[:, None] * prompts
    return np.bincount(places.ravel(), minlength=RESAMPLES * prompts).reshape(RESAMPLES, prompts) / prompts
