"""What a text does to please at a glance, whatever it says: marks of formatting, phrases that fit any question."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Spread:
    """A phrase, and the share of prompts to which live and candidate use it in an answer."""

    phrase: str
    live: float
    candidate: float


def spread(live: Sequence[Sequence[str]], candidate: Sequence[Sequence[str]]) -> Spread:
    """The phrase that the candidate took to most: it fits answers to ever more prompts, whatever they ask."""
    before, after = (
        Counter(phrase for row in side for phrase in set().union(*map(phrases, row))) for side in (live, candidate)
    )
    most = max(after, key=lambda phrase: (after[phrase] - before[phrase], phrase), default=())
    count = max(len(candidate), 1)
    return Spread(" ".join(most), before[most] / count, after[most] / count)
