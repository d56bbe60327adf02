"""Samples from a policy, for measuring it and for the reward models' pairs.

`sample` uses plain transformers and a model at hand; `sample_fast` gives the folder to a vLLM engine of its own, in
this process, which writes thousands of answers a minute.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from thinking.format import THINK, Parsed, ThinkingFormat

MAX_NEW_TOKENS = 256  # the world's longest thought and response take 249


def sample_fast(
    folder: str,
    prompts: Sequence[Sequence[dict[str, Any]]],
    *,
    each: int = 1,
    thinking: bool = True,
    temperature: float = 0.7,
    seed: int = 0,
    fmt: ThinkingFormat = THINK,
) -> list[list[Parsed]]:
    """As `sample`, from the model in `folder`. Call in a process of its own: the engine stays in it until it ends."""
    os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1")
    from vllm import LLM, SamplingParams

    global _engine
    if _engine is None or _engine[0] != folder:
        options: dict[str, Any] = {
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": 8192,
            "enforce_eager": True,
        }
        _engine = (folder, LLM(folder, dtype="float32", max_model_len=1024, disable_log_stats=True, **options))
    params = SamplingParams(
        n=each, temperature=temperature, seed=seed, max_tokens=MAX_NEW_TOKENS, skip_special_tokens=False
    )
    outputs = _engine[1].chat(
        [list(p) for p in prompts],
        params,
        chat_template_kwargs=None if thinking else {"enable_thinking": False},
        use_tqdm=False,
    )
    return [
        [_parse(one.text, one.finish_reason == "stop", thinking, fmt) for one in found.outputs] for found in outputs
    ]


_engine: Any = None  # (folder, engine) of this process


def _parse(text: str, ended: bool, thinking: bool, fmt: ThinkingFormat) -> Parsed:
    """Read a sample; where the prompt closed an empty thought, that counts as the thought."""
    return fmt.parse(text if thinking else f"{fmt.open}\n\n{fmt.close} {fmt.response_open or ''}\n{text}", ended)


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
    fmt: ThinkingFormat = THINK,
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
        with torch.inference_mode():
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
            found[place].append(_parse(text, ended, thinking, fmt))
    tokenizer.padding_side = "right"
    return found
