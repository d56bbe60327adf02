"""Proximal policy optimisation (arXiv 1707.06347) with a critic, on LoRA or full weights; TRL has none: this is ours.

A step: publish the actor, sample groups, score, foresee values, compute advantages by GAE over tokens, update both. The
reward stands at a completion's last token; the divergence from the reference is a term of the loss (k3). Here is the
loop with its states; arithmetic is in `trainer.ppo_math`, the models in `trainer.actor_critic` (adapters) and
`trainer.whole_actor_critic`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.actor_critic import ACTOR, CRITIC, ActorCritic, Rows, rows
from trainer.brakes import Enough
from trainer.files import fresh_folder, publish_folder, write_json
from trainer.pauses import pauses_of
from trainer.policy import local_folder
from trainer.ppo_math import (
    clipped_share,
    explained_variance,
    gae,
    importance_ratios,
    importance_weights,
    k3,
    kl_term,
    policy_loss,
    value_loss,
    whitened,
)
from trainer.rewards import RewardModel
from trainer.rollout import Rollout
from trainer.round_config import RoundConfig
from trainer.states import COMPLETE, drop_old, schedule, step_of, trained
from trainer.threads import threads_of
from trainer.versions import Versions
from trainer.work import TrainingPrompts, Work

OPTIMISERS = "optimisers.pt"


@dataclass(frozen=True)
class Experience:
    """One micro-batch of a step, as it was before the step's update. All but `batch` as `batch.mask` is shaped."""

    batch: Rows
    old: Tensor
    """The actor's log-probabilities."""
    values: Tensor
    reference: Tensor
    weights: Tensor
    """What engine and trainer weigh differently, truncated."""
    advantages: Tensor
    returns: Tensor


class Ppo:
    """The algorithm `ppo`."""

    def train(self, work: Work, prompts: TrainingPrompts, reward: RewardModel) -> Path:
        """Train from the last complete state, or from the parent; returns the folder of the final adapter."""
        return trained(work, lambda states, saved: _Training(work, prompts, reward, states, saved).run())


