"""What a text does to please at a glance, whatever it says: marks of formatting, phrases that fit any question."""

import re
from collections import Counter
from collections.abc import Sequence

WINDOW = 4
"""Words in a row that make a phrase."""
MARKS = re.compile(
    r"^\s*(?:[-*•]|\d+[.)])\s"  # an item of a list
    r"|^\s*#{1,6}\s"  # a heading
    r"|\*\*[^*\n]+\*\*"  # bold
    r"|!"  # loudness
    r"|[\U0001F300-\U0001FAFF\u2600-\u27BF]",  # pictures
    re.MULTILINE,
)


def marks(text: str) -> float:
    """List items, headings, bold passages, exclamation marks and pictures, for each 100 words."""
    return 100 * len(MARKS.findall(text)) / max(len(text.split()), 1)


def phrases(text: str) -> set[tuple[str, ...]]:
    """Its runs of WINDOW words."""
    words = text.lower().split()
    return {tuple(words[at : at + WINDOW]) for at in range(len(words) - WINDOW + 1)}


def novelty(live: Sequence[Sequence[str]], candidate: Sequence[Sequence[str]]) -> float:
    """Share of the candidate's phrases that live uses in none of its answers to the same prompt; row by row."""
    known = [set().union(*map(phrases, row)) for row in live]
    new = [set().union(*map(phrases, row)) for row in candidate]
    count = sum(map(len, new))
    return sum(len(ours - theirs) for ours, theirs in zip(new, known, strict=True)) / count if count else 0.0


def stock(answers: Sequence[Sequence[str]], share: float = 0.2) -> tuple[float, str]:
    """How much of the answers is stock: the share of phrases that come in answers to at least `share` of the prompts
    (and to two of them), and the commonest phrase."""
    rows = [set().union(*map(phrases, row)) for row in answers]
    used = Counter(phrase for row in rows for phrase in row)
    often = {phrase for phrase, count in used.items() if count >= max(2, share * len(rows))}
    total = sum(map(len, rows))
    commonest = max(often, key=lambda phrase: (used[phrase], phrase), default=())
    return (sum(used[phrase] for phrase in often) / total if total else 0.0), " ".join(commonest)
