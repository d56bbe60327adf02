"""What padding costs in training: the training part of a GRPO step by several layouts of the same samples.

A step is 8 prompts of the mix x 8 samples of the policy, at temperature 1. For each layout: the policy's and the
reference's log-probabilities without gradients, then forward and backward, as in `trainer.trl_bridge`; one thread, its
CPU seconds. `trl` is TRL's own layout; `alike` has samples of like lengths together, 16 in a pass; `scored` then scores
only what a completion says; `moved` also has each sample begin where its row does, which is ours with 8 in a pass;
`one-row` has no padding: all in one row, with an attention of each sample for itself, and `one-row-stock` with the mask
that transformers makes of positions that begin again. All must come to the same gradients. JSON is the last line.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

PROMPTS, GROUP = 8, 8
SIDES = ("trl", "alike", "scored", "moved/16", "moved/8", "moved/4", "one-row/16", "one-row-stock/16")
"""Layout and, behind the stroke, samples in a pass; 16 where none is named."""


@dataclass
class Pass:
    """One forward pass. Labels are -100 where nothing is scored."""

    ids: Any
    labels: Any
    mask: Any = None
    more: dict[str, Any] = field(default_factory=dict)


def main() -> int:
    """Sample, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--sides", nargs="+", default=SIDES)
    options = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = _policy()
    steps = [_samples(model, step) for step in range(options.steps)]
    spent: dict[str, list[float]] = {side: [] for side in options.sides}
    computed, apart = dict.fromkeys(options.sides, 0), dict.fromkeys(options.sides, 0.0)
    for number, samples in enumerate(steps):
        right = None
        for side in options.sides:
            if not number:
                train(model, samples, side)  # warms up
            seconds, places, gradient = train(model, samples, side)
            right = gradient if right is None else right
            spent[side].append(round(seconds, 3))
            computed[side] += places
            apart[side] = max(apart[side], float((gradient - right).abs().max() / right.abs().max()))
    tokens = sum(len(prompt) + len(said) for samples in steps for prompt, said in samples)
    said = sum(len(said) for samples in steps for _, said in samples)
    found = {
        side: {
            "seconds": median(spent[side]),
            "all": spent[side],
            "padding": round(1 - tokens / computed[side], 3),
            "gradients_apart": apart[side],
        }
        for side in options.sides
    }
    per = {"tokens": round(tokens / len(steps)), "of_completions": round(said / len(steps))}
    print(json.dumps({"bench": "padding", "steps": len(steps), **per, "sides": found}))
    return 0


def train(model: Any, samples: Sequence[tuple[list[int], list[int]]], side: str) -> tuple[float, int, Any]:
    """CPU seconds, places computed (of one of the passes over all samples), and the gradient."""
    import torch
    from trl.trainer import utils

    layout, _, size = side.partition("/")
    private: Any = utils
    private._use_triton = lambda device: layout not in ("trl", "alike")
    model.get_base_model().set_attn_implementation("each-for-itself" if layout == "one-row" else "sdpa")
    model.zero_grad()
    began = time.process_time()
    passes = laid_out(samples, layout, int(size or 16))

    def told(one: Pass) -> Any:
        return model(
            input_ids=one.ids, attention_mask=one.mask, labels=one.labels, fused_lm_head=True, **one.more
        ).log_probs

    with torch.no_grad():
        for one in passes:
            told(one)
        with model.disable_adapter():
            for one in passes:
                told(one)
    for one in passes:
        told(one).sum().backward()
    seconds = time.process_time() - began
    gradient = torch.cat([weights.grad.flatten() for weights in model.parameters() if weights.grad is not None])
    return seconds, sum(one.ids.numel() for one in passes), gradient


def laid_out(samples: Sequence[tuple[list[int], list[int]]], layout: str, size: int) -> list[Pass]:
    """The samples in passes of `size`."""
    if layout != "trl":
        samples = sorted(samples, key=lambda one: len(one[0]) + len(one[1]))
    widest = max(len(prompt) for prompt, _ in samples), max(len(said) for _, said in samples)
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]
    if layout.startswith("one-row"):
        return [_one_row(part, stock=layout.endswith("stock")) for part in parts]
    return [_rows(part, layout, widest) for part in parts]


