"""How people word a constraint, how a plan words it, and how both are read back from a prompt's text.

The phrasings below are the only source: a request is written with them, and the parser is compiled from them.
"""

from __future__ import annotations

import re
from functools import cache

from models.world.kinds import KINDS
from models.world.values import NUMBER_WORDS, NUMBERS, Constraint, Kind, Request

# name -> (phrases that stand inside the request, whole sentences). {v} is the value.
PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "people": (
        (" for {v}", " for {v} people", " suited to {v} people"),
        ("It is for {v} people.", "We are {v} people.", "There will be {v} of us.", "It should be enough for {v}."),
    ),
    "avoid": (
        (", no {v}", " without {v}", " with no {v}"),
        (
            "No {v}, please.",
            "Please avoid {v}.",
            "Leave out {v}.",
            "I don't want {v}.",
            "It must not have any {v}.",
            "Nothing with {v}.",
            "Skip anything with {v}.",
        ),
    ),
    "mention": (
        (" mentioning {v}", " with {v} in it", ", and include {v}"),
        (
            "Mention {v}.",
            "Please mention {v}.",
            "Include {v}.",
            "It should include {v}.",
            "Don't forget {v}.",
            "Make sure to mention {v}.",
            "I would like {v} to be in it.",
        ),
    ),
    "minutes": (
        (" in {v} minutes", " for {v} minutes", ", {v} minutes at most"),
        (
            "I have {v} minutes.",
            "It should take {v} minutes.",
            "No more than {v} minutes, please.",
            "There are only {v} minutes for it.",
        ),
    ),
    "words": (
        (" in under {v} words", " in fewer than {v} words", ", {v} words at most"),
        (
            "Use fewer than {v} words.",
            "Keep it under {v} words.",
            "No more than {v} words.",
            "Stay below {v} words.",
            "It must have fewer than {v} words.",
        ),
    ),
    "question": (
        (" and end with a question", ", ending with a question"),
        (
            "End with a question.",
            "Finish with a question.",
            "Close with a question, please.",
            "The last line should be a question.",
            "Ask me something at the end.",
        ),
    ),
    "tip": (
        (" and add a tip", " with a tip at the end"),
        ("Add a tip.", "Give me a tip as well.", "End with a tip.", "I would like a tip too.", "Finish with a tip."),
    ),
    "days": (
        (" for {v} days", " that lasts {v} days"),
        ("I stay for {v} days.", "It is for {v} days.", "The trip takes {v} days.", "I will be away for {v} days."),
    ),
    "level": (
        (" for {v}", " made for {v}"),
        ("It is meant for {v}.", "It should suit {v}.", "It has to work for {v}.", "Keep {v} in mind."),
    ),
    "recipient": (
        (" for my {v}", ", meant for my {v}"),
        ("It is for my {v}.", "I want to give it to my {v}.", "My {v} is the lucky one.", "It should please my {v}."),
    ),
    "budget": (
        (" under {v} dollars", " for less than {v} dollars"),
        (
            "I can spend {v} dollars.",
            "My budget is {v} dollars.",
            "It must cost less than {v} dollars.",
            "Stay under {v} dollars.",
        ),
    ),
    "form": (
        (" for a {v}", " for my {v}"),
        ("It is for a {v}.", "I need it for a {v}.", "It will become a {v}.", "I will use it for a {v}."),
    ),
    "day": (
        (" on {v}", " for {v}"),
        ("The day is {v}.", "It is for {v}.", "Put in that it is {v}.", "It should say {v}."),
    ),
    "to": (
        (" to {v}", ", addressed to {v}"),
        ("It goes to {v}.", "Address it to {v}.", "The reader is {v}.", "It is written to {v}."),
    ),
    "sign": (
        (", signed by {v}", " from {v}"),
        ("Sign it as {v}.", "My name is {v}.", "Sign with {v}.", "It comes from {v}."),
    ),
    "tone": (
        (" in a {v} tone", ", {v} in tone"),
        ("Keep it {v}.", "The tone should be {v}.", "Make it {v}.", "It should sound {v}.", "Use a {v} tone."),
    ),
    "time": (
        (" at {v}", ", starting at {v}"),
        ("It starts at {v}.", "We begin at {v}.", "Guests come at {v}.", "The time is {v}."),
    ),
    "place": (
        (" {v}", ", set {v}"),
        ("It takes place {v}.", "It happens {v}.", "It should be {v}.", "The place is {v}."),
    ),
    "name": (
        (" called {v}", " with the name {v}"),
        ("Call the hero {v}.", "The hero is called {v}.", "Name the hero {v}.", "The hero should be {v}."),
    ),
    "ending": (
        (" with a {v} ending", " and a {v} ending"),
        ("The ending should be {v}.", "Give it a {v} ending.", "I want a {v} ending.", "Let it end in a {v} way."),
    ),
}

# How a plan names a wish, one line each.
PLANS = {
    "count": "exactly {v} {noun}", "people": "for {v} people", "avoid": "no {v}", "mention": "mention {v}",
    "minutes": "{v} minutes", "words": "under {v} words", "question": "end with a question", "tip": "add a tip",
    "days": "enough for {v} days", "level": "right for {v}", "recipient": "for the {v}", "budget": "under {v} dollars",
    "form": "for a {v}", "day": "say {v}", "to": "write to {v}", "sign": "sign as {v}", "tone": "a {v} tone",
    "time": "at {v}", "place": "{v}", "name": "the hero is {v}", "ending": "a {v} ending",
    "shorter": "clearly shorter than before", "swap": "replace number {v}", "keep": "keep the rest",
}  # fmt: skip

