"""The gate's regression set: answers that people keep an eye on, asked for again, and whether they hold.

An answer to a prompt that had a good one holds when the second judge puts it no further below that one than live's own
answers lie apart. One to a prompt that had an answer which is never to come again holds when the judge puts it above,
and it does not nearly say the same. A malformed one never holds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from db.values import KeptAnswer
from thinking.format import Parsed
from trainer.near import Near
from trainer.personal import kinds, redacted
from trainer.prompts import up_to_user
from trainer.rewards import RewardModel, scores_of
from trainer.round_config import RoundConfig

SAME = 0.8
"""Share of common runs of words from which two answers nearly say the same, as among prompts."""


@dataclass(frozen=True)
class Regressions:
    """How many answers of each side held, prompt by prompt, of `samples` each. `ids`: of the answers kept in sight."""

    ids: Sequence[str]
    live: Sequence[int]
    candidate: Sequence[int]
    samples: int

    @property
    def cases(self) -> int:
        """How many prompts there are."""
        return len(self.ids)

    @property
    def live_share(self) -> float:
        """Of live's answers, those that hold."""
        return sum(self.live) / (self.cases * self.samples)

    @property
    def candidate_share(self) -> float:
        """Of the candidate's."""
        return sum(self.candidate) / (self.cases * self.samples)

    @property
    def chance(self) -> float:
        """How likely the candidate would hold so few or fewer if both sides were alike: the exact test over strata.

        Of the answers to one prompt that hold, how many are the candidate's is hypergeometric then; prompts are
        independent, since the set is fixed (Mantel and Haenszel 1959).
        """
        total = np.ones(1)
        for old, new in zip(self.live, self.candidate, strict=True):
            total = np.convolve(total, _hypergeometric(old + new, self.samples))
        return float(min(1.0, total[: sum(self.candidate) + 1].sum()))

    def fell(self, config: RoundConfig) -> bool:
        """Whether fewer of the candidate's hold: by more than is allowed, and by more than chance explains."""
        fall = self.live_share - self.candidate_share
        return fall > config.gate_max_regression and self.chance < 1 - config.gate_confidence

    def as_json(self) -> dict[str, Any]:
        """For a row; those of which fewer hold than of live's are named by their ids."""
        pairs = zip(self.ids, self.live, self.candidate, strict=True)
        return {
            "prompts": self.cases,
            "live": round(self.live_share, 5),
            "candidate": round(self.candidate_share, 5),
            "chance": round(self.chance, 5),
            "fell": [name for name, old, new in pairs if new < old],
        }


def as_trained(kept: Sequence[KeptAnswer], config: RoundConfig) -> list[KeptAnswer]:
    """As curation would have them: without thoughts, and personal data taken out, or those left that have any."""
    found = []
    for one in kept:
        plain = replace(one, messages=up_to_user(one.messages))
        whole = [*plain.messages, {"role": "assistant", "content": one.response}]
        if config.personal_data == "keep" or not kinds(whole):
            found.append(plain)
        elif config.personal_data == "redact":
            *messages, answer = redacted(whole)
            found.append(replace(plain, messages=messages, response=answer["content"]))
    return found


def compare(
    kept: Sequence[KeptAnswer],
    live: Sequence[Sequence[Parsed]],
    candidate: Sequence[Sequence[Parsed]],
    judge: RewardModel,
) -> Regressions:
    """Score both sides' answers to each kept prompt against the kept answer. As many answers of each side to each."""
    samples = len(live[0])
    (given, old), (beside, new) = _scores(kept, (live, candidate), judge)
    spread = _spread(old)
    held = [
        [
            sum(
                _holds(one, answer, score, mark, spread)
                for answer, score in zip(answers, scores, strict=True)
                if answer.well_formed
            )
            for one, answers, scores, mark in zip(kept, side, marks, bars, strict=True)
        ]
        for side, marks, bars in ((live, old, given), (candidate, new, beside))
    ]
    return Regressions([one.id for one in kept], held[0], held[1], samples)


def _holds(one: KeptAnswer, answer: Parsed, score: float, mark: float, spread: float) -> bool:
    if one.kind == "good":
        return score >= mark - spread
    return score > mark and not _nearly(one.response, answer.response)


def _nearly(one: str, other: str) -> bool:
    seen = Near(SAME)
    seen.add(one)
    return seen.find(other) is not None


def _scores(
    kept: Sequence[KeptAnswer], sides: Sequence[Sequence[Sequence[Parsed]]], judge: RewardModel
) -> list[tuple[list[float], list[list[float]]]]:
    """Of each side: the judge's scores of the kept answers beside it, and of its answers, NaN where malformed.

    All in one call, since some judges' scores compare only within one. One that compares answers compares each of a
    side with the kept one alone: the sides don't meet, and the kept one's share of what it won is another beside each.
    """
    asked = [
        (one.messages, text, at)
        for side in sides
        for one, answers in zip(kept, side, strict=True)
        for at, text in ((0, one.response), *((1, answer.response) for answer in answers if answer.well_formed))
    ]
    told = iter(scores_of(judge, [(messages, text) for messages, text, _ in asked], [at for _, _, at in asked]))
    found = []
    for side in sides:
        rows = [(next(told), [next(told) if one.well_formed else math.nan for one in answers]) for answers in side]
        found.append(([mark for mark, _ in rows], [scores for _, scores in rows]))
    return found


def _spread(scores: Sequence[Sequence[float]]) -> float:
    """How far answers to one prompt lie apart: the standard deviation within prompts, pooled; 0 where there is none."""
    groups = [[score for score in row if not math.isnan(score)] for row in scores]
    freedom = sum(len(row) - 1 for row in groups if row)
    return math.sqrt(sum(np.var(row) * len(row) for row in groups if row) / freedom) if freedom else 0.0


def _hypergeometric(held: int, samples: int) -> np.ndarray:
    """Probability of 0 to `samples` of `held` among one side's `samples`, where both sides have as many."""
    ways = math.comb(2 * samples, held)
    return np.array(
        [math.comb(samples, own) * math.comb(samples, held - own) / ways if own <= held else 0.0
         for own in range(samples + 1)]
    )  # fmt: skip
