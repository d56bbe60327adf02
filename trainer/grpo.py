"""Group-relative policy optimisation (arXiv 2402.03300) on LoRA or full weights, by TRL's GRPOTrainer.

Advantages are a sample's reward against its group's mean, over the group's standard deviation. Here is how a round's
config becomes TRL's arguments, and how a round resumes; samples and rewards come from `trainer.rollout`.
"""

import os
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer.policy import policy_of
from trainer.rewards import REWARD_FIGURES, RewardModel
from trainer.rollout import Rollout
from trainer.states import Complete, common, step_of, trained
from trainer.threads import threads_of
from trainer.versions import Versions
from trainer.work import TrainingPrompts, Work

METRICS = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_std_share",
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_share",
    "sampling/importance_sampling_ratio/min": "is_ratio_min",
    "sampling/importance_sampling_ratio/mean": "is_ratio_mean",
    "sampling/importance_sampling_ratio/max": "is_ratio_max",
    "sampling/sampling_logp_difference/mean": "logprob_gap",
    "is_cut_share": "is_cut_share",
    "malformed_share": "malformed_share",
    "reward_well_formed": "reward_well_formed",
    "sampled_tokens": "sampled_tokens",
    "thought_tokens": "thought_tokens",
    "response_tokens": "response_tokens",
    "recorded_share": "recorded_share",
    "flat_groups": "flat_groups",
    "replaced_groups": "replaced_groups",
    "steps_behind": "steps_behind",
    **{name: name for name in REWARD_FIGURES},
}
"""TRL's names and ours. What a round's row keeps of each step, beside the seconds."""


class Grpo:
    """The algorithm `grpo`."""

    def train(self, work: Work, prompts: TrainingPrompts, reward: RewardModel) -> Path:
        """Train from the last complete state, or from the parent; returns the folder of the final adapter."""
        return trained(work, lambda states, saved: self._run(work, prompts, reward, states, saved))

    def _run(self, work: Work, prompts: TrainingPrompts, reward: RewardModel, states: Path, saved: Path | None) -> None:
        from datasets import Dataset

        from trainer.trl_bridge import BridgedGRPOTrainer

        config = work.config
        versions = Versions(work)
        versions.clear()
        size, count = config.prompts_per_step, len(prompts.train)

        def following(step: int) -> list[str]:  # TRL goes through whole steps' worth of prompts, then begins again
            first = step % (count // size) * size
            return [str(place) for place in range(first, first + size)]

        rollout = Rollout(work, prompts, versions, reward, following)
        rollout.resume(0 if saved is None else step_of(saved))
        continued = work.parent.path is not None

        def publish() -> None:
            rollout.settle()
            versions.publish(trainer.model, trainer.state.global_step)

        complete, policy = Complete(work), policy_of(work)
        trainer = BridgedGRPOTrainer(
            publish=publish,
            keep_reference=continued and config.reference == "round_start",
            model=policy,
            processing_class=work.reader.tokenizer,
            args=arguments(work, states),
            train_dataset=Dataset.from_dict({"prompt": [str(place) for place in range(len(prompts.train))]}),
            rollout_func=rollout.sample,
            reward_funcs=rollout.reward,
            callbacks=[_Record(complete, rollout), complete],
        )
        with rollout, threads_of(work, policy, rollout.is_drawing):
            complete.run(trainer, saved)


def arguments(work: Work, states: Path) -> Any:
    """TRL's arguments for this round. What is not set here is TRL's default, which the bridge's test pins."""
    from trl import GRPOConfig

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # that rollout_func may change is why TRL is pinned
    config, samples = work.config, work.config.prompts_per_step * work.config.group_size
    return GRPOConfig(
        **common(work, states, samples, config.micro_batch),
        num_generations=config.group_size,
        max_completion_length=config.max_completion_tokens,
        temperature=config.temperature,
        beta=config.kl_beta,
        use_bias_correction_kl=config.kl_correction,
        epsilon=config.clip,
        delta=config.dual_clip or None,
        entropy_coef=config.entropy_weight,
        loss_type=config.loss_type,
        scale_rewards=config.scale_rewards,
        vllm_importance_sampling_correction=True,
        vllm_importance_sampling_mode=config.is_mode,
        vllm_importance_sampling_clip_max=config.is_cap,
        shuffle_dataset=False,  # curation has put them in order
    )


class _Record(TrainerCallback):
    """Writes each step's figures to the round's rows."""

    def __init__(self, complete: Complete, rollout: Rollout) -> None:
        self._complete, self._rollout, self._began = complete, rollout, 0.0

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
        if not logs or "reward" not in logs:  # the summary at the end of training
            return
        figures = {ours: float(logs[theirs]) for theirs, ours in METRICS.items() if logs.get(theirs) is not None}
        spent = {f"seconds_{name}": seconds for name, seconds in self._rollout.seconds.items()}
        total = time.perf_counter() - self._began
        figures |= spent | {"seconds_train": total - sum(spent.values()), "seconds_step": total}
        self._complete.told(state.global_step, figures, control)
