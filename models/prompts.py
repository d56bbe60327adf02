"""The prompts that go with the models: the base mix of a round, and held-out ones that no training stream contains."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from models.tokens import key
from models.world.talk import Example, example

TRAIN, HELD_OUT = 2000, 400


def draw_prompts(count: int, seed: int, without: set[str]) -> list[Example]:
    """`count` different prompts, none of them in `without`. Greetings are few and all in training, so none here."""
    rng = random.Random(seed)
    seen = set(without)
    found: list[Example] = []
    while len(found) < count:
        one = example(rng, quality="middling")
        if one.kind == "greeting" or key(one.messages) in seen or (one.kind == "outside" and rng.random() < 0.4):
            continue
        seen.add(key(one.messages))
        found.append(one)
    return found


def write_prompts(path: Path, examples: list[Example], prefix: str) -> None:
    """One JSON object a line: id, kind, messages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"id": f"{prefix}-{i:04d}", "kind": e.kind, "messages": list(e.messages)} for i, e in enumerate(examples)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """The rows of a prompts file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
