"""Teaches a language model to read answers before it becomes a reward model: after a response it writes a verdict.

A preference pair carries one bit; a verdict says of each wish whether it was met. A model that can write verdicts has
learnt to compare a prompt's words with a response's, and orders pairs well after few of them. The verdicts are thrown
away: a reward model is the body with a scalar head. Making the models may use gold; training with them may not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from models import gold
from models.tokens import key
from models.world.talk import Example, example
from models.world.writer import write


def verdict(messages: Any, response: str) -> str:
    """One line for each wish, and for topic, wholeness and cleanness: met or missed."""
    found = gold.score(messages, response)
    lines = dict(found.wishes)
    lines["topic"] = found.parts["on_topic"] > 0.75
    lines["whole"] = found.parts["complete"] > 0.9
    lines["clean"] = found.parts["clean"] > 0.9
    return "\n".join(f"- {name}: {'met' if good else 'missed'}" for name, good in lines.items())


def readings(seed: int, held_out: set[str]) -> Iterator[Example]:
    """Endless examples to be judged; half of them answers in which each wish is heeded or not by the toss of a coin."""
    rng = random.Random(seed)
    while True:
        one = example(rng)
        if key(one.messages) in held_out:
            continue
        if one.request is not None and rng.random() < 0.5:
            heeded = [w for w in one.request.constraints if rng.random() < 0.5]
            previous = one.base.text() if one.base else None
            draft = write(one.request, heeded, rng, one.base, previous)
            one = Example(one.messages, "", draft.text(), "tossed", one.kind)
        yield one


def encode_reading(tokenizer: Any, one: Example) -> tuple[list[int], int]:
    """Token ids of conversation, response and verdict, and how many of them come before the verdict."""
    said = [*one.messages, {"role": "assistant", "content": one.response}]
    read: list[int] = tokenizer.apply_chat_template(said, tokenize=True, return_dict=False)
    written = tokenizer(verdict(one.messages, one.response), add_special_tokens=False)["input_ids"]
    return [*read, *written, tokenizer.eos_token_id], len(read)
