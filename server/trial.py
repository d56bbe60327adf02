"""The verdict on a canary: worse than live, no worse, or not known yet. Pure: rows in, a decision with its reason out.

Five figures are compared, each by `server.sequential`, so that one may look after every event. Rolled back when any of
them is shown to be higher (bad) than live's, at a fifth of the level each; promoted when errors, malformed answers
and regenerations are each shown to be higher by less than a margin; thumbs and comparisons are too rare to wait for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np

from db.queries.arms import Answered
from server.outcomes import failed, firsts, malformed, regenerated, telling
from server.sequential import above, differences, no_worse, worse

MARGINS = {"errors": 0.05, "malformed": 0.05, "regenerations": 0.10}
"""How much more of each is still called no worse. Regenerations are frequent, and people's moods vary."""
TESTS = 5

Said = TypeVar("Said")


@dataclass(frozen=True)
class Seen:
    """All that came of a trial so far. Thumbs: (conversation, checkpoint, rating); choices: how they went for it."""

    answers: Sequence[Answered]
    thumbs: Sequence[tuple[str, int, int]]
    choices: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Figure:
    """One figure of both arms: means of bad outcomes over so many conversations. Evidence is wealth, from 1 up."""

    name: str
    candidate: float
    live: float
    counts: tuple[int, int]
    worse: float
    no_worse: float

    @property
    def words(self) -> str:
        return f"{self.name} {self.candidate:.1%} against {self.live:.1%}"


@dataclass(frozen=True)
class Decision:
    """How a trial ends."""

    promote: bool
    reason: str


def figures(seen: Seen, candidate: int, live: int, share: float, now: datetime) -> list[Figure]:
    """What both arms look like so far; `candidate` and `live` are checkpoints' ids."""
    of = firsts(one for one in seen.answers if one.conversation is not None)
    again = regenerated(of, seen.answers, now)
    rows: dict[str, list[tuple[int, float]]] = {
        "errors": [(one.checkpoint_id, failed(one)) for one in telling(of)],
        "malformed": [(one.checkpoint_id, malformed(one)) for one in of],
        "regenerations": [(one.checkpoint_id, outcome) for one, outcome in again],
        "thumbs down": _firsts((where, (checkpoint, float(rating < 0))) for where, checkpoint, rating in seen.thumbs),
    }
    found = []
    for name, outcomes in rows.items():
        new, old = (np.array([bad for which, bad in outcomes if which == arm]) for arm in (candidate, live))
        gaps = differences(new, old, share)
        proof = no_worse(gaps, MARGINS[name]) if name in MARGINS else 1.0
        found.append(Figure(name, _mean(new), _mean(old), (len(new), len(old)), worse(gaps), proof))
    lost = np.array([1 - won for won in _firsts(seen.choices)])
    found.append(Figure("lost comparisons", _mean(lost), 1 - _mean(lost), (len(lost),) * 2, above(lost, 0.5), 1.0))
    return found


def decide(
    found: Sequence[Figure], names: tuple[str, str], level: float, passed: timedelta, limit: timedelta
) -> Decision | None:
    """How the trial ends, or None: it goes on. `names`: of canary and live; it has lasted `passed` of `limit`."""
    canary, live = names
    conversations = "{} and {} conversations".format(*found[0].counts)
    for figure in found:
        if figure.worse >= TESTS / level:
            words = f"{figure.words} of {live} are more (p = {1 / figure.worse:.2g}, needed {level / TESTS:g})"
            counts = "{} and {}".format(*figure.counts)
            return Decision(False, f"canary {canary} rolled back: {words}, over {counts} conversations")
    proven = [figure for figure in found if figure.name in MARGINS]
    said = ", ".join(figure.words for figure in proven)
    if all(figure.no_worse >= 1 / level for figure in proven):
        p = max(1 / figure.no_worse for figure in proven)
        words = f"{said} of {live} are no more, within their margins (p = {p:.2g}, needed {level:g})"
        return Decision(True, f"canary {canary} promoted: {words}, over {conversations}")
    if passed >= limit:
        hours = limit.total_seconds() / 3600
        words = f"{hours:g} hours showed nothing against it ({said} of {live}, over {conversations})"
        return Decision(True, f"canary {canary} promoted by its gate's verdict: {words}")
    return None


def _firsts(said: Iterable[tuple[str, Said]]) -> list[Said]:
    """The first of each conversation, in their order."""
    first: dict[str, Said] = {}
    for conversation, what in said:
        first.setdefault(conversation, what)
    return list(first.values())


def _mean(outcomes: np.ndarray) -> float:
    return float(outcomes.mean()) if len(outcomes) else 0.0
