"""Who waits for room on an engine that is there: people in the order in which they came, the trainer behind them.

An engine is given so many requests at once at most, since what it gets beyond that only waits inside it, where nobody
is refused in time. Knows nothing of engines that are absent: `server.pool` waits for those.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

from server.engine import Engine
from server.errors import unavailable

LOOK_SECONDS = 1.0  # how soon those who wait notice that their engines are gone, or that other weights are to answer


@dataclass(eq=False)
class _Waiting:
    room: Callable[[], Engine | None]
    called: asyncio.Event = field(default_factory=asyncio.Event)


class Line:
    """`most` may wait, of people, for `seconds` each."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._people: deque[_Waiting] = deque()
        self._trainer: deque[_Waiting] = deque()

    def __len__(self) -> int:
        return len(self._people) + len(self._trainer)

    def goes_before(self, trainer: bool) -> bool:
        """Whether somebody waits who is to have room before a request that comes now."""
        return bool(self._people or (trainer and self._trainer))

    async def wait(self, room: Callable[[], Engine | None], there: Callable[[], bool], trainer: bool) -> Engine | None:
        """An engine with room, as `room` finds it; whoever gets it puts a request on it before anything else happens.
        None once `there` says that it is of no use to wait on. The trainer waits for as long as it takes.

        Raises ApiError 503 with Retry-After when too many wait, or it took too long.
        """
        if not trainer and len(self._people) >= self._most:
            raise unavailable(f"{len(self._people)} requests wait for room on an engine already", "overloaded")
        clock = asyncio.get_running_loop()
        until = float("inf") if trainer else clock.time() + self._seconds
        line, me = (self._trainer if trainer else self._people), _Waiting(room)
        line.append(me)
        try:
            self.call()
            while there():
                left = until - clock.time()
                if left <= 0:
                    raise unavailable(f"no engine had room for this request within {self._seconds:g} s", "overloaded")
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, LOOK_SECONDS)):
                        await me.called.wait()
                if me.called.is_set():
                    engine = room()
                    if engine is not None:
                        return engine
                    me.called.clear()
                    self.call()
            return None
        finally:
            line.remove(me)
            if self._people or self._trainer:
                clock.call_soon(self.call)  # once this one has put its request on the engine

    def call(self) -> None:
        """Let the first one go on for whom there is room now; it calls the next one."""
        for one in chain(self._people, self._trainer):
            if one.called.is_set():
                return
            if one.room() is not None:
                one.called.set()
                return
