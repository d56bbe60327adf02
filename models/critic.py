"""Teaches a language model to read answers before it becomes a reward model: after a response it fills in a checklist.

A preference pair carries one bit; a checklist says of each kind of wish whether it was asked for and met. The list
itself is fixed text at the end of the reward models' chat template, as a rubric in a prompt is: at each of its words
the model recalls what was asked for, at the comma behind it whether the response has it. After the list it writes a
mark from 0 to 9, so that what was found there is brought together where the scalar head will read it. All that it would
write is thrown away.
Making the models may use gold; training with them may not.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from models import gold
from models.tokens import CHECKLIST, VERDICTS, key
from models.train_policy import Row, content_tokens
from models.world.talk import FLAWS, Ask, Example, answered, ask, quality_of
from models.world.writer import write
from thinking.templates import template_text

MET, MISSED, UNASKED = VERDICTS
CHOICE = 10  # requests of which one is read


def reading_template() -> str:
    """The chat template of the reward models: ours, and the checklist after a whole conversation."""
    words = "".join(f" {word}," for word in CHECKLIST)
    return (
        template_text("chatml") + "{%- if not add_generation_prompt -%}{{- '" + words + "<|im_end|>' -}}{%- endif -%}"
    )


@dataclass(frozen=True)
class Finding:
    """What stands after a word of the checklist: the value that was asked for ("5", "a photo"; may be empty), and how
    the response did."""

    value: str
    verdict: str


def findings(messages: Any, response: str) -> tuple[list[Finding], int]:
    """A finding for each word of the checklist, in its order, and the mark."""
    found = gold.score(messages, response)
    met: dict[str, bool] = {}
    values: dict[str, str] = {}
    for name, good in found.wishes.items():
        word, _, value = name.partition(" ")
        if word not in CHECKLIST:
            word, value = "honest", ""
        met[word] = met.get(word, True) and good
        values[word] = value
    met["topic"] = found.parts["on_topic"] > 0.75
    met["whole"] = found.parts["complete"] > 0.9
    met["clean"] = found.parts["clean"] > 0.9
    marks = {True: MET, False: MISSED, None: UNASKED}
    return [Finding(values.get(w, ""), marks[met.get(w)]) for w in CHECKLIST], min(9, int(10 * found.score))


def readings(seed: int, held_out: set[str]) -> Iterator[Example]:
    """Endless examples to be judged; in most of them each wish is heeded or not by the toss of a coin.

    One in four is what people ask for; else, of CHOICE that are drawn, the one is read whose rarest wish was read
    least: what is rarely asked for takes as many examples to learn as what is asked for often.
    """
    rng = random.Random(seed)
    read: Counter[str] = Counter()
    while True:
        asked = ask(rng)
        if rng.random() < 0.75:
            drawn = [asked, *(ask(rng) for _ in range(CHOICE - 1))]
            asked = min(drawn, key=lambda one: min((read[name] for name in _wishes(one)), default=math.inf))
        if key(asked.messages) in held_out:
            continue
        read.update(_wishes(asked))
        if asked.request is not None and rng.random() < 0.8:
            heeded = [w for w in asked.request.constraints if rng.random() < 0.5]
            flaw = rng.choice(FLAWS) if rng.random() < 0.25 else ""
            draft = write(asked.request, heeded, rng, asked.base, asked.previous, flaw)
            yield Example(asked.messages, "", draft.text(), "tossed", asked.kind)
        else:
            yield answered(asked, rng, quality_of(rng))


def _wishes(asked: Ask) -> list[str]:
    """The kinds of wish in the request."""
    return [wish.name for wish in asked.request.constraints] if asked.request is not None else []


def reading_rows(tokenizer: Any, examples: Iterable[Example]) -> Iterator[Row]:
    """Conversation, response, checklist. After each word of the list the asked value is wanted, after its comma the
    verdict, after the end a mark; on the way, of each word of the response whether it was there before.

    To compare, a model must find what was asked for and see in the response what comes from there; it learns both only
    where each is wanted of it. Of a value that is a number the first digit is, else its last token. What was asked for
    weighs more, and so does the mark.
    """
    template = reading_template()
    content = content_tokens(tokenizer)
    marks = [last_token(tokenizer, str(digit)) for digit in range(10)]
    id_of = {word: last_token(tokenizer, f" {word}") for word in VERDICTS}
    lengths = [len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in CHECKLIST]
    for one in examples:
        said = [*one.messages, {"role": "assistant", "content": one.response}]
        ids = tokenizer.apply_chat_template(said, tokenize=True, return_dict=False, chat_template=template)
        place = len(ids) - 2 - sum(lengths) - len(lengths)  # of the token before the list
        wanted, heavy = [-100] * len(ids), []
        for seen, verdict in seen_before(tokenizer, ids, place, content).items():
            wanted[seen] = id_of[verdict]
        found, mark = findings(one.messages, one.response)
        for length, finding in zip(lengths, found, strict=True):
            place += length
            if finding.verdict == UNASKED:
                wanted[place] = id_of[UNASKED]
            elif finding.value:
                number = finding.value[0].isdigit()
                wanted[place] = last_token(tokenizer, finding.value[0] if number else f" {finding.value}")
                heavy.append(place)
            place += 1
            wanted[place] = id_of[finding.verdict]
            if finding.verdict != UNASKED:
                heavy.append(place)
        wanted[-1] = marks[mark]
        yield Row(ids, wanted, [*heavy, len(ids) - 1])


def seen_before(tokenizer: Any, ids: list[int], end: int, content: frozenset[int]) -> dict[int, str]:
    """For the place of each content token of the last turn in ids[:end]: where the token stood before.

    "met" in what the user said, "missed" in an earlier answer only, "unasked" in neither.
    """
    begin = tokenizer.convert_tokens_to_ids("<|im_start|>")
    role = {who: tokenizer(who, add_special_tokens=False)["input_ids"] for who in ("user", "assistant")}
    *earlier, last = [place + 1 for place in range(end) if ids[place] == begin]
    said: dict[str, set[int]] = {who: set() for who in role}
    for start, stop in zip(earlier, [*earlier[1:], last], strict=True):
        who = next(who for who, name in role.items() if ids[start : start + len(name)] == name)
        said[who].update(ids[start + len(role[who]) : stop])
    return {
        place: MET if ids[place] in said["user"] else MISSED if ids[place] in said["assistant"] else UNASKED
        for place in range(last + len(role["assistant"]), end)
        if ids[place] in content
    }


def last_token(tokenizer: Any, text: str) -> int:
    """The id of the last token of `text`."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids[-1]
