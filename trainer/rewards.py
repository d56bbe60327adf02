"""What a completion earns: the reward model's score of its response, never of its thought.

A `RewardModel` gets a conversation and a response. `rank_malformed` then puts every malformed output of a group below
the group's worst well-formed one. Reading a completion starts from its token ids: decoded text has lost special tokens.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from thinking.format import Parsed, ThinkingFormat
from trainer.prompts import Messages
from trainer.traits import read_traits
from trainer.transcript import Transcript, longest

log = logging.getLogger(__name__)

UNSCORED = 0.2
"""Share of the responses of one call that a model may give no number for."""


class RewardModel(Protocol):
    """Scores a response to a conversation; higher is better. It is never given a thought."""

    def score(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """One score for each (messages, response), in their order."""


def scores_of(
    model: RewardModel, pairs: Sequence[tuple[Messages, str]], sides: Sequence[int] | None = None
) -> list[float]:
    """The model's scores, NaN where it gave no finite number. `sides`: which side each response is of, where sides are
    compared and not single answers.

    A model that compares answers has `between(pairs, sides)` for that, in which only answers of different sides meet.
    Sides of one group stand in ascending order; a lower one begins another group. Raises ValueError where more than a
    fifth have no number.
    """
    between = getattr(model, "between", None)
    found = model.score(pairs) if between is None or sides is None else between(pairs, sides)
    lost = [score for score in found if not math.isfinite(score)]
    if not lost:
        return found
    name = getattr(model, "title", type(model).__name__)
    if len(lost) > max(1, UNSCORED * len(found)):
        raise ValueError(
            f"the reward model {name} gave {lost[0]} for {len(lost)} of {len(found)} responses, where a finite number "
            "was expected; its weights are broken, or its type is too coarse for it: set another reward_model or "
            "judge_model, whichever names it"
        )
    log.warning("the reward model %s gave no number for %d of %d responses", name, len(lost), len(found))
    return [score if math.isfinite(score) else math.nan for score in found]


def known(score: float | None) -> float | None:
    """The score; None where there is none, or it is no number: such an answer earns as little as a malformed one."""
    return None if score is None or math.isnan(score) else score


def is_relative(model: RewardModel) -> bool:
    """Whether a score says only how an answer stands among those that were scored in the same call."""
    return bool(getattr(model, "relative", False))


REWARD_FIGURES = ("reward_disagreement", "verified_share", "verified_passed", "judge_cost", "judge_calls")
"""What reward models may say of their newest call beside the scores; a round's rows keep it."""
SUMMED = ("judge_cost", "judge_calls")
"""Those of them that add up, over calls and over the members of an ensemble."""


def figures_of(model: RewardModel) -> dict[str, float]:
    """The figures of a model's newest call, by names of REWARD_FIGURES; most models have none."""
    return dict(getattr(model, "figures", {}))


def costs_of(*models: RewardModel) -> dict[str, float]:
    """What the judges in these models were asked and cost since the process began (names: SUMMED); empty: no judge."""
    found: dict[str, float] = {}
    for model in {id(one): one for one in models}.values():
        for name, value in getattr(model, "costs", {}).items():
            found[name] = found.get(name, 0.0) + value
    return found


def spent_since(before: Mapping[str, float], *models: RewardModel) -> dict[str, float]:
    """The same since `before`, which `costs_of` said of the same models."""
    return {name: value - before[name] for name, value in costs_of(*models).items()}


