"""Short rests between micro-batches, while the gateway says that people need the machine.

What `nice` can't give way in: memory, caches and a card are shared whatever a process's priority, and so is a core
whose turn is this process's. A rest is bounded, and so is the share of time that all of them take.
"""

import time
from collections.abc import Callable

from trainer.work import Work

LOOK_SECONDS = 0.25  # between two questions
SILENT_SECONDS = 10.0  # before a gateway that did not answer is asked again
SHORTEST = 0.05  # less is not worth a question


class Pauses:
    """Rests of at most `seconds` each, and at most `share` of the time. `pressed`: whether people need the machine;
    None: nobody could say."""

    def __init__(
        self,
        pressed: Callable[[], bool | None],
        seconds: float,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pressed, self._seconds, self._rate = pressed, seconds, share / (1 - share)
        self._clock, self._sleep = clock, sleep
        self._earned, self._since, self._ask_at = 0.0, clock(), 0.0
        self._taken = 0.0

    def __call__(self) -> None:
        """Rest for as long as people need the machine, within the bounds; not at all when they don't."""
        began = self._clock()
        self._earned = min(self._seconds, self._earned + (began - self._since) * self._rate)
        ends = began + self._earned
        if self._earned >= SHORTEST and began >= self._ask_at:
            while (left := ends - self._clock()) > 0 and self._needed():
                self._sleep(min(left, LOOK_SECONDS))
        self._since = self._clock()
        self._earned -= self._since - began
        self._taken += self._since - began

    def taken(self) -> float:
        """Seconds of rest since this was asked last."""
        taken, self._taken = self._taken, 0.0
        return taken

    def _needed(self) -> bool:
        answer = self._pressed()
        self._ask_at = self._clock() + (SILENT_SECONDS if answer is None else LOOK_SECONDS)
        return bool(answer)


def pauses_of(work: Work) -> Pauses:
    """The pauses of a round's training."""
    return Pauses(work.gateway.pressed, work.settings.pause_seconds, work.settings.pause_share)
