"""Whether a response meets a constraint: by its words alone, without knowing how it was written."""

from __future__ import annotations

import re
from collections.abc import Callable

from models.world.kinds import ENDINGS, KINDS
from models.world.values import NUMBERS, Constraint

FORBIDDEN = {
    "nuts": "nut nuts almond almonds walnut walnuts peanut peanuts cashew cashews",
    "meat": "meat chicken beef ham bacon sausage turkey pork",
    "fish": "fish salmon tuna cod shrimp",
    "cheese": "cheese feta cheddar parmesan",
    "eggs": "egg eggs omelette",
    "electronics": "charger phone camera headphones laptop tablet cable headlamp torch",
    "liquids": "shampoo sunscreen lotion balm",
    "books": "book books novel guidebook bookshop",
    "jumping": "jump jumps jumping burpees",
    "running": "run running jog jogging",
    "equipment": "dumbbell dumbbells band bands kettlebell weights weight",
    "food": "chocolate chocolates honey spices cookies tea cake oats",
    "clothes": "scarf gloves apron socks shirt",
    "gadgets": "lamp light timer speaker headphones tracker meter",
    "museums": "museum museums gallery",
    "shopping": "shopping shop shops boutique",
    "churches": "church churches cathedral chapel",
}
_ENDING_WORDS = {
    "happy": "happy happily laughed danced smiled joy",
    "sad": "sad tears lonely goodbye",
    "surprising": "surprise dream expected suddenly",
}
_FORMAL = r"^Dear |Kind regards|Sincerely|Respectfully|With great respect"
_FRIENDLY = r"^(?:Hi|Hey|Hello)\b|Cheers|Big hugs|See you soon|All the best"


def words_of(text: str) -> list[str]:
    """Lower-case words of a text; list numbers are none."""
    return re.findall(r"[a-z0-9']+", re.sub(r"^\d+\. ", "", text, flags=re.MULTILINE).lower())


def numbered(response: str) -> list[str]:
    """The bodies of the numbered lines."""
    return re.findall(r"^\d+\.\s+(.*\S)", response, flags=re.MULTILINE)


def sentences(response: str) -> list[str]:
    """Sentences and lines of a response."""
    return [s for s in re.split(r"(?<=[.!?])\s+|\n+", response) if s.strip()]


def head_words(item: str) -> frozenset[str]:
    """The words that identify a list item: those before its first comma, colon or relative clause."""
    return frozenset(w for w in words_of(re.split(r"[,:.]| that | for ", item)[0]) if len(w) > 2)


def _bare(item: str) -> str:
    return item.rstrip(".")


def _has(response: str, pattern: str) -> bool:
    return re.search(pattern, response, re.IGNORECASE | re.MULTILINE) is not None


def _count(response: str, value: str, previous: str | None) -> bool:
    bodies = numbered(response)
    heads = {head_words(b) for b in bodies}
    return len(bodies) == int(value) and len(heads) == len(bodies) and all(len(words_of(b)) >= 1 for b in bodies)


def _avoid(response: str, value: str, previous: str | None) -> bool:
    text = re.sub(rf"\b(?:no|without|free of) {value}\b", "", response.lower())
    return not set(words_of(text)) & set(FORBIDDEN[value].split())


def _mention(response: str, value: str, previous: str | None) -> bool:
    """The word stands in a line that says something, and is not thrown in again and again."""
    bare = re.sub(r"^(?:a|an|the) ", "", value)
    hits = [s for s in sentences(response) if _has(s, rf"\b{re.escape(bare)}\b")]
    return 0 < len(hits) <= 4 and any(
        len(words_of(s)) >= 2 or s.rstrip(".") in map(_bare, numbered(response)) for s in hits
    )


def _people(response: str, value: str, previous: str | None) -> bool:
    digit = NUMBERS.get(value, 0)
    return _has(response, rf"\b(?:for|makes enough for) (?:{value}|{digit})\b(?! days| minutes)|\b{value} people\b")


