"""What counts for and against a checkpoint in live traffic: outcomes from 0 (good) to 1 (bad), one a conversation.

Answers of one conversation are not independent of each other, so only its first one counts. Decides nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from db.queries.arms import Answered
from thinking.splitter import Ending

SETTLED = timedelta(minutes=10)
"""Whoever wants another answer to a prompt asks for it by then."""
OWN_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "thinking_token_budget"})
CUT = (Ending.TRUNCATED_THOUGHT, Ending.TRUNCATED_RESPONSE)


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


def failed(one: Answered) -> float:
    return float(one.ending == "error")


def malformed(one: Answered) -> float:
    """Broken form, or no end within what the engine allows; an end that the request itself set is none of ours."""
    return float(one.ending == Ending.MALFORMED or (one.ending in CUT and not OWN_LIMITS & one.sampling.keys()))


def seconds(one: Answered) -> float:
    """What its reader waited for its end."""
    return (one.ended_at - one.started_at).total_seconds()


def regenerated(of: Sequence[Answered], answers: Iterable[Answered], now: datetime) -> list[tuple[Answered, float]]:
    """Whether another answer to the same prompt was asked of the same checkpoint, for those of `of` that are settled.

    The choices of one request begin together and are no second try.
    """
    again: dict[tuple[str | None, int], list[datetime]] = {}
    for one in answers:
        again.setdefault((one.prompt, one.checkpoint_id), []).append(one.started_at)
    found = []
    for one in of:
        if one.prompt is None or one.ended_at + SETTLED > now:
            continue
        tries = again[one.prompt, one.checkpoint_id]
        found.append((one, float(any(one.started_at < at <= one.ended_at + SETTLED for at in tries))))
    return found
