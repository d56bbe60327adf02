"""Trains the tiny policy from scratch on a stream of the world's examples. Knows nothing of rewards or scores."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.tokens import CONTEXT, key
from models.world.talk import Example, example

WITHOUT_THINKING = 0.1  # share of the examples that are answered with an empty thought


@dataclass(frozen=True)
class Shape:
    """The size of a model."""

    hidden: int = 192
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 448


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. `tokens` per step are padded ones."""

    steps: int
    careful: float = 0.55  # share of the steps on careful examples only, before the mixture
    copied: float = 1.0  # weight, on careful examples, of a word that is taken over from the prompt
    tokens: int = 5000
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    warmup: int = 30


def stream(
    seed: int, held_out: set[str], thinks: float = 1 - WITHOUT_THINKING, quality: str | None = None
) -> Iterator[Example]:
    """Endless examples, of one quality if it is given; prompts whose key is held out never appear."""
    rng = random.Random(seed)
    while True:
        one = example(rng, quality=quality, thinks=rng.random() < thinks)
        if key(one.messages) not in held_out:
            yield one


Row = tuple[list[int], int]  # token ids, and how many of them are not trained on


def batches(rows: Iterator[Row], budget: int, seed: int) -> Iterator[list[Row]]:
    """Batches of rows of like length, at most `budget` padded tokens each, in random order."""
    rng = random.Random(seed)
    while True:
        pool = sorted((next(rows) for _ in range(600)), key=lambda row: len(row[0]))
        ready: list[list[Row]] = []
        batch: list[Row] = []
        for row in pool:
            if batch and len(row[0]) * (len(batch) + 1) > budget:
                ready.append(batch)
                batch = []
            batch.append(row)
        rng.shuffle(ready)
        yield from ready


def build(shape: Shape, tokenizer: Any, seed: int) -> Any:
    """A Qwen3 with random weights; its embeddings are tied while it trains: a tied head learns to copy far sooner."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def optimisers(model: Any, schedule: Schedule) -> list[Any]:
    """Muon for the matrices of the layers, AdamW for embeddings, head and norms."""
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and ".layers." in n)]
    return [
        torch.optim.Muon(matrices, lr=schedule.muon_lr, weight_decay=0.01),
        torch.optim.AdamW(others, lr=schedule.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def content_tokens(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens with a meaning of their own: digits, and words of three letters or more but the commonest."""
    common = {"the", "and", "for", "you", "with", "that", "this", "are", "your", "user", "assistant", "system", "think"}
    texts = {i: tokenizer.decode([i]).strip().lower() for i in range(len(tokenizer))}
    return frozenset(i for i, t in texts.items() if t.isdigit() or (t.isalpha() and len(t) > 2 and t not in common))


def copied_places(row: list[int], start: int, content: frozenset[int]) -> list[int]:
    """Places after `start` of content tokens of the prompt: the first two of each, in plan and response."""
    given, found = set(row[:start]) & content, []
    times: Counter[int] = Counter()
    for place in range(start, len(row)):
        token = row[place]
        if token in given:
            times[token] += 1
            if times[token] <= 2:
                found.append(place)
    return found


def train(
    model: Any,
    tokenizer: Any,
    phases: tuple[Iterator[Row], Iterator[Row]],
    schedule: Schedule,
    seed: int,
    say: Callable[[str], None] = print,
) -> dict[str, float]:
    """Next-token training on thoughts and responses (prompts are not trained on), in bf16 autocast.

    `phases` are careful examples and the mixture. Copying a wish's value from the prompt is learnt on the careful ones,
    where every wish is kept; in the mixture's noise it takes three times as long.
    Returns seconds, tokens seen (padding included) and the mean loss of the last 50 steps in nats per token.
    """
    import torch
    import torch.nn.functional as F

    model.train()
    content = content_tokens(tokenizer)
    opts = optimisers(model, schedule)
    base = [[g["lr"] for g in o.param_groups] for o in opts]
    began, seen, losses = time.monotonic(), 0, []
    careful, mixed = (batches(rows, schedule.tokens, seed) for rows in phases)
    for step in range(schedule.steps):
        factor = min(1.0, (step + 1) / schedule.warmup, 2.0 * (1 - step / schedule.steps))
        for opt, rates in zip(opts, base, strict=True):
            for group, rate in zip(opt.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        batch = next(careful if step < schedule.careful * schedule.steps else mixed)
        width = max(len(ids) for ids, _ in batch)
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        labels = torch.full((len(batch), width), -100)
        weights = torch.ones((len(batch), width))
        heavy = schedule.copied if step < schedule.careful * schedule.steps else 1.0
        for place, (row, start) in enumerate(batch):
            ids[place, : len(row)] = torch.tensor(row)
            labels[place, start : len(row)] = ids[place, start : len(row)]
            if heavy != 1.0:
                weights[place, copied_places(row, start, content)] = heavy
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(input_ids=ids).last_hidden_state  # right padding: causal attention never sees it
            wanted = labels[:, 1:] != -100
            logits = model.lm_head(hidden[:, :-1][wanted])
        each = F.cross_entropy(logits.float(), labels[:, 1:][wanted], reduction="none")
        weight = weights[:, 1:][wanted]
        loss = (each * weight).sum() / weight.sum()
        for opt in opts:
            opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
        seen += ids.numel()
        losses.append(each.mean().item())
        if (step + 1) % 50 == 0:
            say(
                f"  step {step + 1}/{schedule.steps} loss {sum(losses[-50:]) / 50:.3f} {time.monotonic() - began:.0f} s"
            )
    model.eval()
    tail = losses[-50:]
    return {"seconds": round(time.monotonic() - began, 1), "tokens": seen, "loss": round(sum(tail) / len(tail), 4)}


def save_policy(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write bf16 weights, tokenizer and sampling defaults; every file readable by all."""
    import torch
    from transformers import GenerationConfig

    untie(model)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    open_files(folder)


def untie(model: Any) -> None:
    """Give the head weights of its own, equal to the embeddings: an engine reloads only an untied head reliably."""
    import torch

    if model.config.tie_word_embeddings:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        model.config.tie_word_embeddings = False
        model._tied_weights_keys = {}


def open_files(folder: Path) -> None:
    """save_pretrained writes mode 0600; the engine may run as another user."""
    for path in folder.iterdir():
        path.chmod(0o644)
