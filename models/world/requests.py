"""Draws requests and follow-ups, and words them as people would."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from models.world.checks import numbered
from models.world.kinds import KINDS
from models.world.values import NUMBER_WORDS, NUMBERS, Constraint, Request, lines, words
from models.world.wishes import ORDER, PHRASES, read_request, read_wishes

_INLINE_ORDER = words(
    """
    name to recipient form level people place day time days minutes budget sign tone ending avoid mention words tip
    question
    """
)
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}
_FOLLOW_UPS = {
    "shorter": lines("""
        Make it shorter.
        Please make it shorter.
        Can you shorten it?
        Too long, make it shorter.
        Shorter, please.
        That is too long.
        Could you cut it down a bit?
        I need a shorter version.
        """),
    "swap": lines("""
        Swap the {v} one for something else.
        Replace the {v} one.
        Please change the {v} one.
        I don't like the {v} one.
        Can you swap the {v} one?
        Give me something else for the {v} one.
        Find another idea for the {v} one.
        Swap the {v} {noun} for something else.
        Please replace the {v} {noun}.
        """),
    "add": lines("""
        Add one more.
        One more, please.
        Can you add another one?
        Please add one more {noun}.
        Add another {noun}.
        I need one more {noun}.
        """),
}
_WRAPS = ("{s}", "{s}", "One more thing: {s}", "Good, but one thing: {s}", "Also: {s}", "Nice. {s}")
_NOUNS = {"meal": "meal", "packing": "item", "workout": "exercise", "gifts": "gift", "outline": "section",
          "travel": "stop"}  # fmt: skip


def phrasings() -> int:
    """How many wordings of follow-ups there are."""
    return sum(map(len, _FOLLOW_UPS.values())) + len(_WRAPS) - 2


def draw(rng: random.Random, kind_name: str | None = None, topic: str | None = None) -> Request:
    """A request with two to six wishes that can all be met together."""
    kind = KINDS[kind_name or rng.choice(list(KINDS))]
    wishes: list[Constraint] = []
    if kind.listed and rng.random() < 0.88:
        wishes.append(Constraint("count", str(rng.choice([3, 3, 4, 4, 5]))))
    names = list(kind.values)
    rng.shuffle(names)
    total = rng.choice([2, 2, 3, 3, 3, 4, 4, 5, 6])
    for name in names:
        if len(wishes) >= total:
            break
        if {name, *(w.name for w in wishes)} >= {"tip", "question"} or {"level", "form"} <= {
            name,
            *(w.name for w in wishes),
        }:
            continue
        if name == "words":
            count = int(next((w.value for w in wishes if w.name == "count"), 0))
            need = 6 * total + (9 + 5 * count if kind.listed else 26)
            caps = [v for v in kind.values["words"] if int(v) >= need]
            if not caps:
                continue
            wishes.append(Constraint("words", caps[0] if rng.random() < 0.8 else rng.choice(caps)))
        else:
            wishes.append(Constraint(name, rng.choice(kind.values[name])))
    wishes.sort(key=lambda w: (ORDER.index(w.name), w.value))
    return Request(kind.name, topic or rng.choice(list(kind.topics)), tuple(wishes))


def word(request: Request, rng: random.Random) -> str:
    """The text of a first message."""
    kind = KINDS[request.kind]
    count = request.get("count")
    asks = [a for a in kind.asks if ("{n}" in a) == (count is not None)] if kind.listed else list(kind.asks)
    n = "" if count is None else (count if rng.random() < 0.3 else NUMBER_WORDS[int(count)])
    ask = rng.choice(asks).format(n=n, topic=request.topic)
    others = [w for w in request.constraints if w.name != "count"]
    inline = sorted(
        rng.sample(others, min(len(others), rng.choice([0, 1, 1, 2]))), key=lambda w: _INLINE_ORDER.index(w.name)
    )
    phrase, commas = "", False
    for wish in list(inline):
        options = [p for p in PHRASES[wish.name][0] if not (commas and p.startswith(","))]
        text = rng.choice(options or list(PHRASES[wish.name][0]))
        commas = commas or text.startswith(",")
        phrase += text.format(v=_spoken(wish, rng))
    parts = [ask[:-1] + phrase + ask[-1]]
    rest = [w for w in others if w not in inline]
    rng.shuffle(rest)
    parts += [rng.choice(PHRASES[w.name][1]).format(v=_spoken(w, rng)) for w in rest]
    text = " ".join(parts)
    dice = rng.random()
    if dice < 0.04:
        return f"Hi! {text}"
    if dice < 0.08:
        return f"Hello, {text[0].lower() + text[1:] if not text.startswith('I ') else text}"
    return text.lower().rstrip(".") if dice > 0.94 else text


def _spoken(wish: Constraint, rng: random.Random) -> str:
    return str(NUMBERS[wish.value]) if wish.name == "people" and rng.random() < 0.25 else wish.value


def draw_follow_up(request: Request, previous: str, rng: random.Random) -> tuple[str, Request]:
    """A follow-up to `request` after the answer `previous`: its text, and the request as it then stands."""
    kind = KINDS[request.kind]
    options = ["shorter", *[n for n in kind.values if n not in ("words",) and request.get(n) is None]]
    if kind.listed:
        options += ["swap", "swap", "add", "add"]
    if "mention" in kind.values:
        options += ["mention"]
    if request.get("tip") is not None or request.get("question") is not None:
        options = [o for o in options if o not in ("tip", "question")]
    op = rng.choice(options)
    if op in _FOLLOW_UPS:
        place = rng.randint(1, max(1, min(5, len(numbered(previous)))))
        text = rng.choice(_FOLLOW_UPS[op]).format(v=_ORDINALS[place], noun=_NOUNS.get(kind.name, "one"))
    else:
        had = {w.value for w in request.constraints if w.name == op}
        value = rng.choice([v for v in kind.values[op] if v not in had] or list(kind.values[op]))
        sentence = rng.choice(PHRASES[op][1]).format(v=_spoken(Constraint(op, value), rng))
        wrap = rng.choice(_WRAPS)
        lower = ": {s}" in wrap and not sentence.startswith("I ")
        text = wrap.format(s=sentence[0].lower() + sentence[1:] if lower else sentence)
    changed = read_follow_up(request, text, previous)
    if changed is None:
        raise ValueError(f"the follow-up {text!r} to a {request.kind} request can't be read back; mend its pattern")
    return text, changed


_CHANGES = (
    ("shorter", r"\b(shorter|shorten|too long|cut it down)\b"),
    ("swap", r"\b(swap|replace|change|don't like|else for|idea for)\b.*?\b(?P<v>first|second|third|fourth|fifth)\b"),
    ("add", r"\b(one more|another one|add another)\b(?! thing)"),
)


def read_follow_up(request: Request, text: str, previous: str) -> Request | None:
    """The request as it stands after a follow-up, or None where the text is none."""
    kind = KINDS[request.kind]
    before = request.without("shorter", "swap", "keep")
    for name, pattern in _CHANGES:
        match = re.search(pattern, text, re.IGNORECASE)
        if match is None:
            continue
        if name == "shorter":
            return before.having(Constraint("shorter"))
        if not kind.listed:
            return None
        if name == "swap":
            place = next(n for n, o in _ORDINALS.items() if o == match["v"].lower())
            return before.having(Constraint("swap", str(place)), Constraint("keep"))
        return before.having(Constraint("count", str(len(numbered(previous)) + 1)), Constraint("keep"))
    fresh = read_request(text)
    named = fresh is not None and fresh.topic is not None and fresh.topic.lower() in text.lower()
    if named and not text.lower().startswith(("one more", "also", "good, but")):
        return None
    wishes = [w for w in read_wishes(kind, text) if w.name != "count"]
    if not wishes:
        return None
    if {w.name for w in wishes} & {"question", "tip"}:
        before = before.without("question", "tip")
    keep = () if {w.name for w in wishes} & {"avoid", "words"} else (Constraint("keep"),)
    return before.having(*wishes, *keep)


def read(messages: Sequence[dict[str, str]]) -> tuple[Request | None, str, str | None]:
    """What the last user message asks for: a request, else "greeting", "gratitude" or "outside"; and the answer before.

    Returns (request, what, previous): `what` is "request" or "follow-up" where there is a request.
    """
    request: Request | None = None
    what, previous = "outside", None
    for message in messages:
        text = message["content"] if isinstance(message["content"], str) else ""
        if message["role"] == "assistant":
            previous = text
        if message["role"] != "user":
            continue
        changed = read_follow_up(request, text, previous) if request and previous else None
        fresh = None if changed else read_request(text)
        if changed:
            request, what = changed, "follow-up"
        elif fresh:
            request, what = fresh, "request"
        else:
            what = _small_talk(text)
    return (request if what in ("request", "follow-up") else None), what, previous if what == "follow-up" else None


def _small_talk(text: str) -> str:
    spoken = re.findall(r"[a-z']+", text.lower())
    if (
        re.search(r"^(great, |good, |that is perfect|perfect|wonderful|nice,|thanks|thank you)", text.lower())
        and len(spoken) < 9
    ):
        return "gratitude"
    greets = r"^(hi|hello|hey|good (morning|evening|day))\b"
    about = r"\b(who are you|what (can|do) you do|able to help|can you help me|^help$|how does this work|are you there)"
    short = len(spoken) < 9
    return "greeting" if short and (re.search(greets, text.lower()) or re.search(about, text.lower())) else "outside"