def _rows(part: Sequence[tuple[list[int], list[int]]], layout: str, widest: tuple[int, int]) -> Pass:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from trainer.trl_bridge import moved_together

    before, after = (max(len(one[side]) for one in part) for side in (0, 1)) if layout != "trl" else widest
    prompts = [torch.tensor([0] * (before - len(prompt)) + prompt) for prompt, _ in part]
    answers = [torch.tensor(said + [0] * (after - len(said))) for _, said in part]
    ids = torch.cat([pad_sequence(prompts, batch_first=True), pad_sequence(answers, batch_first=True)], 1)
    mask = torch.zeros_like(ids)
    for row, (prompt, said) in zip(mask, part, strict=True):
        row[before - len(prompt) : before + len(said)] = 1
    if layout == "moved":
        together, labels, _ = moved_together(ids, mask, after)
        return Pass(together, labels)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :before] = -100
    return Pass(ids, labels, mask)


def _one_row(part: Sequence[tuple[list[int], list[int]]], stock: bool) -> Pass:
    import torch

    ids = torch.tensor([[token for prompt, said in part for token in [*prompt, *said]]])
    labels = torch.tensor([[token for prompt, said in part for token in [-100] * len(prompt) + said]])
    lengths = [len(prompt) + len(said) for prompt, said in part]
    inside = torch.cat([torch.arange(length) + row * max(lengths) for row, length in enumerate(lengths)])
    places = torch.cat([torch.arange(length) for length in lengths])[None]
    more = {} if stock else {"lengths": lengths, "inside": inside}
    return Pass(ids, labels, None, {"position_ids": places, **more})


def _each_for_itself(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, lengths: Any, inside: Any, **options: Any
) -> Any:
    """Attention within each sample of one row: spread over rows for it alone, and back."""
    from torch.nn.functional import scaled_dot_product_attention

    rows, longest = len(lengths), max(lengths)

    def spread(states: Any) -> Any:
        _, heads, _, size = states.shape
        rows_of = states.new_zeros(rows * longest, heads, size).index_copy(0, inside, states[0].transpose(0, 1))
        return rows_of.view(rows, longest, heads, size).transpose(1, 2)

    scale = options.get("scaling")
    out = scaled_dot_product_attention(spread(query), spread(key), spread(value), is_causal=True, scale=scale)
    return out.transpose(1, 2).flatten(0, 1)[inside][None], None


def _policy() -> Any:
    """The embedded one with an adapter that does something, and TRL's way to score."""
    import torch
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    import trainer.trl_bridge  # noqa: F401  it keeps TRL from importing the engine
    from cli.profiles import TINY
    from trainer.policy import load_policy
    from trainer.round_config import RoundConfig

    from trl.trainer.utils import add_fused_lm_head  # isort: skip  after the bridge

    AttentionInterface.register("each-for-itself", _each_for_itself)
    AttentionMaskInterface.register("each-for-itself", lambda *_, **__: None)
    model = load_policy(Path(TINY.base_model), None, RoundConfig.model_validate({}))
    add_fused_lm_head(model.get_base_model(), outputs=("log_probs", "entropy"))
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.02)
    return model


def _samples(model: Any, step: int) -> list[tuple[list[int], list[int]]]:
    """Prompt and completion of each sample of a step."""
    import torch

    from cli.profiles import TINY
    from models.prompts import read_prompts
    from trainer.policy import load_tokenizer, prompt_ids

    tokenizer = load_tokenizer(Path(TINY.base_model), TINY.template)
    asked = [row["messages"] for row in read_prompts(Path(TINY.base_mix))]
    random.Random(1).shuffle(asked)
    found = []
    for messages in asked[step * PROMPTS : (step + 1) * PROMPTS]:
        prompt = prompt_ids(tokenizer, messages)
        with torch.inference_mode(), model.disable_adapter():
            rows = model.generate(
                input_ids=torch.tensor([prompt] * GROUP), attention_mask=torch.ones(GROUP, len(prompt)),
                do_sample=True, temperature=1.0, top_k=0, max_new_tokens=256, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        for row in rows[:, len(prompt) :].tolist():
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
            found.append((prompt, row[:end]))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
