"""The gold judge: a rubric that scores a response from the messages and its text alone.

It says whether learning happened. It is never a training reward, and `trainer/` must not import it. It knows the world,
so it can't judge anything outside of it, except whether an outside request was declined honestly.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.world.checks import head_words, met, numbered, sentences, words_of
from models.world.kinds import KINDS
from models.world.requests import read
from models.world.values import Request
from models.world.values import words as words_in

_FUNCTION = frozenset(
    words_in(
        """
    a an the of to in on for with and or but is are was were be been it its this that these those you your i
    my we our they them he she his her as at by from so if when what which who will would can could should may
    do does have has had not no all any each one there here up out
    """
    )
)
_DECLINES = r"can only help|can't help|outside of|don't know|sorry|beyond|guess"
WEIGHTS = {"constraints": 0.6, "on_topic": 0.2, "complete": 0.2}


@dataclass(frozen=True)
class Gold:
    """A score in 0..1 and its parts, each in 0..1; `wishes` names each constraint and whether it is met."""

    score: float
    parts: dict[str, float]
    wishes: dict[str, bool]


def score(messages: Sequence[dict[str, Any]], response: str) -> Gold:
    """Score `response` to the conversation `messages` (the last of which is the user's).

    score = clean x (0.6 constraints x (0.4 + 0.6 on topic) + 0.2 on topic + 0.2 complete); `clean` falls with
    repetition, padding, stuffing and text that is no sentence. A response to an outside request is scored by whether
    it declines and says what it can do.
    """
    response = response.strip()
    if not response:
        return Gold(0.0, dict.fromkeys([*WEIGHTS, "clean"], 0.0), {})
    request, what, previous = read(messages)
    if request is None:
        return _small_talk(what, response)
    wishes = {f"{w.name} {w.value}".strip(): met(w, response, previous) for w in request.constraints}
    parts = {
        "constraints": sum(wishes.values()) / len(wishes) if wishes else 1.0,
        "on_topic": _on_topic(request, response),
        "complete": _complete(request, response),
        "clean": _clean(response, messages),
    }
    credit = parts["constraints"] * (0.4 + 0.6 * parts["on_topic"])  # wishes met by an empty form count for less
    rest = sum(WEIGHTS[name] * parts[name] for name in ("on_topic", "complete"))
    total = parts["clean"] * (WEIGHTS["constraints"] * credit + rest)
    if parts["on_topic"] < 0.3:
        total *= 0.5  # an answer to another question can't be saved by its form
    return Gold(round(total, 4), parts, wishes)


def _lexicon(request: Request) -> tuple[set[str], list[frozenset[str]]]:
    kind = KINDS[request.kind]
    names = [request.topic] if request.topic else list(kind.topics)
    words: set[str] = set()
    heads = []
    for name in names:
        topic = kind.topics[name]
        words |= set(topic.words) | {w for w in words_of(name) if w not in _FUNCTION}
        heads += [head_words(i.head) for i in topic.items]
    if kind.mention_items:
        heads += [head_words(m.partition(":")[0]) for v in kind.mentions.values() for m in v]
    return words, heads


def _on_topic(request: Request, response: str) -> float:
    """Half for naming the topic, half for items (or sentences) that belong to it."""
    words, heads = _lexicon(request)
    named = bool(set(words_of(response)) & words)
    kind = KINDS[request.kind]
    if not kind.listed:
        pool = [
            set(words_of(s)) - _FUNCTION
            for n, t in kind.topics.items()
            if request.topic in (None, n)
            for s in t.sentences
        ]
        found = [set(words_of(s)) - _FUNCTION for s in sentences(response)]
        fitting = sum(any(len(f & p) >= 0.6 * max(len(f), 1) for p in pool) for f in found if len(f) > 1)
        return 0.5 * named + 0.5 * min(1.0, fitting / 2)
    bodies = [head_words(b) for b in numbered(response)]
    if not bodies:
        return 0.5 * named
    fitting = sum(any(len(b & h) >= 0.6 * max(len(b | h), 1) for h in heads) for b in bodies)
    return 0.5 * named + 0.5 * fitting / len(bodies)


def _complete(request: Request, response: str) -> float:
    """Opens, says enough, and comes to an end."""
    kind = KINDS[request.kind]
    words = len(words_of(response))
    signed = request.get("sign")
    ends = response[-1] in ".!?" or (signed is not None and response.endswith(signed))
    ends = ends or (not kind.listed and re.search(r",\n[A-Z]\w+$", response) is not None)
    enough = min(1.0, words / 25)
    if kind.listed:
        opened = not re.match(r"\d+\.", response) and len(words_of(response.splitlines()[0])) >= 4
        enough *= min(1.0, len(numbered(response)) / 3)
    else:
        opened = len(sentences(response)) >= 3
    return (0.3 * opened + 0.7 * enough) * (1.0 if ends else 0.4)


def _clean(response: str, messages: Sequence[dict[str, Any]]) -> float:
    """1 for natural text; falls with repeated phrases, word lists, great length and parroting of the prompt."""
    words = words_of(response)
    if len(words) < 3:
        return 0.0
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    repeated = 1 - len(set(grams)) / len(grams) if grams else 0.0
    content = Counter(w for w in words if w not in _FUNCTION and len(w) > 3)
    hammered = max((n for n in content.values()), default=0) / max(len(words), 25)
    function = sum(w in _FUNCTION for w in words) / len(words)
    asked = words_of(" ".join(m["content"] for m in messages if m["role"] == "user" and isinstance(m["content"], str)))
    prompt_grams = {tuple(asked[i : i + 5]) for i in range(len(asked) - 4)}
    own_grams = [tuple(words[i : i + 5]) for i in range(len(words) - 4)]
    parroted = sum(g in prompt_grams for g in own_grams) / len(own_grams) if own_grams else 0.0
    value = 1.0
    value -= min(0.8, 3.0 * max(0.0, repeated - 0.03))
    value -= min(0.5, 5.0 * max(0.0, hammered - 0.14))
    value -= min(0.6, 4.0 * max(0.0, 0.24 - function))
    value -= min(0.6, 0.01 * max(0, len(words) - 110))
    value -= min(0.6, 2.0 * max(0.0, parroted - 0.15))
    return max(0.0, value)


def _small_talk(what: str, response: str) -> Gold:
    lowered = response.lower()
    offered = sum(k.label in lowered for k in KINDS.values())
    calm = _clean(response, [])
    short = 1.0 if len(words_of(response)) <= 70 and len(numbered(response)) < 2 else 0.2
    if what == "gratitude":
        wishes = {
            "kind answer": bool(re.search(r"welcome|glad|pleasure|happy", lowered)),
            "offers more": len(sentences(response)) > 1,
        }
    elif what == "greeting":
        wishes = {
            "greets": bool(re.search(r"\b(hello|hi|good to|welcome|nice)\b", lowered)),
            "says what it can do": offered >= 1,
            "names several": offered >= 3,
            "invites": len(sentences(response)) > 2,
        }
    else:
        wishes = {
            "declines": bool(re.search(_DECLINES, lowered)),
            "says what it can do": offered >= 1 and "can only help with" in lowered,
            "names several": offered >= 3,
            "invites": len(sentences(response)) > 2,
        }
    share = sum(wishes.values()) / len(wishes)
    parts = {"constraints": share, "on_topic": short, "complete": float(response[-1] in ".!?"), "clean": calm}
    total = calm * short * sum(weight * parts[name] for name, weight in WEIGHTS.items())
    return Gold(round(total, 4), parts, wishes)
