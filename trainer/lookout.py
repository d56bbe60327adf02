"""Looks at the policy while it is trained: other prompts, scored by the reward model and by the second judge.

Training reward can go on rising while answers get worse; the second judge, which nothing is trained on, shows it first.
Where either surely fell, twice in a row, training ends with the weights that the judge liked best.

The prompts are mix prompts that stand in for withdrawn ones: no user wrote them, and they are not the gate's, whose
verdict would be worth less on prompts by which the weights were chosen.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from trainer.brakes import Enough
from trainer.files import read_json, write_json
from trainer.gateway import GatewayError
from trainer.policy import copy_weights, prompt_ids
from trainer.prompts import Prompt
from trainer.rewards import RewardModel, grade
from trainer.rollout import seed_of
from trainer.versions import Versions
from trainer.work import Work

log = logging.getLogger(__name__)

LEAST_PROMPTS = 4
SURE = 3.0
"""Standard errors by which the mean over prompts must have fallen."""
LOOKS, BEST = "looks.json", "best"
SAMPLES_AS_IT_TRAINS = ("grpo", "ppo")
"""Algorithms that have the newest version loaded on the engine at each step."""


@dataclass(frozen=True)
class Look:
    """What the policy was worth after `updates`: mean score of each prompt, by each of the models."""

    updates: int
    reward: list[float]
    judge: list[float]


class Lookout:
    """The looks of one round, kept in its folder so that a resumed one remembers."""

    def __init__(self, work: Work, prompts: Sequence[Prompt], reward: RewardModel, judge: RewardModel) -> None:
        self._work, self._prompts, self._models = work, prompts, {"reward": reward, "judge": judge}
        self._file, self._best = work.folder / LOOKS, work.folder / BEST
        kept = read_json(self._file) if self._file.is_file() else []
        self.looks = [Look(**one) for one in kept if one["updates"] < work.step]

    def __call__(self, step: int) -> None:
        """Look when it is time, after `step`: at the weights that this step sampled from. Raises Enough."""
        updates = step - 1
        if updates % self._work.config.lookout_every:
            return
        served = self._served(updates)
        if served is None:
            return
        name, adapter = served
        try:
            look = self._look(name, updates)
        except GatewayError as error:
            if error.status != 404:
                raise
            log.warning("round %d: no look after %d updates: %s", self._work.round_id, updates, error)
            return
        self.looks = [*(one for one in self.looks if one.updates < updates), look]
        best = max(self.looks, key=lambda one: fmean(one.judge))
        if best is look and adapter is not None:
            shutil.rmtree(self._best, ignore_errors=True)
            copy_weights(adapter, self._best, self._work)
        write_json(self._file, [asdict(one) for one in self.looks])
        why = turned_down(self.looks)
        if why is not None:
            raise Enough(why, self._best if best.updates else None, best.updates)

    def _served(self, updates: int) -> tuple[str, Path | None] | None:
        """The policy's name on the engine and the folder of its adapter; None where no state of it was saved."""
        work = self._work
        if updates == 0:
            return work.parent.served_as, None
        if work.config.algorithm in SAMPLES_AS_IT_TRAINS:
            name = work.version(updates)
            return name, work.folder / "versions" / name
        from trainer.states import last_state, step_of  # transformers' trainer, which has been imported by then

        saved = last_state(work.folder / "states")
        if saved is None or step_of(saved) != updates:
            return None
        versions = Versions(work)
        versions.clear()
        name = versions.publish_copy(saved, updates)
        return name, work.folder / "versions" / name

    def _look(self, name: str, updates: int) -> Look:
        work, config = self._work, self._work.config
        samples = work.gateway.sample(
            name,
            [prompt_ids(work.reader.tokenizer, prompt.messages) for prompt in self._prompts],
            config.lookout_samples,
            max_tokens=config.max_completion_tokens,
            temperature=config.gate_temperature,
            seed=seed_of("lookout", config.seed),
        )
        outputs = [work.reader.read(sample.token_ids, sample.finished) for sample in samples]
        asked = [self._prompts[sample.prompt].messages for sample in samples]
        scores: dict[str, list[float]] = {}
        for which, model in self._models.items():
            graded = grade(model, asked, outputs, config.lookout_samples, config.malformed_margin)
            rewards = np.array([one.reward for one in graded]).reshape(len(self._prompts), config.lookout_samples)
            scores[which] = rewards.mean(1).tolist()
        figures = {f"lookout_{which}": fmean(each) for which, each in scores.items()}
        figures["lookout_malformed"] = fmean(not parsed.well_formed for parsed in outputs)
        work.ledger.measured(updates + 1, figures)
        return Look(updates, scores["reward"], scores["judge"])


def turned_down(looks: Sequence[Look]) -> str | None:
    """Why training should end: by one of the models the two newest looks are surely below the best one before them."""
    if len(looks) < 3:
        return None
    for which, words in (("judge", "the second judge"), ("reward", "the reward model")):
        scores = [np.array(getattr(look, which)) for look in looks]
        best = int(np.argmax([each.mean() for each in scores[:-2]]))
        if all(surely_below(each, scores[best]) for each in scores[-2:]):
            return (
                f"on prompts that it does not train on {words} fell from {scores[best].mean():.3f} after "
                f"{looks[best].updates} updates to {scores[-1].mean():.3f} after {looks[-1].updates}"
            )
    return None


def surely_below(now: np.ndarray, best: np.ndarray) -> bool:
    """Whether the scores of the same prompts fell by more than chance would have it."""
    gap = best - now
    error = float(gap.std(ddof=1)) / len(gap) ** 0.5
    return float(gap.mean()) > SURE * error


def lookout_of(work: Work, spares: Sequence[Prompt], reward: RewardModel, judge: RewardModel) -> Lookout | None:
    """The round's lookout; None where it is off, the round too short for three looks, or too few prompts there."""
    every = work.config.lookout_every
    if not every or work.config.steps <= 2 * every or len(spares) < LEAST_PROMPTS:
        return None
    return Lookout(work, spares, reward, judge)
