"""How people's answers come along just now, and whether that is slower than it was while nobody trained.

Looks at the times at which pieces came, which each stream keeps anyhow: at all of them while a trainer is at work, and
now and then at an answer's while none is, to learn what is usual. An answer on its way is not held up by it.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from server.pool import Pool

LOOK_SECONDS = 0.2  # between two looks at the streams
WINDOW_SECONDS = 5.0  # what is judged: the newest gaps
FEWEST = 40  # gaps to judge by
LATE_SHARE = 0.05  # of the gaps: what is judged is their 95th percentile
ABSENT_SECONDS = 30.0  # a trainer that has asked for nothing for so long is not at work
LEARN_SECONDS = 1.0  # between two answers from which the usual gap is learnt
FALLS, RISES = 0.2, 0.02  # by which it goes to what was found: a trainer that is starting must not look usual


@dataclass(eq=False)
class _Stream:
    came: Sequence[float]
    seen: int = 1


class Pace:
    """Of the streams of this gateway. `slower`: seconds by which gaps may be longer than usual."""

    def __init__(self, pool: Pool, slower: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool, self._slower, self._clock = pool, slower, clock
        self._streams: set[_Stream] = set()
        self._looks: deque[tuple[float, int, int]] = deque()  # when, gaps, and of those too long
        self._ended = (0, 0)  # of answers that have ended since the last look
        self._trainer_at = -math.inf
        self._learn_at = -math.inf
        self.usual: float | None = None
        """95th percentile of the gaps between the pieces of an answer, in seconds, while nobody trains."""

    @contextmanager
    def following(self, came: Sequence[float]) -> Iterator[None]:
        """Count an answer whose pieces' times (of this clock) are appended to `came`, from its first piece on."""
        stream = _Stream(came)
        self._streams.add(stream)
        try:
            yield
        finally:
            self._streams.discard(stream)
            if self._trains:
                gaps, late = self._of(stream)
                self._ended = (self._ended[0] + gaps, self._ended[1] + late)
            else:
                self._learn(came)

    def trainer_asks(self) -> None:
        """A trainer is at work."""
        now = self._clock()
        if now - self._trainer_at > ABSENT_SECONDS:  # what came meanwhile was not its doing
            for stream in self._streams:
                stream.seen = max(1, len(stream.came))
            self.forget()
        self._trainer_at = now

    @property
    def chats(self) -> int:
        """Answers being written for people just now."""
        return self._pool.chats

    @property
    def pressed(self) -> bool:
        """Whether people need the machine: somebody waits for an answer to begin, or answers come slowly."""
        return self._pool.chats > 0 and (self._pool.chats > len(self._streams) or bool(self.slow))

    @property
    def slow(self) -> bool | None:
        """Whether the newest gaps are longer than usual by more than they may be; None: there are too few."""
        self._look()
        gaps = sum(look[1] for look in self._looks)
        return None if gaps < FEWEST else sum(look[2] for look in self._looks) > LATE_SHARE * gaps

    def forget(self) -> None:
        """Judge by what comes from now on."""
        self._look()
        self._looks.clear()

    @property
    def _trains(self) -> bool:
        return self._clock() - self._trainer_at <= ABSENT_SECONDS

    def _look(self) -> None:
        now = self._clock()
        if self._looks and now - self._looks[-1][0] < LOOK_SECONDS:
            return
        counts = [self._ended, *map(self._of, self._streams)]
        self._ended = (0, 0)
        self._looks.append((now, sum(gaps for gaps, _ in counts), sum(late for _, late in counts)))
        while self._looks[0][0] < now - WINDOW_SECONDS:
            self._looks.popleft()

    def _of(self, stream: _Stream) -> tuple[int, int]:
        """Gaps of a stream that were not looked at yet, and of those too long."""
        allowed = (self.usual or 0.0) + self._slower
        new = stream.came[stream.seen - 1 :]
        stream.seen += max(0, len(new) - 1)
        return max(0, len(new) - 1), sum(after - before > allowed for before, after in pairwise(new))

    def _learn(self, came: Sequence[float]) -> None:
        now, gaps = self._clock(), len(came) - 1
        if gaps < FEWEST or now < self._learn_at:
            return
        self._learn_at = now + LEARN_SECONDS
        found = sorted(after - before for before, after in pairwise(came))[int(gaps * (1 - LATE_SHARE))]
        if self.usual is None:
            self.usual = found
        else:
            self.usual += (FALLS if found < self.usual else RISES) * (found - self.usual)