@dataclass(frozen=True)
class Reader:
    """Reads completions of one model: its tokenizer, its format, and the ids that end a turn."""

    tokenizer: Any
    format: ThinkingFormat
    eos_ids: frozenset[int]

    def read(self, token_ids: Sequence[int], finished: bool) -> Parsed:
        """Split a completion. A control token inside of it makes it unfinished, whatever it looks like."""
        ids = list(token_ids)
        if ids and ids[-1] in self.eos_ids:
            ids.pop()
        if any(token in self._control for token in ids):
            finished = False
        text = self._text(ids)
        for stop in self.format.stop if finished else ():
            if stop in text and stop not in self._text(ids[:-1]):  # the token that wrote it may say more, as `>\n` does
                text = text[: text.index(stop) + len(stop)]
        return self.format.parse(text, finished)

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has."""
        return [len(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    @cached_property
    def _control(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids)


@dataclass(frozen=True)
class Graded:
    """One completion, read and scored. `reward` is what the policy is trained on."""

    parsed: Parsed
    reward: float


def grade(
    model: RewardModel,
    conversations: Sequence[Messages],
    outputs: Sequence[Parsed],
    group_size: int,
    margin: float,
    sides: Sequence[int] | None = None,
) -> list[Graded]:
    """Score outputs that stand group by group. The model sees well-formed responses only, and of them nothing else.

    `sides`: as in `scores_of`, one for each output.
    """
    well = [place for place, parsed in enumerate(outputs) if parsed.well_formed]
    of_sides = None if sides is None else [sides[place] for place in well]
    scores = scores_of(model, [(conversations[place], outputs[place].response) for place in well], of_sides)
    if len(scores) != len(well):
        raise ValueError(f"the reward model was given {len(well)} responses and returned {len(scores)} scores")
    told: list[float | None] = [None] * len(outputs)
    for place, score in zip(well, scores, strict=True):
        told[place] = known(score)
    rewards = rank_malformed(told, group_size, margin)
    return [Graded(parsed, reward) for parsed, reward in zip(outputs, rewards, strict=True)]


def rank_malformed(scores: Sequence[float | None], group_size: int, margin: float) -> list[float]:
    """Rewards from scores, None being malformed: `margin` below the lowest score of the group.

    In a group with no score at all every output gets the same, so that it teaches nothing.
    """
    if margin <= 0:
        raise ValueError(f"margin = {margin}: malformed outputs must score below well-formed ones; set it above 0")
    bottom = min((score for score in scores if score is not None), default=0.0)
    rewards: list[float] = []
    for start in range(0, len(scores), group_size):
        group = scores[start : start + group_size]
        floor = min((score for score in group if score is not None), default=bottom) - margin
        rewards += [floor if score is None else score for score in group]
    return rewards


class SequenceClassifier:
    """A Bradley-Terry reward model in this process: one label, its own tokenizer and chat template.

    What a refresh learnt about traits of answers stands beside it (`trainer.traits`) and is part of its score.
    """

    alone = True
    """A response's score does not depend on what is scored with it (`trainer.early`)."""
    by_batch = True
    """Up to rounding: that depends on what stands in a batch."""

    def __init__(self, path: Path, *, batch: int = 32, max_tokens: int | None = None) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification

        self._torch, self.title = torch, str(path)
        self.traits = read_traits(path)
        self._transcript = Transcript(path, max_tokens, longest(path))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self._model = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype).to(device).eval()
        if self._model.config.num_labels != 1:
            raise ValueError(f"{path} has {self._model.config.num_labels} labels; a reward model has one")
        self._model.config.get_text_config().pad_token_id = self._transcript.tokenizer.pad_token_id
        self._batch = batch

    def score(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """Scores in the model's own scale. Too long a conversation loses its beginning, never the response's end."""
        ids = [self._transcript.ids(messages, response) for messages, response in pairs]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))  # alike lengths together: little padding
        scores = [0.0] * len(ids)
        with self._torch.inference_mode():
            for start in range(0, len(order), self._batch):
                places = order[start : start + self._batch]
                inputs = self._transcript.tokenizer.pad(
                    {"input_ids": [ids[place] for place in places]}, return_tensors="pt", padding_side="right"
                ).to(self._model.device)
                for place, score in zip(places, self._model(**inputs).logits[:, 0].float().tolist(), strict=True):
                    scores[place] = score
        if self.traits is not None:
            scores = [score + worth for score, worth in zip(scores, self.traits.worth(pairs), strict=True)]
        return scores
