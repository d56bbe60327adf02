"""What counts for and against a checkpoint in live traffic: outcomes from 0 (good) to 1 (bad), one a conversation.

Answers of one conversation are not independent of each other, so only its first one counts. Decides nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from db.queries.arms import Answered
from db.values import LIMITS, STOPS
from thinking.splitter import Ending

SETTLED = timedelta(minutes=10)
"""Whoever wants another answer to a prompt asks for it by then."""
AT_ONCE = timedelta(seconds=2)
"""Requests that are sent together begin within it of each other, however short their answers; nobody reads as fast."""
CUT = (Ending.TRUNCATED_THOUGHT, Ending.TRUNCATED_RESPONSE)
DEATH = timedelta(seconds=10)
"""What an engine's death breaks off ends within it; no engine is back so soon."""


def firsts(answers: Iterable[Answered]) -> list[Answered]:
    """The first answer of each conversation; one of which no words were kept stands for itself. As they ended."""
    seen: set[str] = set()
    found = []
    for one in answers:
        if one.conversation is None or one.conversation not in seen:
            found.append(one)
        if one.conversation is not None:
            seen.add(one.conversation)
    return sorted(found, key=lambda one: one.ended_at)


def telling(answers: Sequence[Answered]) -> list[Answered]:
    """Those whose errors speak of weights: what an engine's death broke off speaks of the engine.

    It counts once a death, whatever number of answers were being written, and only where every engine that answered as
    this checkpoint has died so: then it may be what kills them. Give them as they ended.
    """
    served: dict[int, set[str]] = defaultdict(set)
    died: dict[int, set[str]] = defaultdict(set)
    for one in answers:
        served[one.checkpoint_id].add(one.engine)
        if one.lost:
            died[one.checkpoint_id].add(one.engine)
    last: dict[tuple[int, str], datetime] = {}
    found = []
    for one in answers:
        if one.lost:
            place = one.checkpoint_id, one.engine
            again = place in last and one.ended_at - last[place] <= DEATH
            if again or served[one.checkpoint_id] != died[one.checkpoint_id]:
                continue
            last[place] = one.ended_at
        found.append(one)
    return found


def failed(one: Answered) -> float:
    return float(one.ending == "error")


def malformed(one: Answered) -> float:
    """Broken form, or no end within what the engine allows; an end that the request itself set is none of ours."""
    own = STOPS if one.ending == Ending.MALFORMED else LIMITS  # a stop word in a thought leaves no response
    return float(one.ending in (Ending.MALFORMED, *CUT) and not own & one.sampling.keys())


def seconds(one: Answered) -> float:
    """What its reader waited for its end."""
    return (one.ended_at - one.started_at).total_seconds()


def regenerated(of: Sequence[Answered], answers: Iterable[Answered], now: datetime) -> list[tuple[Answered, float]]:
    """Whether another answer to the same prompt was asked for, of either arm, for those of `of` that are settled.

    Whoever tries again has seen the first answer end. What was asked for while it was being written is no second try:
    the choices of one request, or two samples to compare, which are two requests at once.
    """
    asked: dict[str | None, list[datetime]] = defaultdict(list)
    for one in answers:
        asked[one.prompt].append(one.started_at)
    found = []
    for one in of:
        if one.prompt is None or one.ended_at + SETTLED > now:
            continue
        seen = max(one.ended_at, one.started_at + AT_ONCE)
        found.append((one, float(any(seen < at <= one.ended_at + SETTLED for at in asked[one.prompt]))))
    return found
