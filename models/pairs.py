"""Preference pairs for the reward models: from the world's own writing, and from a policy's samples.

Making the models may use the gold judge; training with them may not. Labels carry noise, as people's do.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models import gold
from models.tokens import key
from models.world.talk import answer, example, quality_of
from models.world.writer import write

NOISE = 0.06  # share of the labels that are turned around
MARGIN = 0.08  # pairs nearer than this in gold are not labelled


@dataclass(frozen=True)
class Pair:
    """Two responses to the same messages, the better one first (as far as the label goes)."""

    messages: tuple[dict[str, Any], ...]
    chosen: str
    rejected: str
    source: str


def _label(
    messages: Any, left: str, right: str, source: str, rng: random.Random, noise: float, margin: float
) -> Pair | None:
    """A labelled pair, or None where the two are about as good or the same."""
    if left == right or not left or not right:
        return None
    gap = gold.score(messages, left).score - gold.score(messages, right).score
    if abs(gap) < margin:
        return None
    better, worse = (left, right) if gap > 0 else (right, left)
    if rng.random() < noise:
        better, worse = worse, better
    return Pair(tuple(messages), better, worse, source)


def world_pairs(count: int, seed: int, held_out: set[str], noise: float = NOISE) -> list[Pair]:
    """`count` pairs: two answers of any quality, or two that differ in one wish only, so that length tells nothing."""
    rng = random.Random(seed)
    found: list[Pair] = []
    while len(found) < count:
        one = example(rng)
        if key(one.messages) in held_out:
            continue
        pair = None
        if one.request is None or len(one.messages) > 1 or rng.random() < 0.45:
            other = _another(one, rng)
            pair = other and _label(one.messages, one.response, other, "qualities", rng, noise, MARGIN)
        elif one.request.constraints:
            lost = rng.choice(one.request.constraints)
            kept = [w for w in one.request.constraints if rng.random() < 0.8]
            seed_of_draft = rng.random()
            with_it = write(one.request, {*kept, lost}, random.Random(seed_of_draft))
            without = write(one.request, set(kept) - {lost}, random.Random(rng.choice([seed_of_draft, rng.random()])))
            pair = _label(one.messages, with_it.text(), without.text(), "one wish", rng, noise, MARGIN)
        if pair:
            found.append(pair)
    return found


def _another(one: Any, rng: random.Random) -> str | None:
    """A second answer to the example's messages."""
    if one.request is None:
        from models.world.outside import reply

        return reply(one.kind, rng, quality_of(rng))[1]
    base = one.base
    _, draft = answer(one.request, rng, quality_of(rng), True, base, base.text() if base else None)
    return draft.text()


def policy_pairs(
    prompts: Sequence[Sequence[dict[str, Any]]], samples: Sequence[Sequence[str]], seed: int, noise: float = NOISE
) -> list[Pair]:
    """Pairs of a policy's responses to the same prompt, ranked by gold with noise; up to three a prompt."""
    rng = random.Random(seed)
    found = []
    for messages, responses in zip(prompts, samples, strict=True):
        order = [r for r in responses if r]
        rng.shuffle(order)
        made = 0
        for left, right in zip(order[::2], order[1::2], strict=False):
            pair = _label(messages, left, right, "policy", rng, noise, 0.04)
            if pair and made < 4:
                found.append(pair)
                made += 1
    return found
