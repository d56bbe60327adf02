"""Samples read and scored at one time, and what a step's figures tell of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from trainer.prompts import Messages
from trainer.rewards import SUMMED, Graded, Reader, RewardModel, figures_of, grade
from trainer.round_config import RoundConfig


@dataclass(frozen=True)
class Scored:
    """Completions group by group. `figures`: what the reward model said of this call beside the scores."""

    token_ids: list[list[int]]
    graded: list[Graded]
    figures: dict[str, float]
    seconds: float

    @property
    def rewards(self) -> list[float]:
        """In the completions' order."""
        return [one.reward for one in self.graded]


def score(
    reader: Reader,
    model: RewardModel,
    config: RoundConfig,
    conversations: Sequence[Messages],
    token_ids: Sequence[Sequence[int]],
    finished: Sequence[bool],
) -> Scored:
    """Read and score completions; the other arguments have one entry for each of them."""
    start = time.perf_counter()
    outputs = [reader.read(ids, done) for ids, done in zip(token_ids, finished, strict=True)]
    graded = grade(model, conversations, outputs, config.group_size, config.malformed_margin)
    return Scored([list(ids) for ids in token_ids], graded, figures_of(model), time.perf_counter() - start)


def told(reader: Reader, calls: Sequence[Scored]) -> dict[str, float]:
    """Figures of everything that was scored for a step, also of what it does not train on.

    Of a reward model's figures that do not add up (SUMMED) the first call's is told.
    """
    graded = [one for call in calls for one in call.graded]
    well = [one.reward for one in graded if one.parsed.well_formed]
    found = {
        "malformed_share": 1 - len(well) / len(graded),
        "sampled_tokens": float(sum(len(ids) for call in calls for ids in call.token_ids)),
        "thought_tokens": fmean(reader.tokens([one.parsed.reasoning for one in graded])),
        "response_tokens": fmean(reader.tokens([one.parsed.response for one in graded])),
    }
    if well:
        found["reward_well_formed"] = fmean(well)
    for call in calls:
        for name, value in call.figures.items():
            found[name] = found.get(name, 0.0) + value if name in SUMMED else found.get(name, value)
    return found
