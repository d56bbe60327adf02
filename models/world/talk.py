"""Puts it together: examples for training the policy, and prompts without an answer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from models.world import outside
from models.world.plans import plan
from models.world.requests import draw, draw_follow_up, word
from models.world.values import Constraint, Request
from models.world.writer import Draft, write

Message = dict[str, Any]
# Good, middling and poor answers: their share, how likely a wish is noticed, how likely a noticed one is met, flaws.
# "careful" is not drawn: it is what a model learns to copy from before it sees how people really write.
QUALITIES = {
    "careful": (0.0, 1.0, 1.0, 0.0),
    "good": (0.34, 0.95, 0.97, 0.02),
    "middling": (0.36, 0.62, 0.9, 0.12),
    "poor": (0.3, 0.3, 0.8, 0.45),
}
UNPLANNED = 0.45  # how likely a wish is met where nothing was planned
FLAWS = ("repeat", "cut", "stray", "thin")


@dataclass(frozen=True)
class Example:
    """One answer: the messages before it, its thought (empty without thinking) and the response."""

    messages: tuple[Message, ...]
    thought: str
    response: str
    quality: str
    kind: str
    draft: Draft | None = None
    request: Request | None = None
    base: Draft | None = None  # the draft of the answer that a follow-up changes


def quality_of(rng: random.Random) -> str:
    return rng.choices(list(QUALITIES), [share for share, *_ in QUALITIES.values()])[0]


def answer(
    request: Request,
    rng: random.Random,
    quality: str,
    thinks: bool,
    base: Draft | None = None,
    previous: str | None = None,
) -> tuple[str, Draft]:
    """A thought and a draft of the given quality. Without thinking, wishes are met by luck more than by care."""
    _, noticed, met, flawed = QUALITIES[quality]
    if not thinks and quality != "careful":
        noticed, met, flawed = UNPLANNED, 1.0, 0.2
    listed = [w for w in request.constraints if rng.random() < noticed]
    heeded: list[Constraint] = [w for w in listed if rng.random() < met]
    flaw = rng.choice(FLAWS) if rng.random() < flawed else ""
    draft = write(request, heeded, rng, base, previous, flaw)
    return plan(request, listed, draft, rng, base is not None) if thinks else "", draft


@dataclass(frozen=True)
class Ask:
    """What somebody asks: the messages up to it, and what an answer to it is made from."""

    messages: tuple[Message, ...]
    kind: str  # of the request; else outside, greeting or gratitude
    request: Request | None = None
    base: Draft | None = None  # the draft of the answer that a follow-up changes
    previous: str | None = None  # its text


def example(
    rng: random.Random, *, quality: str | None = None, thinks: bool = True, kind: str | None = None,
    topic: str | None = None,
) -> Example:  # fmt: skip
    """A random example: mostly first requests, some follow-ups, greetings, thanks and outside requests."""
    quality = quality or quality_of(rng)
    return answered(ask(rng, kind, topic), rng, quality, thinks)


def ask(rng: random.Random, kind: str | None = None, topic: str | None = None) -> Ask:
    """Something to be answered; cheaper than an example, most of whose work is its answer."""
    dice = 0.5 if kind else rng.random()
    if dice < 0.09:
        return _talk([], "outside" if rng.random() < 0.72 else "greeting", rng)
    request = draw(rng, kind, topic)
    messages: list[Message] = [{"role": "user", "content": word(request, rng)}]
    base: Draft | None = None
    previous: str | None = None
    follow_ups = rng.choices([0, 1, 2], [0.72, 0.2, 0.08])[0]
    for _ in range(follow_ups):
        _, base = answer(request, rng, quality_of(rng), True, base, previous)
        base = base if base.cut == 1.0 else write(request, request.constraints, rng)
        previous = base.text()
        messages.append({"role": "assistant", "content": previous})
        if rng.random() < 0.1:
            return _talk(messages, rng.choice(["gratitude", "gratitude", "outside"]), rng)
        if rng.random() < 0.12:
            request, base, previous = draw(rng), None, None
            text = word(request, rng)
        else:
            text, request = draw_follow_up(request, previous, rng)
        messages.append({"role": "user", "content": text})
    return Ask(tuple(messages), request.kind, request, base, previous)


def _talk(messages: list[Message], what: str, rng: random.Random) -> Ask:
    asked = {"outside": outside.ask, "greeting": lambda r: r.choice(outside.GREETINGS),
             "gratitude": lambda r: r.choice(outside.THANKS)}[what](rng)  # fmt: skip
    return Ask((*messages, {"role": "user", "content": asked}), what)


def answered(asked: Ask, rng: random.Random, quality: str, thinks: bool = True) -> Example:
    """An answer of that quality."""
    request, what = asked.request, asked.kind
    if request is not None:
        thought, draft = answer(request, rng, quality, thinks, asked.base, asked.previous)
        return Example(asked.messages, thought, draft.text(), quality, what, draft, request, asked.base)
    thought, response = outside.reply(what, rng, quality)
    if what == "outside" and quality == "poor" and rng.random() < 0.4:
        thought, draft = answer(draw(rng), rng, "poor", True)
        response = draft.text()
    return Example(asked.messages, thought if thinks else "", response, quality, what)
