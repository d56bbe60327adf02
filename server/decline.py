"""Whether live is clearly worse in traffic than what it replaced: errors, malformed answers, slow answers. Pure.

Unlike a canary's, these two did not answer at the same time. So live must pass a bound: the previous checkpoint's share
(with one good and one bad answer added, as by Laplace's rule, so that a short past proves little) and a margin. The
evidence that it is above may be looked at after every answer, see `server.sequential`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from db.queries.arms import Answered
from server.outcomes import failed, firsts, malformed, seconds, telling
from server.sequential import above

MOST = 2000
"""Answers of each that are looked at: live's first, previous's last. Later on live is the past to compare with."""
TESTS = 3
PLENTY = 20  # answers of the previous one from which on it is known how long an answer takes
SLOW = 0.95  # the quantile of the previous one's times, and of its lengths


@dataclass(frozen=True)
class Bounds:
    """`level`: of false alarms per deployment; `margin`: shares may be so much higher; `slower`: times so often."""

    level: float
    margin: float
    slower: float


@dataclass(frozen=True)
class Decline:
    """`words`: why live should be taken back.

    `pace`: because answers take long that are no longer than the previous one's were, which a busy machine does to any
    checkpoint (`server.timing`).
    """

    words: str
    pace: bool = False


def decline(live: Sequence[Answered], previous: Sequence[Answered], bounds: Bounds) -> Decline | None:
    """Why live should be taken back; None: nothing shows that."""
    new, old = firsts(live), firsts(previous)
    tests = [("errors", [failed(one) for one in telling(new)], [failed(one) for one in telling(old)])]
    tests.append(("malformed answers", [malformed(one) for one in new], [malformed(one) for one in old]))
    slow: list[float] = []
    if len(old) >= PLENTY:
        limit = float(np.quantile([seconds(one) for one in old], SLOW)) * bounds.slower
        slow, before = ([float(seconds(one) > limit) for one in side] for side in (new, old))
        tests.append((f"answers that take more than {limit:.3g} s", slow, before))
    for name, ours, before in tests:
        bound = min((sum(before) + 1) / (len(before) + 2) + bounds.margin, 0.95)
        found = above(np.array(ours), bound)
        if found >= TESTS / bounds.level:
            share = sum(ours) / len(ours)
            words = (
                f"{name} went from {sum(before) / max(len(before), 1):.1%} of {len(before)} conversations to "
                f"{share:.1%} of {len(ours)} (above {bound:.1%}: p = {1 / found:.2g}, "
                f"needed {bounds.level / TESTS:.2g})"
            )
            return Decline(words, pace=ours is slow and not _longer(new, old, slow))
    return None


def _longer(live: Sequence[Answered], previous: Sequence[Answered], slow: Sequence[float]) -> bool:
    """Whether most of live's slow answers are longer than nearly all of the previous one's."""
    lengths = [one.tokens for one in previous if one.tokens]
    late = [one.tokens for one, is_slow in zip(live, slow, strict=True) if is_slow]
    if not lengths or not late:
        return False
    limit = float(np.quantile(lengths, SLOW))
    return sum(tokens > limit for tokens in late) > len(late) / 2
