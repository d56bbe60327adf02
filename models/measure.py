"""Measures the models for their card: gold on held-out prompts, form, agreement, headroom. Trains nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from models import gold
from thinking.format import Parsed

Messages = Sequence[dict[str, Any]]


def golds(prompts: Sequence[Messages], samples: Sequence[Sequence[Parsed]]) -> list[list[float]]:
    """Gold of each sample; 0 for one that is not well-formed."""
    return [
        [gold.score(m, s.response).score if s.well_formed else 0.0 for s in group]
        for m, group in zip(prompts, samples, strict=True)
    ]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def mean_se(groups: Sequence[Sequence[float]]) -> dict[str, float]:
    """Mean over all, and its standard error over prompts (the groups)."""
    means = [mean(g) for g in groups]
    centre = mean(means)
    spread = sum((m - centre) ** 2 for m in means) / max(1, len(means) - 1)
    return {"mean": round(centre, 4), "se": round(math.sqrt(spread / len(means)), 4)}


def well_formed(samples: Sequence[Sequence[Parsed]], thinking: bool = True) -> float:
    """Share of samples with a closed, non-empty thought and a finished response (without thinking: the latter)."""
    flat = [s for group in samples for s in group]
    return mean(
        [
            float(s.well_formed if thinking else bool(s.response) and s.ending.value == "no_thought" or s.well_formed)
            for s in flat
        ]
    )


def agreement(scores: Sequence[Sequence[float]], truth: Sequence[Sequence[float]], least: float = 0.02) -> float:
    """Share of same-prompt sample pairs, differing by at least `least` in truth, that the scores order alike."""
    right = total = 0
    for found, real in zip(scores, truth, strict=True):
        for i in range(len(real)):
            for j in range(i):
                if abs(real[i] - real[j]) >= least:
                    total += 1
                    right += (found[i] - found[j]) * (real[i] - real[j]) > 0
    return right / total if total else float("nan")


def best_of(scores: Sequence[Sequence[float]], truth: Sequence[Sequence[float]]) -> dict[str, float]:
    """Mean gold of the sample with the highest score, and how far it is above the mean of all."""
    best = [[real[max(range(len(real)), key=found.__getitem__)]] for found, real in zip(scores, truth, strict=True)]
    top = mean_se(best)
    return {**top, "gain": round(top["mean"] - mean_se(truth)["mean"], 4)}


def correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Pearson's."""
    a, b = mean(left), mean(right)
    top = sum((x - a) * (y - b) for x, y in zip(left, right, strict=True))
    return top / math.sqrt(sum((x - a) ** 2 for x in left) * sum((y - b) ** 2 for y in right))


def length_bias(rewards: Sequence[Sequence[float]], lengths: Sequence[Sequence[int]]) -> float:
    """Correlation of reward and length within prompts: 0 where length buys nothing."""
    flat_r, flat_l = [], []
    for r, n in zip(rewards, lengths, strict=True):
        flat_r += [x - mean(r) for x in r]
        flat_l += [x - mean(n) for x in n]
    return correlation(flat_r, flat_l)


def show(
    prompts: Sequence[Messages], samples: Sequence[Sequence[Parsed]], count: int, seed: int
) -> list[dict[str, str]]:
    """A few samples to read."""
    places = random.Random(seed).sample(range(len(prompts)), count)
    return [
        {"prompt": prompts[i][-1]["content"], "thought": samples[i][0].reasoning, "response": samples[i][0].response}
        for i in places
    ]
