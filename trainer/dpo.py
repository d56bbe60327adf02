"""Direct preference optimisation (arXiv 2305.18290) on LoRA or full weights, by TRL's DPOTrainer.

All pairs come from the policy at the round's start (`trainer.pairs`); then it trains on them, pass after pass, until
the round's steps are done. An update takes `prompts_per_step` pairs.
"""

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer.pairs import Pairs
from trainer.people_pairs import people_pairs
from trainer.policy import policy_of
from trainer.rewards import RewardModel
from trainer.states import Complete, trained
from trainer.work import TrainingPrompts, Work

METRICS = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "rewards/margins": "margin",
    "rewards/accuracies": "pairs_right",
    "rewards/chosen": "implicit_chosen",
    "rewards/rejected": "implicit_rejected",
    "logps/chosen": "logprob_chosen",
    "logps/rejected": "logprob_rejected",
}
"""TRL's names and ours. What the samples were like is told with the first step."""


class Dpo:
    """The algorithm `dpo`."""

    def train(self, work: Work, prompts: TrainingPrompts, reward: RewardModel) -> Path:
        """Sample, then train from the last complete state, or from the parent; returns the final adapter's folder."""
        return trained(work, lambda states, saved: self._run(work, prompts, reward, states, saved))

    def _run(self, work: Work, prompts: TrainingPrompts, reward: RewardModel, states: Path, saved: Path | None) -> None:
        from trainer.trl_offline import PairTrainer, offline_dpo

        pairs = Pairs(work)
        pairs.gather(prompts, reward, people_pairs)
        continued = work.parent.path is not None
        complete = Complete(work)
        trainer = PairTrainer(
            pairs=pairs,
            keep_reference=continued and work.config.reference == "round_start",
            model=policy_of(work),
            processing_class=work.reader.tokenizer,
            args=offline_dpo(work, states),
            callbacks=[Record(complete, METRICS, pairs.figures), complete],
        )
        complete.run(trainer, saved)


class Record(TrainerCallback):
    """Writes each step's figures to the round's rows, and `first` with the first of them."""

    def __init__(self, complete: Complete, names: dict[str, str], first: dict[str, float]) -> None:
        self._complete, self._names, self._first, self._began = complete, names, first, 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._began = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs:  # the summary at the end of training
            return
        figures = {ours: float(logs[theirs]) for theirs, ours in self._names.items() if logs.get(theirs) is not None}
        spent = time.perf_counter() - self._began
        first = self._first if state.global_step == 1 else {}
        seconds = {"seconds_train": spent, "seconds_step": spent + first.get("seconds_sample", 0.0)}
        told = first | figures | seconds
        self._complete.told(state.global_step, told, control)