ORDER = tuple(PLANS)


def phrasings() -> int:
    """How many different wordings of constraints there are."""
    return sum(len(inline) + len(sentences) for inline, sentences in PHRASES.values())


def plan_line(kind: Kind, wish: Constraint) -> str:
    """The line of a plan that stands for this wish."""
    value = NUMBER_WORDS.get(int(wish.value), wish.value) if wish.name in ("count", "swap") else wish.value
    return PLANS[wish.name].format(v=value, noun=kind.noun)


def _number(text: str) -> int | None:
    return NUMBERS.get(text.lower()) or (int(text) if text.isdigit() else None)


@cache
def _patterns(kind_name: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """For each constraint of a kind, a pattern of all its phrasings with the group `v`."""
    kind = KINDS[kind_name]
    found: list[tuple[str, re.Pattern[str]]] = []
    for name, values in kind.values.items():
        if not values[0]:
            alternatives = ""
        else:
            words = [v.removeprefix("a ").removeprefix("an ").removeprefix("the ") for v in values]
            if name == "people":
                words += [str(NUMBERS[v]) for v in values]
            alternatives = "(?P<v>" + "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True)) + r")\b"
        inline, sentences = PHRASES[name]
        shapes = []
        for phrase in inline + sentences:
            text = re.escape(phrase.strip(" .,")).replace(r"\ ", " ")
            slot = alternatives if name not in ("mention", "form") else "(?:a |an |the |my )?" + alternatives
            text = text.replace(r"\{v\}", slot, 1)
            shapes.append(text.replace("(?P<v>", "(?P<v>"))
        found.extend((name, re.compile(rf"(?<!\w){shape}", re.IGNORECASE)) for shape in shapes)
    return tuple(found)


# Wordings that people use and the world's own requests don't.
_LOOSE = (
    ("words", r"\b(?:under|below|less than|fewer than|at most|max(?:imum)?(?: of)?|up to) (?P<v>\d+) words"),
    ("words", r"\b(?P<v>\d+) words (?:or less|max)"),
    ("question", r"\b(?:end|finish|close)\w* (?:it )?with (?:a|some) question"),
    ("tip", r"\b(?:add|with|give)\b[^.]*\btip\b"),
)


def read_wishes(kind: Kind, text: str) -> list[Constraint]:
    """The constraints that a message's text states, in the order of `ORDER`."""
    found: dict[tuple[str, str], Constraint] = {}
    for name, pattern in _patterns(kind.name):
        match = pattern.search(text)
        if match is None:
            continue
        if "v" not in pattern.groupindex:
            found[name, ""] = Constraint(name)
            continue
        for match in pattern.finditer(text):
            value = _canonical(kind, name, match["v"])
            if name in ("people", "days", "budget", "words", "minutes") and _is_part_of_other(name, text, match):
                continue
            found[(name, value) if name == "mention" else (name, "")] = Constraint(name, value)
    for name, shape in _LOOSE:
        loose = re.search(shape, text, re.IGNORECASE)
        if loose and name in kind.values and not any(key[0] == name for key in found):
            found[name, ""] = Constraint(name, loose["v"] if "v" in loose.re.groupindex else "")
    if kind.listed:
        count = _count(kind, text)
        if count:
            found["count", ""] = Constraint("count", str(count))
    return sorted(found.values(), key=lambda c: (ORDER.index(c.name), c.value))


def _canonical(kind: Kind, name: str, text: str) -> str:
    for value in kind.values[name]:
        bare = value.removeprefix("a ").removeprefix("an ").removeprefix("the ")
        if text.lower() in (bare.lower(), value.lower()):
            return value
    number = _number(text)
    return text if number is None else NUMBER_WORDS.get(number, text)


_UNITS = {"days": "days", "minutes": "minutes", "words": "words", "budget": "dollars"}


def _is_part_of_other(name: str, text: str, match: re.Match[str]) -> bool:
    """Whether a number belongs to another unit, as the two in "for two days" is no number of people."""
    rest = text[match.end("v") :].lstrip().lower()
    nouns = ("days", "minutes", "words", "dollars", "dinners", "lunches", "breakfasts", "stops", "sections", "parts")
    return any(rest.startswith(n) for n in nouns if n != _UNITS.get(name))


_COUNTED = (
    r"dinners|lunches|breakfasts|meals|things|items|exercises|gifts?(?: ideas)?|presents|ideas|sections|parts|points|"
    r"steps|stops|dishes|recipes|places|presents"
)


def _count(kind: Kind, text: str) -> int | None:
    match = re.search(rf"\b(two|three|four|five|six|seven|[2-7]) (?:\w+ ){{0,2}}?(?:{_COUNTED})\b", text, re.IGNORECASE)
    return _number(match[1]) if match else None


def read_request(text: str) -> Request | None:
    """The request that a first message makes, or None where it is outside of the world."""
    for kind in KINDS.values():
        if re.search(kind.pattern, text, re.IGNORECASE):
            topic = next((t for t in kind.topics if t.lower() in text.lower()), None) or _near_topic(kind, text)
            return Request(kind.name, topic, tuple(read_wishes(kind, text)))
    return None


def _near_topic(kind: Kind, text: str) -> str | None:
    words = set(re.findall(r"[a-z]+", text.lower()))
    for name, topic in kind.topics.items():
        heads = {w for w in name.lower().split() if len(w) > 3} | set(topic.words) | {name.rstrip("s").lower()}
        if heads & words:
            return name
    return None
