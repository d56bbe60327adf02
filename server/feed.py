"""The events of a detached answer: numbered from 1, kept until a while after their end, for any number of readers.

A detached answer goes on when its client leaves. Here are its events in this gateway's memory; `server.streams` carries
them to other gateways, `server.pickup` decides where a client gets them from.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from db.values import Turn
from server.errors import ApiError
from server.exchange import ALIVE_SECONDS

KEPT_SECONDS = 60.0  # after the end; later the record answers
_GAP = b"\n\n"


def numbered(number: int, event: bytes) -> bytes:
    """An event as a client gets it; `event` is one of `Feed.events`."""
    return b"id: %d\n%s\n\n" % (number, event)


class Feed:
    """Events without their numbers and final blank lines. The place of an event is its number less one."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.ended = False
        self._news = asyncio.Event()

    def add(self, data: bytes) -> None:
        """Whole events. Comments are left out: they only keep a connection alive."""
        self.events += [event for event in data.split(_GAP) if event and not event.startswith(b":")]
        self._tell()

    def end(self) -> None:
        self.ended = True
        self._tell()

    async def more(self, than: int, seconds: float) -> bool:
        """Wait until there are more than so many events, or the end. False when it took longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while len(self.events) <= than and not self.ended:
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def follow(self, after: int) -> AsyncIterator[bytes]:
        """What comes after event number `after`, as it comes, until the end."""
        while True:
            while after < len(self.events):
                after += 1
                yield numbered(after, self.events[after - 1])
            if self.ended:
                return
            if not await self.more(after, ALIVE_SECONDS):
                yield b": thinking\n\n"

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Away:
    """Stands where an answer's client would: it is written into a feed. `opened` tells that its turn begins."""

    left = True  # from the beginning, as it were; whoever follows is told by `over` how it ended

    def __init__(self, opened: Callable[[Turn, Feed], None]) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.feed = Feed()
        self.refused: ApiError | None = None
        self._opened = opened
        self._begun = asyncio.Event()

    async def begun(self) -> None:
        """Return once the answer has begun. Raises ApiError when it was refused instead."""
        await self._begun.wait()
        if self.refused is not None:
            raise self.refused

    def opened(self, turn: Turn) -> None:
        self._opened(turn, self.feed)

    def push(self, data: bytes) -> None:
        self.feed.add(data)
        self._begun.set()

    def alive(self) -> None:
        """Whoever follows is kept alive by `Feed.follow`."""

    async def end(self, data: bytes) -> None:
        self.push(data)

    async def whole(self, data: bytes) -> None:
        raise AssertionError("a detached answer is a stream")

    def over(self, error: ApiError | None = None) -> None:
        """Nothing more comes; `error` says why where that is no regular end."""
        if error is not None and self._begun.is_set():
            self.feed.add(error.event())
        else:
            self.refused = error
        self.feed.end()
        self._begun.set()


class Feeds:
    """The feeds of this gateway by generation, and the work that fills them. `share` carries one to other gateways,
    `unshare` takes back what of it is there."""

    def __init__(
        self,
        begin: Callable[[Turn], None],
        share: Callable[[Turn, Feed], None],
        unshare: Callable[[Turn], None],
    ) -> None:
        self._begin, self._share, self._unshare = begin, share, unshare
        self._feeds: dict[str, tuple[Turn, Feed]] = {}
        self._answers: set[asyncio.Task[Any]] = set()
        self._droppers: set[asyncio.Task[None]] = set()

    def start(self, work: Callable[[Away], Any]) -> Away:
        """Do `work` with somewhere to write to, whoever listens."""
        away = Away(self._opened)
        task = asyncio.create_task(work(away))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)
        return away

    def get(self, generation_id: str) -> tuple[Turn, Feed] | None:
        return self._feeds.get(generation_id)

    def erase(self, whose: Callable[[Turn], bool]) -> None:
        """Forget the events of these turns, and what other gateways could have of them. From any thread: the loop adds
        some meanwhile.
        """
        for key, (turn, _) in self._feeds.copy().items():
            if whose(turn):
                self._feeds.pop(key, None)
                self._unshare(turn)

    async def stop(self, seconds: float) -> None:
        """Let what still runs come to its end for so many seconds: whoever left will look for it. Then break it off; it
        is recorded as interrupted."""
        if self._answers and seconds > 0:
            await asyncio.wait(self._answers, timeout=seconds)
        left = [*self._answers, *self._droppers]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _opened(self, turn: Turn, feed: Feed) -> None:
        self._feeds[turn.generation_id] = (turn, feed)
        self._begin(turn)
        self._share(turn, feed)
        task = asyncio.create_task(self._drop_later(turn.generation_id, feed))
        self._droppers.add(task)
        task.add_done_callback(self._droppers.discard)

    async def _drop_later(self, generation_id: str, feed: Feed) -> None:
        while not feed.ended:
            await feed.more(len(feed.events), ALIVE_SECONDS)
        await asyncio.sleep(KEPT_SECONDS)
        self._feeds.pop(generation_id, None)
