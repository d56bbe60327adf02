"""Writes responses: a draft made of parts, for a request of which some wishes are heeded and the others are not.

A wish that is not heeded is not merely left to chance: the draft goes against it as a careless writer would, by leaving
it out or by putting in something else. Knows nothing of prompts, plans or scores.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, replace

from models.world.checks import head_words, met, words_of
from models.world.kinds import ENDINGS, KINDS
from models.world.values import NUMBER_WORDS, Constraint, Item, Kind, Request, items

_OPENINGS = {"formal": ("Dear {v},",), "friendly": ("Hi {v},", "Hello {v},"), None: ("Good day {v},", "{v},")}
_NOBODY = {"email": "all", "thanks": "friend", "invitation": "friends"}
_SIGNS = {
    "formal": ("Kind regards,", "Respectfully,", "Sincerely,"),
    "friendly": ("Cheers,", "All the best,", "See you soon,"),
    None: ("Best wishes,", "With best wishes,"),
}
_UNSIGNED = {
    "formal": ("With kind regards.", "Kind regards to all of you."),
    "friendly": ("See you soon.", "All the best."),
    None: ("With best wishes.", "Best wishes."),
}


@dataclass(frozen=True)
class Draft:
    """The parts of a response, in their order. `lines` are (head, detail) of a list, `body` the sentences of prose."""

    opening: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    body: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    closing: str = ""
    last: str = ""
    signature: str = ""
    cut: float = 1.0
    joint: str = ", "

    def text(self) -> str:
        """The response as written."""
        if self.lines:
            rows = [f"{i}. {h[:1].upper()}{h[1:]}{join(d, self.joint)}." for i, (h, d) in enumerate(self.lines, 1)]
            tail = " ".join(filter(None, [*self.says, self.closing]))
            tip = self.last.startswith("Tip:")
            if self.last and not tip:
                tail = f"{tail} {self.last}".strip()
            blocks = [self.opening, *rows, *([tail] if tail else []), *([self.last] if tip else [])]
            text = "\n".join(blocks)
        else:
            prose = " ".join(filter(None, [*self.body, self.closing, self.last]))
            text = "\n".join(filter(None, [self.opening, prose, self.signature]))
        if self.cut < 1.0:
            words = text.split(" ")
            text = " ".join(words[: max(8, int(len(words) * self.cut))]).rstrip(",.:;!?\n")
        return text


def join(detail: str, joint: str) -> str:
    """A detail as it follows its head: a relative clause without a comma, anything else after one."""
    return "" if not detail else f"{' ' if detail.startswith(('that ', 'of ', 'for ')) else joint}{detail}"


def write(
    request: Request,
    heeded: Collection[Constraint],
    rng: random.Random,
    base: Draft | None = None,
    previous: str | None = None,
    flaw: str = "",
) -> Draft:
    """A draft for the request. `base` and `previous` are the draft and text of the answer that a follow-up changes.

    `flaw` is "", "repeat", "cut", "stray" (another topic) or "thin" (too little). Wishes in the request but not in
    `heeded` are gone against.
    """
    kind = KINDS[request.kind]
    make = _list if kind.listed else _prose
    draft = make(kind, request, set(heeded), rng, base, flaw)
    for wish in heeded:
        if wish.name in ("words", "shorter") and flaw != "repeat":
            draft = _shorten(draft, wish, previous, request)
    if flaw == "cut":
        draft = replace(draft, cut=rng.uniform(0.35, 0.7))
    return draft


def _goes_on(request: Request, heeded: set[Constraint]) -> bool:
    """Whether a wish for few words is overlooked, so that the writer goes on and on."""
    cap = request.get("words")
    return cap is not None and Constraint("words", cap) not in heeded


def _value(request: Request, name: str, heeded: set[Constraint], kind: Kind, rng: random.Random) -> str | None:
    """The value to write for a wish: the right one if heeded, else none or a wrong one."""
    value = request.get(name)
    if value is None or Constraint(name, value) in heeded:
        return value
    return rng.choice([None, None, *[v for v in kind.values[name] if v != value][:3]])


def _list(
    kind: Kind, request: Request, heeded: set[Constraint], rng: random.Random, base: Draft | None, flaw: str
) -> Draft:
    topic = request.topic or rng.choice(list(kind.topics))
    written = rng.choice([t for t in kind.topics if t != topic]) if flaw == "stray" else topic
    wanted = request.get("count")
    number = int(wanted) if wanted else (len(base.lines) if base else rng.randint(3, 4))
    if wanted and Constraint("count", wanted) not in heeded:
        number = max(2, number + rng.choice([-1, -1, 1, 1, 2]))
    if flaw == "thin":
        number = 2
    chosen = _choose(kind, request, heeded, written, number, rng, base)
    if flaw == "repeat" and chosen:  # nothing may be left: all was avoided, or stood in the answer before
        chosen = [*chosen[:-1], chosen[0]] if number > 2 else [*chosen, chosen[0]]
    long = 1.0 if _goes_on(request, heeded) else rng.random()
    rows = tuple(
        (i.head, rng.choice(i.details) if i.details and rng.random() < 0.6 + 0.4 * long else "") for i in chosen
    )
    if base and Constraint("keep") in heeded:
        old = dict(base.lines)
        rows = tuple((h, old.get(h, d)) for h, d in rows)
    quals, says = "", []
    for name in kind.says:
        value = _value(request, name, heeded, kind, rng)
        if value and name in kind.quals and rng.random() < 0.5:
            quals += kind.quals[name].format(v=value)
        elif value:
            says.append(rng.choice(kind.says[name]).format(v=value))
    said = set(says)
    if not kind.mention_items:
        for wish in request.constraints:
            if wish.name == "mention" and wish in heeded:
                says.append(rng.choice(kind.mentions[wish.value]))
    counted = NUMBER_WORDS.get(len(rows), str(len(rows)))
    opening = rng.choice(kind.intros).format(n=counted, topic=written, q=quals)
    if opening.startswith(written):
        opening = opening[0].upper() + opening[1:]
    rng.shuffle(says)
    says.sort(key=lambda s: s not in said)
    closing = rng.choice(kind.closings) if (rng.random() < 0.6 or long == 1.0) and flaw != "thin" else ""
    return Draft(
        opening=opening,
        lines=rows,
        says=tuple(says),
        closing=closing,
        last=_last(kind, request, heeded, rng),
        joint=kind.joint,
    )


def _last(kind: Kind, request: Request, heeded: set[Constraint], rng: random.Random) -> str:
    if request.get("question") is not None:
        return rng.choice(kind.questions) if Constraint("question") in heeded else ""
    if request.get("tip") is not None:
        return rng.choice(kind.tips) if Constraint("tip") in heeded else ""
    return rng.choice(kind.questions) if rng.random() < 0.12 else ""


def _choose(
    kind: Kind,
    request: Request,
    heeded: set[Constraint],
    topic: str,
    number: int,
    rng: random.Random,
    base: Draft | None,
) -> list[Item]:
    """The items of a list: allowed ones, those that a mention needs, and what a follow-up keeps."""
    pool = list(kind.topics[topic].items)
    avoid = Constraint("avoid", request.get("avoid") or "")
    pool = [i for i in pool if not avoid.value or met(avoid, f"{i.head} {' '.join(i.details)}")]
    rng.shuffle(pool)
    chosen: list[Item] = []
    swap = request.get("swap")
    known = {
        i.head: i for i in (*kind.topics[topic].items, *[m for v in kind.mentions for m in _mention_items(kind, v)])
    }
    if base and Constraint("keep") in heeded:
        chosen = [known.get(h, Item(h, (d,) if d else ())) for h, d in base.lines]
        if avoid in heeded:
            chosen = [i for i in chosen if met(avoid, f"{i.head} {' '.join(i.details)}")]
    elif base and swap and Constraint("swap", swap) not in heeded:
        chosen = [known.get(h, Item(h, (d,) if d else ())) for h, d in base.lines]
    old = {head_words(h) for h, _ in base.lines} if base else set()
    taken = {head_words(i.head) for i in chosen}
    fresh = [i for i in pool if head_words(i.head) not in old | taken]
    if swap and Constraint("swap", swap) in heeded and fresh and int(swap) <= len(chosen):
        chosen[int(swap) - 1] = fresh.pop()
    needed = []
    if kind.mention_items:
        for wish in request.constraints:
            if wish.name == "mention" and wish in heeded and not any(met(wish, i.head + " with it") for i in chosen):
                needed.append(rng.choice(_mention_items(kind, wish.value)))
    if avoid.value and avoid not in heeded and rng.random() < 0.75:
        wrong = [i for i in kind.topics[topic].items if not met(avoid, i.head)]
        needed += rng.sample(wrong, min(1, len(wrong)))
    needed = [i for i in needed if head_words(i.head) not in {head_words(c.head) for c in chosen}]
    room = max(0, number - len(needed))
    while len(chosen) < room and fresh:
        chosen.append(fresh.pop())
    chosen = chosen[:room]
    for item in needed:
        chosen.insert(rng.randint(0, len(chosen)) if not base else len(chosen), item)
    while len(chosen) < number and fresh:
        chosen.append(fresh.pop())
    if kind.ordered and not base:
        order = {i.head: place for place, i in enumerate(kind.topics[topic].items)}
        chosen.sort(key=lambda i: order.get(i.head, len(order) // 2))
    return chosen


def _mention_items(kind: Kind, value: str) -> tuple[Item, ...]:
    return items("\n".join(kind.mentions[value])) if kind.mention_items else ()


def _prose(
    kind: Kind, request: Request, heeded: set[Constraint], rng: random.Random, base: Draft | None, flaw: str
) -> Draft:
    topic = request.topic or rng.choice(list(kind.topics))
    written = rng.choice([t for t in kind.topics if t != topic]) if flaw == "stray" else topic
    pool = kind.topics[written].sentences
    if base and Constraint("keep") in heeded:
        body = [s for s in base.body if s in pool] or [pool[0]]
    else:
        least = len(pool) - 1 if _goes_on(request, heeded) else 4 if kind.name == "story" else 2
        picked = sorted(rng.sample(range(1, len(pool)), 1 if flaw == "thin" else rng.randint(least, len(pool) - 1)))
        body = [pool[0], *[pool[i] for i in picked]]
    if flaw == "repeat":
        body += body[-2:] + body[-1:]
    extra = []
    for name in kind.says:
        value = _value(request, name, heeded, kind, rng)
        if value:
            extra.append((name, rng.choice(kind.says[name]).format(v=value)))
    for wish in request.constraints:
        if wish.name == "mention" and wish in heeded:
            extra.append((wish.name, rng.choice(kind.mentions[wish.value])))
    for name, sentence in extra:
        place = 1 if name in ("place", "name", "day", "time") else rng.randint(1, len(body))
        body.insert(place, sentence)
    closing = rng.choice(kind.closings) if rng.random() < 0.7 and flaw != "thin" else ""
    last = _last(kind, request, heeded, rng)
    ending = _value(request, "ending", heeded, kind, rng)
    if ending:
        body.append(rng.choice(ENDINGS[ending]))
        closing = ""
    if kind.name == "story":
        return Draft(body=tuple(body), closing=closing, last=last)
    opening, signature = _frame(kind, request, heeded, rng)
    if (
        request.get("tone") == "friendly"
        and Constraint("tone", "friendly") in heeded
        and closing
        and rng.random() < 0.5
    ):
        closing = closing.rstrip(".") + "!"
    return Draft(opening=opening, body=tuple(body), closing=closing, last=last, signature=signature)


def _frame(kind: Kind, request: Request, heeded: set[Constraint], rng: random.Random) -> tuple[str, str]:
    """The greeting and the signature."""
    wanted = request.get("tone")
    if wanted is None:
        tone = rng.choice([None, "formal", "friendly"])
    elif Constraint("tone", wanted) in heeded:
        tone = wanted
    else:
        tone = rng.choice([None, "friendly" if wanted == "formal" else "formal"])
    to = _value(request, "to", heeded, kind, rng) or _NOBODY[kind.name]
    opening = rng.choice(_OPENINGS[tone]).format(v=to)
    opening = opening[0].upper() + opening[1:]
    sign = _value(request, "sign", heeded, kind, rng)
    return opening, f"{rng.choice(_SIGNS[tone])}\n{sign}" if sign else rng.choice(_UNSIGNED[tone])


def _shorten(draft: Draft, wish: Constraint, previous: str | None, request: Request) -> Draft:
    """Leave out details, then the closing, then sentences that nothing asks for, until the wish is met."""
    pool = set(KINDS[request.kind].topics[request.topic].sentences) if request.topic else set()
    steps = 0
    while not met(wish, draft.text(), previous) and steps < 12:
        steps += 1
        detailed = [i for i, (_, d) in enumerate(draft.lines) if d]
        spare = [i for i, s in enumerate(draft.body) if s in pool and i > 0]
        if draft.closing:
            draft = replace(draft, closing="")
        elif detailed:
            rows = list(draft.lines)
            rows[detailed[-1]] = (rows[detailed[-1]][0], "")
            draft = replace(draft, lines=tuple(rows))
        elif len(spare) > 1:
            draft = replace(draft, body=tuple(s for i, s in enumerate(draft.body) if i != spare[-1]))
        elif wish.name == "shorter" and draft.last and request.get("tip") is None and request.get("question") is None:
            draft = replace(draft, last="")
        else:
            break
    return draft


def length(text: str) -> int:
    """Words in a response."""
    return len(words_of(text))
