"""The one place that reaches into TRL's private parts (TRL 1.16, pinned); tests/trainer/test_trl_bridge.py holds it.

`GRPOTrainer` corrects for what the sampling engine and the trainer weigh differently only when it believes that it
samples with vLLM itself, and then wants to push weights into it. We sample through the gateway. So after construction
it is told that it does, and in place of its vLLM stands an object that publishes the adapter. Also here: which
reference the KL term has, which TRL decides by itself; the share of tokens whose importance ratio is cut; and padding:
TRL computes every sample to the length of the step's longest, here samples of like lengths share a micro-batch, which
is cut to its own longest.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import pad
from trl import import_utils

import_utils.is_vllm_available = lambda min_version=None: False  # else TRL imports the engine: seconds, and gigabytes

from trl import GRPOTrainer  # noqa: E402
from trl.trainer import grpo_trainer  # noqa: E402


class BridgedGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer whose samples come from elsewhere and whose importance correction works all the same.

    `publish` is called before the first sample of each step, when the weights have changed. `keep_reference`: keep the
    copy that TRL makes of a given adapter as the KL reference (the round's start); otherwise the base is the reference.
    Of full weights the reference is what TRL loads from where the policy says that it comes from (`trainer.full`).
    """

    def __init__(self, *, publish: Callable[[], None], keep_reference: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.use_vllm = True
        generation: Any = _Publisher(publish)
        self.vllm_generation = generation
        self._last_loaded_step = -1
        policy: Any = self.model
        if "ref" in getattr(policy, "peft_config", {}) and not keep_reference:
            policy.delete_adapter("ref")

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        module: Any = grpo_trainer
        shuffle = module.shuffle_sequence_dict
        module.shuffle_sequence_dict = by_length  # a step is one update: the order changes no gradient
        try:
            return super()._prepare_inputs(generation_batch)
        finally:
            module.shuffle_sequence_dict = shuffle

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **options: Any,
    ) -> Any:
        """As TRL's, on chunks of `batch_size` rows of like lengths, each cut to its own longest."""
        size = batch_size or len(input_ids)
        order = attention_mask.sum(-1).argsort()
        parts = []
        for rows in order.split(size):
            left, right = margins(attention_mask[rows], logits_to_keep)
            inside = slice(left, attention_mask.size(1) - right)
            found = super()._get_per_token_logps_and_entropies(
                model, input_ids[rows, inside], attention_mask[rows, inside], logits_to_keep - right, **options
            )
            parts.append([None if part is None or part.dim() < 2 else pad(part, (0, right)) for part in found])
        back = order.argsort()
        logprobs, entropies, _ = zip(*parts, strict=True)
        return torch.cat(logprobs)[back], None if entropies[0] is None else torch.cat(entropies)[back], None

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        mask = output["completion_mask"].bool()
        ratio = importance_ratio(output, sequence=self.vllm_importance_sampling_mode.startswith("sequence"))
        cap = self.vllm_importance_sampling_clip_max or float("inf")
        cut = (ratio > cap)[mask].float().mean()
        self._metrics["train"]["is_cut_share"].append(cut.item())
        return output


def by_length(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with its samples in the order of their lengths. Takes the place of TRL's shuffle."""
    order = (batch["prompt_mask"].sum(-1) + batch["completion_mask"].sum(-1)).argsort()
    samples = len(order)
    return {
        name: value[order] if isinstance(value, torch.Tensor) and value.dim() and len(value) == samples else value
        for name, value in batch.items()
    }


def margins(mask: torch.Tensor, completion: int) -> tuple[int, int]:
    """How many columns at the left, and at the right of the `completion` last ones, are padding in every row."""
    used = mask.any(0).int()
    left = int(used[:-completion].argmax()) if bool(used[:-completion].any()) else 0
    right = int(used[-completion:].flip(0).argmax())
    return left, right


def importance_ratio(output: dict[str, Any], sequence: bool) -> torch.Tensor:
    """Probability under the trainer over that under the engine, per token or (same for all its tokens) per sequence.

    Shape (samples, tokens); before any truncation or masking.
    """
    difference = (output["old_per_token_logps"] - output["sampling_per_token_logps"]) * output["completion_mask"]
    difference = torch.nan_to_num(difference, nan=0.0)
    if sequence:
        difference = difference.sum(-1, keepdim=True).expand_as(difference)
    return torch.exp(difference)


class _Publisher:
    """Stands where TRL keeps its vLLM."""

    def __init__(self, publish: Callable[[], None]) -> None:
        self._publish = publish

    def sync_weights(self) -> None:
        """TRL's word for: the weights have changed since the last sample."""
        self._publish()
