"""Two answers to one prompt, side by side: in random order, and without names until somebody has chosen.

Knows how both run and how they are shown; what a choice leads to is in `ui.chat`.
"""

import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from ui.answer import Phase
from ui.pictures import Content
from ui.stream import Running, always, drawing, frames

SIDES = ("left", "right")
HIDDEN = ("model", "generation", "conversation", "text")
"""What a frame tells of an answer, and a page that is to stay blind must not know."""


def as_shown(asked: Mapping[str, Any]) -> dict[str, Any]:
    """How the page says that it showed what somebody judges; nothing where it does not say."""
    shown = asked.get("shown")
    return dict(shown) if isinstance(shown, dict) else {}


class Pair:
    """Both answers. Has what `Running` has, so that either can be watched, stopped and found again."""

    def __init__(self, made: Sequence[Running], mode: str, chance: random.Random | None = None) -> None:
        self.sides = list(made)
        (chance or random.SystemRandom()).shuffle(self.sides)
        self.mode = mode
        self.naming: Future[str] = Future()
        self.key = ""
        self._left = len(self.sides)
        self._lock = threading.Lock()

    @property
    def prompt(self) -> Content:
        """What both answer."""
        return self.sides[0].prompt

    @property
    def over(self) -> bool:
        """Whether both have ended."""
        return all(side.over for side in self.sides)

    @property
    def comparable(self) -> bool:
        """Whether both are whole answers; otherwise there is nothing to choose."""
        return all(side.answer.phase is Phase.DONE and side.answer.response for side in self.sides)

    @property
    def need_key(self) -> bool:
        """Whether one failed for want of a key."""
        return any(side.need_key for side in self.sides)

    def start(self, on_end: Callable[[], None], on_place: Callable[[str], None] = lambda name: None) -> None:
        """Begin both; `on_end` runs once, after the later one."""

        def ended() -> None:
            with self._lock:
                self._left -= 1
                last = self._left == 0
            if last:
                on_end()

        for side in self.sides:
            side.start(ended, on_place)

    def stop(self) -> None:
        """End both where they are."""
        for side in self.sides:
            side.stop()

    def frame(self) -> dict[str, Any]:
        """Both as they are now, nameless; once both are over, `phase` is final."""
        over = self.over
        pair = [side.frame() for side in self.sides]
        conversation = next((one["conversation"] for one in pair if one["conversation"]), None)
        blind = [{key: value for key, value in one.items() if key not in HIDDEN} for one in pair]
        phase = Phase.DONE if over else Phase.RESPONDING
        return {"phase": phase.value, "pair": blind, "conversation": conversation}

    def watch(self, wanted: Callable[[], bool] = always, on: Executor | None = None) -> AsyncIterator[dict[str, Any]]:
        """Frames from now on, the last one final."""
        return frames(drawing(self.frame, on), lambda: self.over, self.sides, wanted)