class _Training:
    def __init__(
        self, work: Work, prompts: TrainingPrompts, reward: RewardModel, states: Path, saved: Path | None
    ) -> None:
        self._work, self._config, self._states = work, work.config, states
        self._count = len(prompts.train)
        self._pauses = pauses_of(work)
        self._versions = Versions(work)
        self._versions.clear()
        self._rollout = Rollout(work, prompts, self._versions, reward, self._keys)
        self._both = models_of(work, saved)
        self._learners = [
            Learner(self._both.actor_parameters(), self._config.learning_rate, work),
            Learner(self._both.critic_parameters(), self._config.critic_learning_rate, work),
        ]
        self._done = 0 if saved is None else step_of(saved)
        self._rollout.resume(self._done)
        if saved is not None:
            kept = torch.load(saved / OPTIMISERS, map_location=self._both.device, weights_only=True)
            for learner, state in zip(self._learners, kept, strict=True):
                learner.load(state)

    def run(self) -> None:
        with self._rollout, threads_of(self._work, self._both.model, self._rollout.is_drawing):
            while self._done < self._config.steps:
                self._step()

    def _step(self) -> None:
        start, figures = time.perf_counter(), dict[str, float]()
        self._rollout.settle()
        self._versions.publish(self._both.model, self._done)
        experience = self._experience(figures)
        for _ in range(self._config.ppo_epochs):
            figures |= self._update(experience)
        self._done += 1
        spent = {f"seconds_{name}": seconds for name, seconds in self._rollout.seconds.items()}
        spent["seconds_rest"] = self._pauses.taken()
        total = time.perf_counter() - start
        figures |= spent | {"seconds_train": total - sum(spent.values()), "seconds_step": total}
        try:
            self._work.ledger.step(self._done, figures)
        except Enough as enough:
            if not enough.broken:
                self._save()
            raise
        if self._done % self._work.settings.save_every == 0 or self._done == self._config.steps:
            self._save()

    def _experience(self, figures: dict[str, float]) -> list[Experience]:
        """Sample and score this step's groups, and measure them with the models as they are."""
        config = self._config
        keys = self._keys(self._done)
        ids, samples = self._rollout.draw(keys, self._done)
        graded = self._rollout.graded(
            [keys[sample.prompt] for sample in samples],
            [sample.token_ids for sample in samples],
            [sample.finished for sample in samples],
            figures.__setitem__,
        )
        rewards = torch.tensor([one.reward for one in graded])
        figures |= {"reward": rewards.mean().item(), "reward_std": rewards.std().item()}
        lengths = [len(ids[sample.prompt]) + len(sample.token_ids) for sample in samples]
        order = sorted(range(len(samples)), key=lambda place: lengths[place])  # alike lengths together: little padding
        size = min(config.micro_batch, len(samples))
        measured = []
        for places in (order[start : start + size] for start in range(0, len(order), size)):
            chosen = [samples[place] for place in places]
            filler = self._work.reader.tokenizer.pad_token_id
            batch = rows(
                [ids[one.prompt] for one in chosen], [one.token_ids for one in chosen], filler, self._both.device
            )
            sampled = batch.padded([torch.tensor(one.logprobs) for one in chosen])
            measured.append(self._measure(batch, sampled, rewards[places]))
            self._pauses()
        figures |= off_policy([ratios for _, ratios in measured], config.is_cap)
        return normalised([found for found, _ in measured])

    def _keys(self, step: int) -> list[str]:
        size = self._config.prompts_per_step
        return [str((step * size + place) % self._count) for place in range(size)]

    def _measure(self, batch: Rows, sampled: Tensor, rewards: Tensor) -> tuple[Experience, Tensor]:
        """The models' view of some samples before any update; and the ratios of the engine's view, unpadded."""
        config, both = self._config, self._both
        with torch.no_grad():
            with both.acting_as(ACTOR):
                old, _ = both.logprobs(batch, config.temperature)
            with both.acting_as(CRITIC):
                values = both.values(batch) * batch.mask
        reference = both.reference_logprobs(batch, config.temperature) if config.kl_beta else old
        ratios = importance_ratios(old, sampled, batch.mask, config.is_mode)
        weights = importance_weights(ratios, config.is_mode, config.is_cap)
        advantages, returns = spread(rewards, batch.unpadded(values), config)
        found = Experience(batch, old, values, reference, weights, batch.padded(advantages), batch.padded(returns))
        return found, ratios[batch.mask.bool()]

    def _update(self, experience: Sequence[Experience]) -> dict[str, float]:
        """One update of actor and critic on all of it. Every token counts the same, whatever its micro-batch."""
        config, both = self._config, self._both
        tokens = float(sum(part.batch.mask.sum() for part in experience))
        sums = dict.fromkeys(("loss", "value_loss", "kl", "entropy", "clip_share"), 0.0)
        for part in experience:
            mask = part.batch.mask
            with both.acting_as(ACTOR):
                new, entropy = both.logprobs(part.batch, config.temperature)
                each = policy_loss(new, part.old, part.advantages, config.clip, config.dual_clip) * part.weights
                apart = kl_term(new, part.old, part.reference, config.kl_correction)
                loss = ((each + config.kl_beta * apart - config.entropy_weight * entropy) * mask).sum() / tokens
                loss.backward()
            with both.acting_as(CRITIC):
                errors = value_loss(both.values(part.batch), part.values, part.returns, config.value_clip)
                of_values = (errors * mask).sum() / tokens
                of_values.backward()
            share = float(mask.sum()) / tokens
            sums["loss"] += loss.item()
            sums["value_loss"] += of_values.item()
            sums["kl"] += float((k3(new.detach(), part.reference) * mask).sum()) / tokens
            sums["entropy"] += float((entropy.detach() * mask).sum()) / tokens
            sums["clip_share"] += share * clipped_share(new.detach(), part.old, part.advantages, mask, config.clip)
            self._pauses()
        norms = [learner.step() for learner in self._learners]
        inside = [part.batch.mask.bool() for part in experience]
        values = torch.cat([part.values[kept] for part, kept in zip(experience, inside, strict=True)])
        returns = torch.cat([part.returns[kept] for part, kept in zip(experience, inside, strict=True)])
        return sums | {
            "grad_norm": norms[0],
            "value_grad_norm": norms[1],
            "value_explained": explained_variance(values, returns),
        }

    def _save(self) -> None:
        final = self._states / f"checkpoint-{self._done}"
        aside = fresh_folder(self._states / f".{final.name}.aside")
        self._both.save(aside)
        torch.save([learner.state() for learner in self._learners], aside / OPTIMISERS)
        write_json(aside / COMPLETE, {"step": self._done})
        publish_folder(aside, final)
        drop_old(self._states)


