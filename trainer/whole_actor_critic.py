"""Actor and critic of PPO as two whole models, where all weights are trained: `trainer.actor_critic` without adapters.

The critic begins as the body of what the round starts from, with a head that expects nothing; a third model, frozen,
is what the divergence is measured from. In float32, as all training of full weights (`trainer.full`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer.actor_critic import CRITIC, HEAD, ActorCritic, Rows
from trainer.full import load_whole, start_of
from trainer.policy import local_folder
from trainer.work import Work


class WholeActorCritic(ActorCritic):
    """Both, from the round's start or from the state in `saved`."""

    def __init__(self, work: Work, saved: Path | None) -> None:
        from transformers import AutoModel, AutoModelForCausalLM

        config, base = work.config, local_folder(work.settings.base_model)
        start = start_of(work, base)
        torch.manual_seed(config.seed)
        self.model = load_whole(AutoModelForCausalLM, saved or start)
        self._critic = load_whole(AutoModel, start if saved is None else saved / CRITIC)
        self._reference: Any = None
        if config.kl_beta:
            measured_from = base if config.reference == "base" else start
            self._reference = load_whole(AutoModelForCausalLM, measured_from).requires_grad_(False).eval()
        self._add_head(saved)
        for model in (self.model, self._critic):
            if self.device.type == "cuda":
                model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()

    def actor_parameters(self) -> list[nn.Parameter]:
        """All of the actor."""
        return list(self.model.parameters())

    def critic_parameters(self) -> list[nn.Parameter]:
        """All of the critic, and its head."""
        return [*self._critic.parameters(), *self.head.parameters()]

    @contextmanager
    def acting_as(self, adapter: str) -> Iterator[None]:
        """Nothing is to be switched: they are models of their own."""
        yield

    def reference_logprobs(self, batch: Rows, temperature: float) -> Tensor:
        """The same as `logprobs` under the reference, without gradients."""
        with torch.no_grad():
            return self._logprobs(self._reference, batch, temperature)[0]

    def save(self, folder: Path) -> None:
        """The actor as a model in `folder` itself, the critic beside it; neither is rounded."""
        self.model.save_pretrained(folder)
        self._critic.save_pretrained(folder / CRITIC)
        torch.save(self.head.state_dict(), folder / HEAD)

    def _critics_body(self) -> Any:
        return self._critic
