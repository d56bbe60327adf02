"""Two sides measured on the same prompts, seed by seed, and what it comes to over all seeds. Arithmetic only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 10_000


def pooled(before: Sequence[Any], after: Sequence[Any]) -> dict[str, float]:
    """Means over seeds of the means over prompts; the interval (95 %) by a bootstrap over seeds, then over prompts.

    Both hold an array for each seed, of the same prompts. With few seeds the interval is too narrow rather than too
    wide; three are what the machine allows. Raises ValueError where the sides are not of the same seeds and prompts.
    """
    old, new = ([np.asarray(one, dtype=float) for one in side] for side in (before, after))
    shapes = [[one.shape for one in side] for side in (old, new)]
    if not old or shapes[0] != shapes[1]:
        raise ValueError(
            f"expected scores of the same seeds and prompts on both sides, got {shapes[0]} and {shapes[1]}"
        )
    dice = np.random.default_rng(0)
    gaps = [b - a for a, b in zip(old, new, strict=True)]
    drawn = np.stack([gap[dice.integers(0, len(gap), (RESAMPLES, len(gap)))].mean(1) for gap in gaps])
    seeds = dice.integers(0, len(gaps), (len(gaps), RESAMPLES))
    low, high = np.percentile(np.take_along_axis(drawn, seeds, axis=0).mean(0), [2.5, 97.5])
    return {
        "before": round(float(np.mean([one.mean() for one in old])), 4),
        "after": round(float(np.mean([one.mean() for one in new])), 4),
        "difference": round(float(np.mean([gap.mean() for gap in gaps])), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
