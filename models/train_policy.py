"""Trains the tiny policy from scratch on a stream of the world's examples. Knows nothing of rewards or scores."""

from __future__ import annotations

import copy
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from models.tokens import CONTEXT, encode, key
from models.world.talk import Example, example

WITHOUT_THINKING = 0.1  # share of the examples that are answered with an empty thought


@dataclass(frozen=True)
class Shape:
    """The size of a model."""

    hidden: int = 192
    layers: int = 4
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 32  # the least that vLLM takes on a CPU
    intermediate: int = 448


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. `tokens` per step are padded; `heavy` is the weight of a row's heavy places."""

    steps: int
    heavy: float = 1.0
    tokens: int = 3500
    muon_lr: float = 0.02
    adam_lr: float = 8e-3
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


class Row(NamedTuple):
    """Token ids; for each the token wanted after it, or -100; and the places of wanted tokens that weigh more."""

    ids: list[int]
    wanted: list[int]
    heavy: list[int]


def copied_rows(tokenizer: Any, examples: Iterable[Example]) -> Iterator[Row]:
    """Examples as rows: the answer is learnt, the prompt is not. Heavy are the words taken over from the prompt.

    They are few among the tokens, and everything depends on them: a name lost on the way is a wish unmet. Of each
    word the first two times count, in the plan and in the response.
    """
    content = content_tokens(tokenizer)
    for one in examples:
        ids, start = encode(tokenizer, one)
        wanted = [-100] * (start - 1) + ids[start:] + [-100]
        yield Row(ids, wanted, [place - 1 for place in copied_places(ids, start, content)])


def batches(rows: Iterator[Row], budget: int, seed: int) -> Iterator[list[Row]]:
    """Batches of rows of like length, at most `budget` padded tokens each, in random order."""
    rng = random.Random(seed)
    while True:
        pool = sorted((next(rows) for _ in range(600)), key=lambda row: len(row.ids))
        ready: list[list[Row]] = []
        batch: list[Row] = []
        for row in pool:
            if batch and len(row.ids) * (len(batch) + 1) > budget:
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
    model = Qwen3ForCausalLM(config)
    # At first each layer adds nothing, so that a token's own embedding comes through to be copied.
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(0, 0.05)
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    return model


def attend_in_float32(model: Any) -> None:
    """Have attention computed in float32 under autocast: on a CPU its backward pass then takes half as long."""
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def forward(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            return sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)

    AttentionInterface.register("sdpa_float32", forward)
    AttentionMaskInterface.register("sdpa_float32", sdpa_mask)
    model.set_attn_implementation("sdpa_float32")


def deepen(model: Any) -> None:
    """Give the model one more layer at the top, which adds nothing at first.

    What a model's last layer finds at one token no other token can read; with a layer more, one can.
    """
    import torch

    layer = copy.deepcopy(model.model.layers[-1])
    layer.self_attn.layer_idx = len(model.model.layers)
    with torch.no_grad():
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    model.model.layers.append(layer)
    model.config.num_hidden_layers += 1
    model.config.layer_types = [*model.config.layer_types, model.config.layer_types[-1]]


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
    rows: Iterator[Row],
    schedule: Schedule,
    seed: int,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Train in place; the rate rises, stays, and falls to 0 over the second half.

    Returns seconds, tokens seen (padding included) and the mean loss of the last 50 steps in nats per token.
    """
    import torch
    import torch.nn.functional as F

    model.train()
    attend_in_float32(model)
    opts = optimisers(model, schedule)
    base = [[g["lr"] for g in o.param_groups] for o in opts]
    began, seen, losses = time.monotonic(), 0, []
    for step, batch in zip(range(schedule.steps), batches(rows, schedule.tokens, seed), strict=False):
        factor = min(1.0, (step + 1) / schedule.warmup, 2.0 * (1 - step / schedule.steps))
        for opt, rates in zip(opts, base, strict=True):
            for group, rate in zip(opt.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        width = max(len(row.ids) for row in batch)
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        wanted = torch.full((len(batch), width), -100)
        weights = torch.ones((len(batch), width))
        for place, row in enumerate(batch):
            ids[place, : len(row.ids)] = torch.tensor(row.ids)
            wanted[place, : len(row.ids)] = torch.tensor(row.wanted)
            weights[place, row.heavy] = schedule.heavy
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(input_ids=ids).last_hidden_state  # right padding: causal attention never sees it
            learnt = wanted != -100
            logits = model.lm_head(hidden[learnt])
        each = F.cross_entropy(logits.float(), wanted[learnt], reduction="none")
        weight = weights[learnt]
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
            mean = sum(losses[-50:]) / 50
            say(f"  step {step + 1}/{schedule.steps} loss {mean:.3f} {time.monotonic() - began:.0f} s")
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
