"""The one place that reaches into TRL's private parts (TRL 1.16, pinned); tests/trainer/test_trl_bridge.py holds it.

`GRPOTrainer` corrects for what the sampling engine and the trainer weigh differently only when it believes that it
samples with vLLM itself, and then wants to push weights into it. We sample through the gateway. So after construction
it is told that it does, and in place of its vLLM stands an object that publishes the adapter. Also here: which
reference the KL term has, which TRL decides by itself, and the share of tokens whose importance ratio is cut.
"""

from collections.abc import Callable
from typing import Any

import torch
from trl import import_utils

import_utils.is_vllm_available = lambda min_version=None: False  # else TRL imports the engine: seconds, and gigabytes

from trl import GRPOTrainer  # noqa: E402


class BridgedGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer whose samples come from elsewhere and whose importance correction works all the same.

    `publish` is called before the first sample of each step, when the weights have changed. `keep_reference`: keep the
    copy that TRL makes of a given adapter as the KL reference (the round's start); otherwise the base is the reference.
    """

    def __init__(self, *, publish: Callable[[], None], keep_reference: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.use_vllm = True
        generation: Any = _Publisher(publish)
        self.vllm_generation = generation
        self._last_loaded_step = -1
        policy: Any = self.model
        if "ref" in policy.peft_config and not keep_reference:
            policy.delete_adapter("ref")

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        mask = output["completion_mask"].bool()
        ratio = importance_ratio(output, sequence=self.vllm_importance_sampling_mode.startswith("sequence"))
        cap = self.vllm_importance_sampling_clip_max or float("inf")
        cut = (ratio > cap)[mask].float().mean()
        self._metrics["train"]["is_cut_share"].append(cut.item())
        return output


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
