"""Actor and critic as two LoRA adapters of one frozen base: log-probabilities by one, values by the other and a head.

Where all weights are trained they are two models (`trainer.whole_actor_critic`).
The critic costs its adapter and a row of weights, not a second model. Adapters of the policy: `default` is the actor,
`ref` (optional) its copy at the round's start, `critic`. Knows no rewards and no losses.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from trainer.policy import load_policy
from trainer.round_config import RoundConfig

ACTOR, CRITIC, REFERENCE = "default", "critic", "ref"
HEAD = "value_head.pt"


@dataclass(frozen=True)
class Rows:
    """Samples as padded tensors, shape (samples, longest - 1): each place predicts the next token.

    `mask` is 1 where that token belongs to the completion.
    """

    ids: Tensor  # (samples, longest)
    attention: Tensor  # (samples, longest)
    mask: Tensor

    def unpadded(self, values: Tensor) -> list[Tensor]:
        """Of values at these places, those of each completion."""
        return [row[mask.bool()] for row, mask in zip(values, self.mask, strict=True)]

    def padded(self, values: Sequence[Tensor]) -> Tensor:
        """The inverse of `unpadded`, zero elsewhere."""
        full = torch.zeros(self.mask.shape, dtype=torch.float32, device=self.mask.device)
        for row, mask, own in zip(full, self.mask, values, strict=True):
            row[mask.bool()] = own.to(full)
        return full


def rows(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], filler: int, device: Any) -> Rows:
    """Prompt and completion of each sample in one row, padded on the right."""
    longest = max(len(prompt) + len(completion) for prompt, completion in zip(prompts, completions, strict=True))
    ids = torch.full((len(prompts), longest), filler, dtype=torch.long)
    attention, mask = torch.zeros_like(ids), torch.zeros(len(prompts), longest - 1)
    for at, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        end = len(prompt) + len(completion)
        ids[at, :end] = torch.tensor([*prompt, *completion])
        attention[at, :end] = 1
        mask[at, len(prompt) - 1 : end - 1] = 1
    return Rows(ids.to(device), attention.to(device), mask.to(device))


class ActorCritic:
    """Both, with their parameters under training. `reference`: what the divergence is measured from."""

    def __init__(self, base: Path, parent: Path | None, saved: Path | None, config: RoundConfig) -> None:
        from peft import LoraConfig

        self.model = load_policy(base, saved or parent, config)
        if config.reference == "round_start" and parent is not None and config.kl_beta:
            self.model.load_adapter(parent, REFERENCE, is_trainable=False)
        own = self.model.peft_config[ACTOR]
        if saved is None:
            torch.manual_seed(config.seed + 1)
            self.model.add_adapter(
                CRITIC,
                LoraConfig(r=own.r, lora_alpha=own.lora_alpha, lora_dropout=0.0, target_modules=own.target_modules),
            )
        else:
            self.model.load_adapter(saved / CRITIC, CRITIC, is_trainable=True)
        self._add_head(saved)
        if self.device.type == "cuda":
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
            self.model.enable_input_require_grads()
        self.model.train()  # no dropout in any adapter; checkpointing wants it

    def actor_parameters(self) -> list[nn.Parameter]:
        """What the actor learns with."""
        return self._of(ACTOR)

    def critic_parameters(self) -> list[nn.Parameter]:
        """What the critic learns with: its adapter and its head."""
        return [*self._of(CRITIC), *self.head.parameters()]

    @contextmanager
    def acting_as(self, adapter: str) -> Iterator[None]:
        """With this adapter active and no other under training. Forward and backward belong into one such block:

        checkpointed layers are computed again in the backward pass, and PEFT takes gradients off the other adapters.
        """
        self.model.set_adapter(adapter, inference_mode=adapter == REFERENCE)
        try:
            yield
        finally:
            self.model.set_adapter(ACTOR)  # which is what is saved and served

    def logprobs(self, batch: Rows, temperature: float) -> tuple[Tensor, Tensor]:
        """The log-probability of each next token at this temperature, and the entropy there, both 0 in prompts.

        Of the adapter that is active.
        """
        return self._logprobs(self.model, batch, temperature)

    def _logprobs(self, model: Any, batch: Rows, temperature: float) -> tuple[Tensor, Tensor]:
        first = int(batch.mask.any(0).int().argmax())
        with self._cast():
            kept = batch.ids.size(1) - first
            said = model(
                input_ids=batch.ids, attention_mask=batch.attention, use_cache=False, logits_to_keep=kept
            ).logits
        told = torch.log_softmax(said[:, :-1].float() / temperature, -1)
        entropy = -(told.exp() * told).sum(-1)
        chosen = told.gather(-1, batch.ids[:, first + 1 :, None]).squeeze(-1)
        mask = batch.mask[:, first:]
        return pad(chosen * mask, (first, 0)), pad(entropy * mask, (first, 0))

    def reference_logprobs(self, batch: Rows, temperature: float) -> Tensor:
        """The same under the reference, without gradients."""
        known = REFERENCE in self.model.peft_config
        with torch.no_grad(), self.acting_as(REFERENCE) if known else self.model.disable_adapter():
            return self.logprobs(batch, temperature)[0]

    def values(self, batch: Rows) -> Tensor:
        """What the critic, which must be active, expects before each next token is written."""
        with self._cast():
            body = self._critics_body()
            hidden = body(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False).last_hidden_state
        return self.head(hidden[:, :-1].float()).squeeze(-1)

    def save(self, folder: Path) -> None:
        """The actor as an adapter in `folder` itself, the critic beside it."""
        self.model.save_pretrained(folder, selected_adapters=[ACTOR, CRITIC])
        torch.save(self.head.state_dict(), folder / HEAD)

    def _add_head(self, saved: Path | None) -> None:
        self.device = next(self.model.parameters()).device
        self.head = nn.Linear(self.model.config.get_text_config().hidden_size, 1, device=self.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if saved is not None:
            self.head.load_state_dict(torch.load(saved / HEAD, map_location=self.device, weights_only=True))

    def _critics_body(self) -> Any:
        return self.model.get_base_model().base_model

    def _of(self, adapter: str) -> list[nn.Parameter]:
        return [weights for name, weights in self.model.named_parameters() if f".{adapter}." in name]

    def _cast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")
