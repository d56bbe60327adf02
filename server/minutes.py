"""Counts of this process for the `limits` library. Its own storage in memory starts a task for each count, and takes
five times as long."""

import time

from limits.aio.storage import Storage

TIDY_ABOVE = 1000  # counts kept before it is looked which of them are over


class Minutes(Storage):
    """How often each key was counted in its present window."""

    STORAGE_SCHEME = None  # is not asked for by a URL

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, tuple[int, float]] = {}
        """And until when each counts, of a clock that nobody sets: a window neither ends early nor lasts for hours."""
        self._tidy_above = TIDY_ABOVE

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        return ()  # nothing can fail

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = time.monotonic()
        count, until = self._counts.get(key, (0, 0.0))
        if until <= now:
            count, until = 0, now + expiry
            self._tidy(now)
        self._counts[key] = count + amount, until
        return count + amount

    async def get(self, key: str) -> int:
        count, until = self._counts.get(key, (0, 0.0))
        return count if until > time.monotonic() else 0

    async def get_expiry(self, key: str) -> float:
        now = time.monotonic()
        return time.time() + self._counts.get(key, (0, now))[1] - now

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        gone, self._counts = len(self._counts), {}
        return gone

    async def clear(self, key: str) -> None:
        self._counts.pop(key, None)

    def _tidy(self, now: float) -> None:
        if len(self._counts) > self._tidy_above:
            self._counts = {key: count for key, count in self._counts.items() if count[1] > now}
            self._tidy_above = max(TIDY_ABOVE, 2 * len(self._counts))
