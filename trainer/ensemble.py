"""Several reward models as one. Where they disagree, a policy finds what pleases one of them alone."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, pstdev
from typing import Literal

from trainer.prompts import Messages
from trainer.rewards import SUMMED, RewardModel, costs_of, figures_of, scores_of

Combine = Literal["mean", "minimum", "mean_minus_deviation"]


class Ensemble:
    """Combines its members' scores, each brought to mean 0 and deviation 1 over what is scored together.

    Scores of different models have different scales, so they can be compared only so; one pair alone scores 0.
    `figures["reward_disagreement"]`: the members' deviation from each other, mean over the newest call, in deviations;
    what judges among them cost adds up.
    """

    relative = True

    def __init__(self, members: Sequence[RewardModel], combine: Combine) -> None:
        if len(members) < 2:
            raise ValueError(f"an ensemble of {len(members)} reward models: it needs two or more")
        self._members, self._combine = members, combine
        self.figures: dict[str, float] = {}

    @property
    def costs(self) -> dict[str, float]:
        """Of the judges among the members."""
        return costs_of(*self._members)

    def with_parts(self, replace: Callable[[RewardModel, Callable[[Messages], bool]], RewardModel]) -> "Ensemble":
        """The same of other members: all of them are asked about every answer."""
        return Ensemble([replace(member, lambda messages: True) for member in self._members], self._combine)

    def score(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """Combined scores, in deviations."""
        return self._scores(pairs, None)

    def between(self, pairs: Sequence[tuple[Messages, str]], sides: Sequence[int]) -> list[float]:
        """The same where answers of different sides are compared."""
        return self._scores(pairs, sides)

    def _scores(self, pairs: Sequence[tuple[Messages, str]], sides: Sequence[int] | None) -> list[float]:
        told = [standardised(scores_of(member, pairs, sides)) for member in self._members]
        columns = list(zip(*told, strict=True))
        apart = [pstdev(column) for column in columns if all(map(math.isfinite, column))]
        self.figures = {}
        for name, value in (figure for member in self._members for figure in figures_of(member).items()):
            self.figures[name] = value + (self.figures.get(name, 0.0) if name in SUMMED else 0.0)
        if apart:
            self.figures["reward_disagreement"] = fmean(apart)
        return [combined(column, self._combine) for column in columns]


def combined(scores: Sequence[float], how: Combine) -> float:
    """One score of several; NaN where a member has none."""
    if any(map(math.isnan, scores)):
        return math.nan
    if how == "minimum":
        return min(scores)
    return fmean(scores) - (pstdev(scores) if how == "mean_minus_deviation" else 0.0)


def standardised(scores: Sequence[float]) -> list[float]:
    """With mean 0 and deviation 1; all 0 where all are equal. What is NaN counts in neither, and stays so."""
    numbers = [score for score in scores if not math.isnan(score)]
    mean, spread = (fmean(numbers), pstdev(numbers)) if numbers else (0.0, 0.0)
    return [math.nan if math.isnan(score) else (score - mean) / spread if spread > 0 else 0.0 for score in scores]
