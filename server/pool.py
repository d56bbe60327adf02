"""Which engine a request goes to, how long it may wait for one, how many it has, and which names are in use.

Knows engines by what `Engine.serves` says of them; loads and unloads nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b

from server.engine import Engine
from server.errors import ApiError, unavailable
from server.line import Line

LOOK_SECONDS = 0.2  # of those who wait beyond their time
BUSIER, BY_SHARE = 2, 0.25
"""Requests more than the least loaded engine, and as a share of what that one has, at which an engine counts as busier:
reading a long prefix anew costs an engine more than one request beside others."""


class Moved(Exception):
    """What was waited for is not wanted any more: take the name's meaning anew."""


class Pool:
    """All engines of this gateway, each with `most` requests at once at most. `max_waiting` may wait for one that is
    absent, and so many for room, these for `room_seconds`."""

    def __init__(self, max_waiting: int, most: int, room_seconds: float) -> None:
        self.engines: list[Engine] = []
        self._max_waiting, self._most = max_waiting, most
        self._line = Line(max_waiting, room_seconds)
        self._waiting = 0
        self._changed = asyncio.Event()
        self._in_use: Counter[str] = Counter()
        self.chats = 0  # answers being written for people just now
        self.changing: Callable[[], bool] = lambda: False
        """Whether an engine gets other weights. Until that ends, requests wait so much longer at most:"""
        self.patience = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait for an engine, or for room on one."""
        return self._waiting + len(self._line)

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

    def pick(self, model: str, avoid: Collection[Engine] = (), prefix: str = "") -> Engine | None:
        """The least loaded engine that serves `model`, or None.

        Requests with the same `prefix` go to the same engine, whose cache holds what they begin with, through whichever
        gateway they come (rendezvous hashing), unless it is clearly busier than the least loaded one.
        """
        able = [engine for engine in self.engines if engine.serves(model) and engine not in avoid]
        least = min(able, key=lambda engine: engine.in_flight, default=None)
        if least is None or not prefix or len(able) == 1:
            return least
        home = max(able, key=lambda engine: blake2b(f"{prefix} {engine.url}".encode(), digest_size=8).digest())
        return home if home.in_flight - least.in_flight <= BUSIER + BY_SHARE * least.in_flight else least

    def join(self, engine: Engine) -> None:
        """One more; it is asked nothing before it serves something."""
        engine.freed = self._line.call
        self.engines.append(engine)

    def notify(self) -> None:
        """Wake those who wait: an engine changed."""
        self._changed.set()
        self._changed = asyncio.Event()
        self._line.call()

    async def wait(
        self,
        model: str,
        deadline: float,
        avoid: Collection[Engine] = (),
        moved: Callable[[], bool] = lambda: False,
        trainer: bool = False,
        prefix: str = "",
    ) -> Engine:
        """An engine that serves `model` and has room. The caller puts its request on it before it waits for anything.

        One that serves it is waited for until `deadline` (of the event loop's clock), then room in the order of coming;
        the `trainer` waits behind people. Raises ApiError 503 with Retry-After when there is none by then, none has
        started yet, too many wait or room took too long; Moved once `moved` says so while it waits.
        """

        def room() -> Engine | None:
            return self._with_room(model, avoid, prefix) or self._with_room(model, (), prefix)

        while True:
            if not self._line.goes_before(trainer):
                engine = room()
                if engine is not None:
                    return engine
            if self.pick(model) is None:
                await self._served(model, deadline, moved)
                continue
            engine = await self._line.wait(room, lambda: self.pick(model) is not None and not moved(), trainer)
            if engine is not None:
                return engine
            if moved():
                raise Moved

    def _with_room(self, model: str, avoid: Collection[Engine], prefix: str) -> Engine | None:
        full = [engine for engine in self.engines if engine.in_flight >= self._most]
        return self.pick(model, [*avoid, *full] if full else avoid, prefix)

    async def _served(self, model: str, deadline: float, moved: Callable[[], bool]) -> None:
        """Return once an engine serves `model`. Raises as `wait`."""
        if not self.seen:
            raise unavailable("the model is still being loaded; try again in a moment", "engine_starting")
        if self._waiting >= self._max_waiting:
            raise unavailable(f"{self._waiting} requests wait for an engine already; come back later", "overloaded")
        clock = asyncio.get_running_loop()
        self._waiting += 1
        try:
            while True:
                changed = self._changed
                if self.pick(model) is not None:
                    return
                if moved():
                    raise Moved
                left = deadline - clock.time()
                if left <= (-self.patience if self.changing() else 0.0):
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(left if left > 0 else LOOK_SECONDS):
                        await changed.wait()
        finally:
            self._waiting -= 1
        raise _none(self.engines, model)


def _none(engines: list[Engine], model: str) -> ApiError:
    said = "; ".join(f"{engine.url} is {engine.state}" for engine in engines)
    return unavailable(f"no engine serves {model!r} just now ({said}); try again in a moment")
