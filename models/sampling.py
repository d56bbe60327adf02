"""Samples from a policy with plain transformers, for measuring it and for the reward models' pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thinking.format import THINK, Parsed

MAX_NEW_TOKENS = 256  # the world's longest thought and response take 249


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[dict[str, Any]]],
    *,
    each: int = 1,
    thinking: bool = True,
    temperature: float = 0.7,
    seed: int = 0,
    batch: int = 192,
) -> list[list[Parsed]]:
    """`each` parsed samples per prompt. Without thinking, the empty thought of the prompt counts as the thought."""
    import torch

    torch.manual_seed(seed)
    options: dict[str, Any] = {} if thinking else {"enable_thinking": False}
    texts = [
        tokenizer.apply_chat_template(list(p), tokenize=False, add_generation_prompt=True, **options) for p in prompts
    ]
    jobs = sorted(((i, t) for i, t in enumerate(texts) for _ in range(each)), key=lambda job: len(job[1]))
    found: list[list[Parsed]] = [[] for _ in prompts]
    tokenizer.padding_side = "left"
    for start in range(0, len(jobs), batch):
        part = jobs[start : start + batch]
        inputs = tokenizer([t for _, t in part], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            out = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
            )
        for (place, _), row in zip(part, out[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            ended = tokenizer.eos_token_id in row
            row = row[: row.index(tokenizer.eos_token_id)] if ended else row
            text = tokenizer.decode(row, skip_special_tokens=False)
            found[place].append(THINK.parse(text if thinking else f"<think>\n\n</think>\n\n{text}", ended))
    tokenizer.padding_side = "right"
    return found