def _question(response: str, value: str, previous: str | None) -> bool:
    """Ends with a question of at least three words; a signature may follow it."""
    body = re.sub(r"\n[A-Z][a-z ]{2,28}(?:\.|,\n\w+)$", "", response.strip())
    found = sentences(body)
    return bool(found) and found[-1].rstrip().endswith("?") and len(words_of(found[-1])) > 2


def _tip(response: str, value: str, previous: str | None) -> bool:
    found = re.findall(r"^Tip: (.+)$", response, flags=re.MULTILINE)
    return len(found) == 1 and len(words_of(found[0])) >= 4


def _tone(response: str, value: str, previous: str | None) -> bool:
    formal, friendly = _has(response, _FORMAL), _has(response, _FRIENDLY) or "!" in response
    return (formal and not friendly) if value == "formal" else (friendly and not formal)


def _sign(response: str, value: str, previous: str | None) -> bool:
    return response.rstrip(" .!").endswith(value)


def _to(response: str, value: str, previous: str | None) -> bool:
    return _has(response.splitlines()[0] if response else "", rf"\b{re.escape(value)}\b")


def _ending(response: str, value: str, previous: str | None) -> bool:
    tail = " ".join(sentences(response)[-3:])
    found = {name for name, words in _ENDING_WORDS.items() if set(words_of(tail)) & set(words.split())}
    return found == {value}


def _shorter(response: str, value: str, previous: str | None) -> bool:
    return previous is None or 12 <= len(words_of(response)) <= 0.85 * len(words_of(previous))


def _keep(response: str, value: str, previous: str | None) -> bool:
    """Most of the previous answer's items, or of its sentences, are still there."""
    if previous is None:
        return True
    before = [head_words(b) for b in numbered(previous)] or [frozenset(words_of(s)) for s in sentences(previous)]
    now = [head_words(b) for b in numbered(response)] or [frozenset(words_of(s)) for s in sentences(response)]
    return sum(b in now for b in before) >= (0.6 if numbered(previous) else 0.3) * len(before)


def _swap(response: str, value: str, previous: str | None) -> bool:
    before, now = numbered(previous or ""), numbered(response)
    place = int(value) - 1
    if place >= len(before) or place >= len(now):
        return False
    rest = [head_words(b) for i, b in enumerate(now) if i != place]
    return head_words(now[place]) not in [head_words(b) for b in before] and head_words(now[place]) not in rest


def _says(unit: str) -> Callable[[str, str, str | None], bool]:
    return lambda response, value, previous: _has(response, unit.format(v=re.escape(value)))


CHECKS: dict[str, Callable[[str, str, str | None], bool]] = {
    "count": _count,
    "avoid": _avoid,
    "mention": _mention,
    "people": _people,
    "question": _question,
    "tip": _tip,
    "tone": _tone,
    "sign": _sign,
    "to": _to,
    "ending": _ending,
    "shorter": _shorter,
    "keep": _keep,
    "swap": _swap,
    "words": lambda response, value, previous: 0 < len(words_of(response)) <= int(value),
    "minutes": _says(r"\b{v} minutes\b"),
    "days": _says(r"\b{v} days\b"),
    "level": _says(r"\b{v}\b"),
    "recipient": _says(r"\b{v}\b"),
    "budget": _says(r"\b{v} dollars\b"),
    "form": _says(r"\b{v}\b"),
    "day": _says(r"\b{v}\b"),
    "time": _says(r"\b{v}\b"),
    "place": _says(r"\b{v}\b"),
    "name": _says(r"\b{v}\b"),
}


def met(wish: Constraint, response: str, previous: str | None = None) -> bool:
    """Whether `response` meets the wish; `previous` is the answer that a follow-up refers to."""
    return CHECKS[wish.name](response, wish.value, previous)


assert set(FORBIDDEN) >= {v for k in KINDS.values() for v in k.values.get("avoid", ())}
assert set(_ENDING_WORDS) == set(ENDINGS)
