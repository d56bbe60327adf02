"""Which engine a request goes to, how long it may wait for one, and which names are in use.

Knows engines by what `Engine.serves` says of them; loads and unloads nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from server.engine import Engine
from server.errors import ApiError, unavailable

LOOK_SECONDS = 0.2  # of those who wait beyond their time


class Moved(Exception):
    """What was waited for is not wanted any more: take the name's meaning anew."""


class Pool:
    """All engines of this gateway."""

    def __init__(self, max_waiting: int) -> None:
        self.engines: list[Engine] = []
        self._max_waiting = max_waiting
        self._waiting = 0
        self._changed = asyncio.Event()
        self._in_use: Counter[str] = Counter()
        self.chats = 0  # answers being written for people just now
        self.changing: Callable[[], bool] = lambda: False
        """Whether an engine gets other weights. Until that ends, requests wait so much longer at most:"""
        self.patience = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait for an engine."""
        return self._waiting

    @property
    def seen(self) -> bool:
        """Whether any engine has ever answered: before that, a request is told to come back instead of waiting."""
        return any(engine.state != "starting" for engine in self.engines)

    @contextmanager
    def using(self, model: str) -> Iterator[None]:
        """Keep a name from being unloaded while a request that was resolved to it is on its way."""
        self._in_use[model] += 1
        try:
            yield
        finally:
            self._in_use[model] -= 1
            if not self._in_use[model]:
                del self._in_use[model]

    def in_use(self, model: str) -> int:
        return self._in_use[model]

    def pick(self, model: str, avoid: Collection[Engine] = ()) -> Engine | None:
        """The least loaded engine that serves `model`, or None."""
        able = [engine for engine in self.engines if engine.serves(model) and engine not in avoid]
        return min(able, key=lambda engine: engine.in_flight, default=None)

    def notify(self) -> None:
        """Wake those who wait: an engine changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(
        self,
        model: str,
        deadline: float,
        avoid: Collection[Engine] = (),
        moved: Callable[[], bool] = lambda: False,
    ) -> Engine:
        """An engine that serves `model`, now or by `deadline` (of the event loop's clock).

        Raises ApiError 503 with Retry-After when there is none by then, none has started yet, or too many wait; Moved
        once `moved` says so while it waits.
        """
        engine = self.pick(model, avoid) or self.pick(model)
        if engine is not None:
            return engine
        if not self.seen:
            raise unavailable("the model is still being loaded; try again in a moment", "engine_starting")
        if self._waiting >= self._max_waiting:
            raise unavailable(f"{self._waiting} requests wait for an engine already; come back later", "overloaded")
        clock = asyncio.get_running_loop()
        self._waiting += 1
        try:
            while True:
                changed = self._changed
                engine = self.pick(model)
                if engine is not None:
                    return engine
                if moved():
                    raise Moved
                left = deadline - clock.time()
                if left <= (-self.patience if self.changing() else 0.0):
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), left if left > 0 else LOOK_SECONDS)
        finally:
            self._waiting -= 1
        raise _none(self.engines, model)


def _none(engines: list[Engine], model: str) -> ApiError:
    said = "; ".join(f"{engine.url} is {engine.state}" for engine in engines)
    return unavailable(f"no engine serves {model!r} just now ({said}); try again in a moment")
