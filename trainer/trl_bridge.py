"""The one place that reaches into TRL's private parts (TRL 1.16, pinned); tests/trainer/test_trl_bridge.py holds it.

`GRPOTrainer` corrects for what the sampling engine and the trainer weigh differently only when it believes that it
samples with vLLM itself, and then wants to push weights into it. We sample through the gateway. So after construction
it is told that it does, and in place of its vLLM stands an object that publishes the adapter. The correction itself is
made here, of the log-probabilities that the loss computes anyway: TRL computes them once more before, a forward pass
over every sample, though a step is one update and nothing has changed. Also here: which reference the KL term has,
which TRL decides by itself; the share of tokens whose importance ratio is cut; and padding:
TRL computes every sample to the lengths of the step's longest prompt and longest completion, and on a CPU each place's
whole vocabulary, prompts and padding too. Here samples of like lengths share a micro-batch, each begins where its row
does, and only what a completion says is scored. docs/decisions/padding.md has what each of it saves.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from trl import import_utils

import_utils.is_vllm_available = lambda min_version=None: False  # else TRL imports the engine: seconds, and gigabytes

from trl import GRPOTrainer  # noqa: E402
from trl.trainer import grpo_trainer, utils  # noqa: E402

ALIKE = 8  # rows in one forward pass: with fewer, nothing is saved any more


class BridgedGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer whose samples come from elsewhere and whose importance correction works all the same.

    `publish` is called before the first sample of each step, when the weights have changed. `keep_reference`: keep the
    copy that TRL makes of a given adapter as the KL reference (the round's start); otherwise the base is the reference.
    Of full weights the reference is what TRL loads from where the policy says that it comes from (`trainer.full`).
    """

    def __init__(self, *, publish: Callable[[], None], keep_reference: bool, **arguments: Any) -> None:
        score_labels_alone()
        super().__init__(**arguments)
        self.use_vllm = True
        generation: Any = _Publisher(publish)
        self.vllm_generation = generation
        self._last_loaded_step = -1
        given: Any = self.args
        accumulated, drawn = given.gradient_accumulation_steps, given.steps_per_generation
        if accumulated % (drawn * self.num_iterations):
            raise ValueError(
                f"gradient_accumulation_steps = {accumulated} is no multiple of steps_per_generation x num_iterations "
                f"= {drawn} x {self.num_iterations}: expected all samples of a step to be one update"
            )
        self._loss_inputs: dict[str, Any] | None = None
        self._corrections: list[Correction] = []  # of this step's micro-batches
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
        compute_entropy: bool = False,
        **options: Any,
    ) -> Any:
        """As TRL's, on a few rows of like lengths at a time, moved together (`moved_together`)."""
        if any(value is not None and value is not False for value in options.values()):
            raise ValueError(f"expected text alone, got {sorted(name for name, value in options.items() if value)}")
        size = min(batch_size or ALIKE, ALIKE)
        order = attention_mask.sum(-1).argsort()
        found: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        for rows in order.split(size):
            ids, labels, back = moved_together(input_ids[rows], attention_mask[rows], logits_to_keep)
            with self.accelerator.autocast():
                told = model(input_ids=ids, labels=labels, fused_lm_head=True)
            found.append((back(told.log_probs), back(told.entropy) if compute_entropy else None))
        logprobs, entropies = zip(*found, strict=True)
        at = order.argsort()
        told = torch.cat(logprobs)[at]
        if self._loss_inputs is not None:
            self._correct(self._loss_inputs, told.detach())
        return told, torch.cat(entropies)[at] if compute_entropy else None, None

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.vllm_importance_sampling_correction = False  # else the pass that `_correct` makes needless
        try:
            return super()._generate_and_score_completions(inputs)
        finally:
            self.vllm_importance_sampling_correction = True

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        self._loss_inputs = inputs  # the loss reads its ratio after it has computed the log-probabilities
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self._loss_inputs = None
        if self.accelerator.sync_gradients:  # the step's last micro-batch
            for name, value in told_of(self._corrections).items():
                self._metrics["train"][name].append(value)
            self._corrections = []
        return loss

    def _correct(self, inputs: dict[str, Any], logprobs: torch.Tensor) -> None:
        """Give the loss the ratio that it multiplies with, of shape (samples, tokens), or (samples, 1) of sequences."""
        least, most = self.vllm_importance_sampling_clip_min, self.vllm_importance_sampling_clip_max
        found = Correction(
            logprobs,
            inputs["sampling_per_token_logps"],
            inputs["completion_mask"],
            self.vllm_importance_sampling_mode,
            0.0 if least is None else least,
            float("inf") if most is None else most,
        )
        inputs["importance_sampling_ratio"] = found.weight
        self._corrections.append(found)


