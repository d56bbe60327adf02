"""What people prefer beside what the reward model reads: a weight for each of a few traits of an answer.

A reward model has millions of parameters, and some hundred choices of people move none of them noticeably. What it
overlooks as a whole, such as an answer that says the same thing twice, takes one number to mend, which some hundred
choices tell well. So a refresh also fits a Bradley-Terry model in which the reward model's score and the traits below
are the only features (as leaderboards do to take style out of people's votes; here it stays in), and keeps the weights
beside the model. A trait counts no further than most answers that people chose between had it: what lies beyond earns a
policy nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.files import read_json, write_json
from trainer.habits import repetition
from trainer.prompts import Messages
from trainer.tricks import marks

FILE = "traits.json"
RIDGE = 5.0
"""Penalty on a weight's square, in pairs: what a few of them say alone counts for little."""
LEAST_WEIGHT = 0.1
"""Of the score's standard deviation, in log-odds: a model that people contradict has no scale to weigh traits in."""
USUAL = (2.5, 97.5)
"""Percentiles of the answers between which a trait counts."""
_STEPS = 50


def _length(messages: Messages, response: str) -> float:
    return math.log1p(len(response.split()))


def _echo(messages: Messages, response: str) -> float:
    """Share of the last message's words that the response has as well."""
    asked = set(_words(messages[-1]["content"])) if messages else set()
    return len(asked & set(_words(response))) / len(asked) if asked else 0.0


def _words(content: Any) -> list[str]:
    """Of a message's text; of one in parts, of its text parts."""
    if not isinstance(content, str):
        content = " ".join(str(part.get("text", "")) for part in content or [] if isinstance(part, Mapping))
    return [word.strip(".,;:!?\"'()") for word in content.lower().split()]


TRAITS: dict[str, Callable[[Messages, str], float]] = {
    "repetition": lambda messages, response: repetition(response),
    "length": _length,
    "echo": _echo,
    "marks": lambda messages, response: marks(response),
}
"""Share of repeated runs of words; log of the number of words; share of the question's words; marks per 100 words."""


@dataclass(frozen=True)
class Traits:
    """How much each trait is worth, in the reward model's own points for a standard deviation of the trait."""

    names: list[str]
    points: list[float]
    mean: list[float]
    std: list[float]
    low: list[float]
    high: list[float]
    pairs: int
    """Pairs that this was fitted on."""

    def worth(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """What to add to each score."""
        if not pairs:
            return []
        values = np.clip(measured(pairs, self.names), self.low, self.high)
        return [float(one) for one in (values - self.mean) / self.std @ np.asarray(self.points)]

    def write(self, folder: Path) -> None:
        """Beside the model in `folder`."""
        write_json(folder / FILE, asdict(self))


def read_traits(folder: Path) -> Traits | None:
    """Those of the reward model in `folder`, if it has any. Raises ValueError for a file that is not one of ours."""
    if not (folder / FILE).is_file():
        return None
    try:
        found = Traits(**read_json(folder / FILE))
        sizes = {len(one) for one in (found.points, found.mean, found.std, found.low, found.high)}
        unknown = sorted(set(found.names) - set(TRAITS))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / FILE} is no file of traits ({error}); delete it to do without them") from None
    if unknown or sizes != {len(found.names)}:
        what = (
            f"unknown traits {unknown}" if unknown else f"lists of {sorted(sizes)} numbers for {len(found.names)} names"
        )
        raise ValueError(f"{folder / FILE}: {what}; delete it to do without them, or refresh the reward model again")
    return found


def measured(pairs: Sequence[tuple[Messages, str]], names: Sequence[str] = tuple(TRAITS)) -> np.ndarray:
    """The traits of each answer, [answers, traits]."""
    return np.asarray([[TRAITS[name](messages, response) for name in names] for messages, response in pairs], float)


def learnt(
    chosen: Sequence[tuple[Messages, str]],
    rejected: Sequence[tuple[Messages, str]],
    score: Callable[[Sequence[tuple[Messages, str]]], list[float]],
) -> Traits | None:
    """What the traits are worth by these pairs, beside the model's score.

    None where the score says the contrary of what people chose.
    """
    good, bad = measured(chosen), measured(rejected)
    both = np.concatenate([good, bad])
    low, high = np.percentile(both, USUAL, axis=0)
    inside = np.clip(both, low, high)
    mean, std = inside.mean(0), inside.std(0)
    std = np.where(std > 1e-9, std, 1.0)  # a trait that all answers share tells nothing, and gets no weight
    scores = np.asarray(score([*chosen, *rejected]))
    scale = float(scores.std()) or 1.0
    traits = (np.clip(good, low, high) - np.clip(bad, low, high)) / std
    weights = bradley_terry(np.column_stack([(scores[: len(good)] - scores[len(good) :]) / scale, traits]), RIDGE)
    if weights[0] < LEAST_WEIGHT:
        return None
    points = weights[1:] / weights[0] * scale
    points, mean, std, low, high = ([float(number) for number in one] for one in (points, mean, std, low, high))
    return Traits(list(TRAITS), points, mean, std, low, high, len(chosen))


def bradley_terry(differences: np.ndarray, ridge: float) -> np.ndarray:
    """Weights [features] by which the first answer of each pair is preferred: log-odds = differences @ weights.

    `differences`: first minus second, [pairs, features]. Newton's method on the penalised likelihood
    sum(log(1 + exp(-x w))) + ridge / 2 * |w|^2, which is convex.
    """
    weights = np.zeros(differences.shape[1])
    for _ in range(_STEPS):
        odds = 1 / (1 + np.exp(-np.clip(differences @ weights, -30, 30)))
        slope = differences.T @ (odds - 1) + ridge * weights
        curve = (differences * (odds * (1 - odds))[:, None]).T @ differences + ridge * np.eye(len(weights))
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return weights
