"""Teaches a language model to read answers before it becomes a reward model: after a response it fills in a checklist.

A preference pair carries one bit; a checklist says of each kind of wish whether it was asked for and met. The list
itself is fixed text at the end of the reward models' chat template, as a rubric in a prompt is: each of its words is a
place where the model can compare the prompt with the response. After the list it writes a mark from 0 to 9, so that
what was found there is brought together where the scalar head will read it. All that it would write is thrown away.
Making the models may use gold; training with them may not.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from models import gold
from models.tokens import CHECKLIST, VERDICTS, key
from models.train_policy import Row
from models.world.talk import Example, example
from models.world.writer import write
from thinking.templates import template_text

MET, MISSED, UNASKED = VERDICTS


def reading_template() -> str:
    """The chat template of the reward models: ours, and the checklist after a whole conversation."""
    words = " ".join(CHECKLIST)
    return (
        template_text("chatml") + "{%- if not add_generation_prompt -%}{{- ' " + words + "<|im_end|>' -}}{%- endif -%}"
    )


def verdicts(messages: Any, response: str) -> list[str]:
    """A verdict for each word of the checklist, in its order."""
    found = gold.score(messages, response)
    met: dict[str, bool] = {}
    for name, good in found.wishes.items():
        word = name.split()[0] if name.split()[0] in CHECKLIST else "honest"
        met[word] = met.get(word, True) and good
    met["topic"] = found.parts["on_topic"] > 0.75
    met["whole"] = found.parts["complete"] > 0.9
    met["clean"] = found.parts["clean"] > 0.9
    return [UNASKED if word not in met else MET if met[word] else MISSED for word in CHECKLIST]


def readings(seed: int, held_out: set[str]) -> Iterator[Example]:
    """Endless examples to be judged; in most of them each wish is heeded or not by the toss of a coin."""
    rng = random.Random(seed)
    while True:
        one = example(rng)
        if key(one.messages) in held_out:
            continue
        if one.request is not None and rng.random() < 0.8:
            heeded = [w for w in one.request.constraints if rng.random() < 0.5]
            previous = one.base.text() if one.base else None
            draft = write(one.request, heeded, rng, one.base, previous)
            one = Example(one.messages, "", draft.text(), "tossed", one.kind)
        yield one


def reading_rows(tokenizer: Any, examples: Iterable[Example]) -> Iterator[Row]:
    """Conversation, response, checklist; after each word of the list its verdict is wanted, after the end a mark.

    Verdicts on what was asked for weigh more, and so does the mark.
    """
    template = reading_template()
    marks = [tokenizer(str(digit), add_special_tokens=False)["input_ids"][0] for digit in range(10)]
    id_of = {word: tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in VERDICTS}
    lengths = [len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in CHECKLIST]
    for one in examples:
        said = [*one.messages, {"role": "assistant", "content": one.response}]
        ids = tokenizer.apply_chat_template(said, tokenize=True, return_dict=False, chat_template=template)
        place = len(ids) - 2 - sum(lengths)  # of the token before the list
        wanted, heavy = [-100] * len(ids), []
        for length, verdict in zip(lengths, verdicts(one.messages, one.response), strict=True):
            place += length
            wanted[place] = id_of[verdict]
            if verdict != UNASKED:
                heavy.append(place)
        wanted[-1] = marks[min(9, int(10 * gold.score(one.messages, one.response).score))]
        yield Row(ids, wanted, [*heavy, len(ids) - 1])
