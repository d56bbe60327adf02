"""Looks at the policy while it is trained: other prompts, scored by the reward model and by the second judge.

Training reward can go on rising while answers get worse; the second judge, which nothing is trained on, shows it first.
Where either surely fell, twice in a row, training ends with the weights that the judge liked best.

Scores of an ensemble or of a pairwise judge compare only what is scored in one call. By such a model the answers of all
looks that count are scored again at each one.

The prompts are mix prompts that stand in for withdrawn ones: no user wrote them, and they are not the gate's, whose
verdict would be worth less on prompts by which the weights were chosen.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from trainer.brakes import Enough
from trainer.curate import LEAST_SPARES
from trainer.files import read_json, write_json
from trainer.gateway import GatewayError
from trainer.policy import copy_weights, prompt_ids
from trainer.prompts import Messages, Prompt
from trainer.rewards import SUMMED, RewardModel, figures_of, is_relative, known, rank_malformed, scores_of
from trainer.rollout import seed_of
from trainer.versions import Versions
from trainer.work import Work

log = logging.getLogger(__name__)

SURE = 3.0
"""Standard errors by which the mean over prompts must have fallen."""
LOOKS, BEST = "looks.json", "best"
SAMPLES_AS_IT_TRAINS = ("grpo", "ppo")
"""Algorithms that have the newest version loaded on the engine at each step."""


@dataclass(frozen=True)
class Look:
    """What the policy was worth after `updates`: mean score of each prompt, by each of the models.

    `answers`: to each prompt, None for a malformed one; kept where a model's scores are relative. `kept`: whether the
    weights that the round would go back to are these.
    """

    updates: int
    reward: list[float] = field(default_factory=list)
    judge: list[float] = field(default_factory=list)
    answers: list[list[str | None]] = field(default_factory=list)
    kept: bool = False


class Lookout:
    """The looks of one round, kept in its folder so that a resumed one remembers."""

    def __init__(self, work: Work, prompts: Sequence[Prompt], reward: RewardModel, judge: RewardModel) -> None:
        self._work, self._prompts, self._models = work, prompts, {"reward": reward, "judge": judge}
        self._file, self._best = work.folder / LOOKS, work.folder / BEST
        self._relative = any(is_relative(model) for model in self._models.values())
        kept = read_json(self._file) if self._file.is_file() else []
        before = [Look(**one) for one in kept if one["updates"] < work.step]
        self.looks = [look for look in before if look.answers or not self._relative]

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
        looks = self._scored([*(one for one in self.looks if one.updates < updates), look])
        best = next((one for one in looks if one.kept), None)
        if best is None or fmean(looks[-1].judge) > fmean(best.judge):
            best = replace(looks[-1], kept=True)
            looks = [*(replace(one, kept=False) for one in looks[:-1]), best]
            shutil.rmtree(self._best, ignore_errors=True)
            if adapter is not None:
                copy_weights(adapter, self._best, self._work)
        why = turned_down(looks)
        self.looks = looks if not self._relative else counting(looks)
        write_json(self._file, [asdict(one) for one in self.looks])
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
        work.ledger.measured(updates + 1, {"lookout_malformed": fmean(not parsed.well_formed for parsed in outputs)})
        said = [parsed.response if parsed.well_formed else None for parsed in outputs]
        size = config.lookout_samples
        return Look(updates, answers=[said[at : at + size] for at in range(0, len(said), size)])

    def _scored(self, looks: Sequence[Look]) -> list[Look]:
        """With the newest look's scores; by a model whose scores are relative, with those of all of them anew."""
        config, conversations = self._work.config, [prompt.messages for prompt in self._prompts]
        out, spent = list(looks), dict[str, float]()
        for which, model in self._models.items():
            first = 0 if is_relative(model) else len(out) - 1
            answers = [look.answers for look in out[first:]]
            for at, scores in enumerate(together(model, conversations, answers, config.malformed_margin), first):
                out[at] = replace(out[at], reward=scores) if which == "reward" else replace(out[at], judge=scores)
                self._work.ledger.measured(out[at].updates + 1, {f"lookout_{which}": fmean(scores)})
            for name, value in figures_of(model).items():
                if name in SUMMED:
                    spent[f"lookout_{name}"] = spent.get(f"lookout_{name}", 0.0) + value
        if spent:
            self._work.ledger.measured(out[-1].updates + 1, spent)
        return out if self._relative else [replace(look, answers=[]) for look in out]


def together(
    model: RewardModel,
    conversations: Sequence[Messages],
    looks: Sequence[Sequence[Sequence[str | None]]],
    margin: float,
) -> list[list[float]]:
    """The mean score of each conversation's answers in each of the looks, all scored in one call.

    A malformed answer (None) is `margin` below the worst well-formed one that any of the looks has there.
    """
    size = len(looks[0][0])
    rows = [
        (messages, answer, side)
        for place, messages in enumerate(conversations)
        for side, look in enumerate(looks)
        for answer in look[place]
    ]
    well = [(messages, answer) for messages, answer, _ in rows if answer is not None]
    sides = [side for _, answer, side in rows if answer is not None] if len(looks) > 1 else None
    told = iter(scores_of(model, well, sides))
    scores = [None if answer is None else known(next(told)) for _, answer, _ in rows]
    ranked = np.array(rank_malformed(scores, len(looks) * size, margin))
    return ranked.reshape(len(conversations), len(looks), size).mean(2).T.tolist()


def counting(looks: Sequence[Look]) -> list[Look]:
    """The looks that a later one can be measured against: the two newest, and the best by each of the models."""
    best = [max(looks, key=lambda one: fmean(getattr(one, which))) for which in ("judge", "reward")]
    return [one for one in looks if one.kept or one in looks[-2:] or any(one is other for other in best)]


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
    if not work.config.looks_out or len(spares) < LEAST_SPARES:
        return None
    return Lookout(work, spares, reward, judge)
