"""Writes the thought before a response: what is asked, the wishes to keep in mind, and how to meet them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from models.world.kinds import KINDS
from models.world.values import Constraint, Request
from models.world.wishes import plan_line
from models.world.writer import Draft

_STARTS = {
    "meal": ("They want {t}.", "This is about {t}.", "They need a plan for {t}."),
    "packing": ("They pack for {t}.", "A packing list for {t}.", "They go on {t}."),
    "workout": ("They want to train their {t}.", "A workout for the {t}.", "This is about the {t}."),
    "gifts": ("A gift for someone who loves {t}.", "They look for gifts around {t}.", "It is about {t}."),
    "outline": ("An outline about {t}.", "They need an outline on {t}.", "The subject is {t}."),
    "travel": ("A day in {t}.", "They will be in {t} for a day.", "The city is {t}."),
    "email": ("An email about {t}.", "They need to write about {t}.", "The matter is {t}."),
    "story": ("A story about {t}.", "They want a story about {t}.", "The hero is {t}."),
    "invitation": ("An invitation to {t}.", "They plan {t}.", "It is about {t}."),
    "thanks": ("A thank-you note for {t}.", "They want to give thanks for {t}.", "It is about {t}."),
}
_MINDS = ("Keep in mind:", "What counts:", "It must be:", "I have to watch:")
_PICKS = ("I take:", "My choice:", "I will use:")
_FLOWS = (
    "First the point, then the rest, then a close.",
    "I start with the point and add the rest in order.",
    "One thought a sentence, and a clear close.",
)


def plan(request: Request, listed: Sequence[Constraint], draft: Draft, rng: random.Random, follow_up: bool) -> str:
    """The thought that leads to `draft`. `listed` are the wishes that it keeps in mind; others it has overlooked."""
    kind = KINDS[request.kind]
    start = rng.choice(_STARTS[request.kind]).format(t=request.topic)
    if follow_up:
        start = rng.choice(["A change to my last answer.", "They want it changed.", "I change what I wrote."])
    rows = [start]
    if listed:
        rows.append(rng.choice(_MINDS))
        rows += [f"- {plan_line(kind, wish)}" for wish in listed]
    if draft.lines:
        rows.append(f"{rng.choice(_PICKS)} {'; '.join(head for head, _ in draft.lines)}.")
    else:
        rows.append(rng.choice(_FLOWS))
    return "\n".join(rows)