def score_labels_alone() -> None:
    """From now on TRL's trainers in this process score places that have a label, and no others, on a CPU too."""
    private: Any = utils
    private._use_triton = lambda device: True  # in that module it decides nothing else


def by_length(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with its samples in the order of their lengths. Takes the place of TRL's shuffle."""
    order = (batch["prompt_mask"].sum(-1) + batch["completion_mask"].sum(-1)).argsort()
    samples = len(order)
    return {
        name: value[order] if isinstance(value, torch.Tensor) and value.dim() and len(value) == samples else value
        for name, value in batch.items()
    }


def moved_together(
    ids: torch.Tensor, mask: torch.Tensor, completion: int
) -> tuple[torch.Tensor, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Rows of prompts (padded on the left) and completions (the `completion` last columns, padded on the right), each
    moved to begin in the first column; labels, which are the completions' tokens and else -100; and the way back.

    What is left of the padding stands behind a row's end, where none of its tokens sees it: no mask is needed. The way
    back takes one figure for each label but those of the first column, and gives (rows, completion), 0 in the padding.
    """
    text = mask.bool()
    said = text.clone()
    said[:, :-completion] = False
    place = text.cumsum(-1) - 1
    row = torch.arange(len(ids), device=ids.device)[:, None].expand_as(place)
    together = ids.new_zeros(len(ids), int(text.sum(-1).max()))
    together[row[text], place[text]] = ids[text]
    labels = torch.full_like(together, -100)
    labels[row[said], place[said]] = ids[said]

    def back(figures: torch.Tensor) -> torch.Tensor:
        kept = said[:, -completion:]
        return figures.new_zeros(kept.shape).masked_scatter(kept, figures[row[said], place[said] - 1])

    return together, labels, back


class Correction:
    """How much more probable samples are under the trainer than under the engine, and what the loss makes of it.

    `logprobs`, `sampled`: of the completions' tokens by either, shape (samples, tokens); NaN where the engine told
    none, which corrects nothing. `mode`: TRL's name; `truncate` holds the ratio between `least` and `most`, `mask`
    gives what lies outside no weight; per token, or the same for all tokens of a sequence.
    """

    def __init__(
        self, logprobs: torch.Tensor, sampled: torch.Tensor, mask: torch.Tensor, mode: str, least: float, most: float
    ) -> None:
        level, _, kind = mode.partition("_")
        said = mask.bool()
        difference = torch.nan_to_num((logprobs - sampled) * mask, nan=0.0)
        ratio = torch.exp(difference.sum(-1, keepdim=True) if level == "sequence" else difference)
        if kind == "truncate":
            self.weight = ratio.clamp(min=least, max=most)
        elif kind == "mask":
            self.weight = ratio.masked_fill((ratio < least) | (ratio > most), 0.0)
        else:
            raise ValueError(f"{mode!r}: expected token_truncate, token_mask, sequence_truncate or sequence_mask")
        gap = (logprobs - sampled).abs()[said]
        self.gaps = gap[~gap.isnan()]
        self.cut = (ratio > most).expand_as(mask)[said]
        self.weights = self.weight.flatten() if level == "sequence" else self.weight[said]


def told_of(corrections: Sequence[Correction]) -> dict[str, float]:
    """Figures of a step under TRL's names, and the share of tokens whose ratio is above `most`."""
    weights, gaps, cut = (
        torch.cat([getattr(one, name) for one in corrections]).float() for name in ("weights", "gaps", "cut")
    )
    prefix = "sampling/importance_sampling_ratio/"
    return {
        f"{prefix}min": weights.min().item(),
        f"{prefix}mean": weights.mean().item(),
        f"{prefix}max": weights.max().item(),
        "sampling/sampling_logp_difference/mean": gaps.mean().item() if len(gaps) else 0.0,
        "is_cut_share": cut.mean().item(),
    }


class _Publisher:
    """Stands where TRL keeps its vLLM."""

    def __init__(self, publish: Callable[[], None]) -> None:
        self._publish = publish

    def sync_weights(self) -> None:
        """TRL's word for: the weights have changed since the last sample."""
        self._publish()