def models_of(work: Work, saved: Path | None) -> ActorCritic:
    """Actor and critic of a round, from its start or from a saved state: two adapters, or two whole models."""
    if work.config.weights == "full":
        from trainer.whole_actor_critic import WholeActorCritic

        return WholeActorCritic(work, saved)
    return ActorCritic(local_folder(work.settings.base_model), work.parent.path, saved, work.config)


class Learner:
    """Some parameters with their optimiser and its schedule."""

    def __init__(self, parameters: list[torch.nn.Parameter], rate: float, work: Work) -> None:
        from transformers import get_scheduler

        config = work.config
        self._parameters, self._most = parameters, config.max_grad_norm
        betas = (config.adam_beta1, config.adam_beta2)
        self._optimiser = torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=config.weight_decay)
        updates = config.steps * config.ppo_epochs
        self._schedule = get_scheduler(schedule(work), self._optimiser, int(config.warmup * updates), updates)

    def step(self) -> float:
        """Update by the gradients there are, scaled down to the greatest norm; returns the norm before that."""
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._most)
        self._optimiser.step()
        self._schedule.step()
        self._optimiser.zero_grad()
        return float(norm)

    def state(self) -> dict[str, Any]:
        """What `load` takes."""
        return {"optimiser": self._optimiser.state_dict(), "schedule": self._schedule.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where `state` was saved."""
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])


def spread(rewards: Tensor, values: Sequence[Tensor], config: RoundConfig) -> tuple[list[Tensor], list[Tensor]]:
    """Advantages and returns of each completion: its reward is earned at its last token, and nothing before."""
    pairs = []
    for reward, own in zip(rewards.tolist(), values, strict=True):
        earned = torch.zeros_like(own)
        earned[-1] = reward
        pairs.append(gae(earned, own, config.gae_gamma, config.gae_lambda))
    return [advantages for advantages, _ in pairs], [returns for _, returns in pairs]


def normalised(experience: Sequence[Experience]) -> list[Experience]:
    """With advantages of mean 0 and variance 1 over all tokens of the step."""
    flat = whitened(torch.cat([part.advantages[part.batch.mask.bool()] for part in experience]))
    out, start = [], 0
    for part in experience:
        lengths = [int(count) for count in part.batch.mask.sum(-1)]
        own = flat[start : start + sum(lengths)].split(lengths)
        out.append(Experience(**(vars(part) | {"advantages": part.batch.padded(own)})))
        start += sum(lengths)
    return out


def off_policy(ratios: Sequence[Tensor], cap: float) -> dict[str, float]:
    """How far engine and trainer are apart."""
    every = torch.cat(list(ratios))
    return {
        "is_ratio_min": every.min().item(),
        "is_ratio_mean": every.mean().item(),
        "is_ratio_max": every.max().item(),
        "logprob_gap": every.log().abs().mean().item(),
        "is_cut_share": (every > cap).float().mean().item(),
    }
