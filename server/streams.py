"""Carries the events of detached answers between gateways, as Redis streams. The truth is the record; this is quick.

An entry's id is its event's number, so a reader sees at once what is missing. A stream whose gateway died runs out
within seconds, one that ended is kept a minute. Turns of which nothing is to be kept never get here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from db.values import Turn
from server.feed import KEPT_SECONDS, Feed, numbered

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0  # how often a stream is kept from running out while its answer is silent
ALIVE_SECONDS = 10  # how long a stream outlives its gateway
RETRY_SECONDS = 1.0
SILENT_MS = 1000  # how long a reader waits before it asks whether the answer has ended meanwhile
BATCH = 256  # entries in one call
SOCKET_SECONDS = 5.0  # longer than a reader waits


class Lost(Exception):
    """The events can't be followed any further here."""


class Streams:
    """One gateway's way to the streams of all. Without a URL there are none."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._dropped: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def carries(self) -> bool:
        """Whether there is a Redis to carry them."""
        return bool(self._url)

    def share(self, turn: Turn, feed: Feed) -> None:
        """Carry a feed to the others from now on."""
        if self._url and turn.consent != "none":
            key, self._loop = _key(turn.generation_id), asyncio.get_running_loop()
            self._pumps[key] = self._do(self._pump(key, feed))
            self._pumps[key].add_done_callback(lambda _: self._pumps.pop(key, None))

    def drop(self, turn: Turn) -> None:
        """Have nothing of an answer of this gateway be left there, in a moment; callable from any thread.

        Where Redis can't be reached its stream runs out, as any other.
        """
        if self._loop is not None and turn.consent != "none":
            self._loop.call_soon_threadsafe(lambda: self._do(self._drop(_key(turn.generation_id))))

    async def has(self, generation_id: str) -> bool:
        """Whether its events are there. False as well when Redis does not answer."""
        from redis.exceptions import RedisError

        if not self._url:
            return False
        try:
            return bool(await self._redis().exists(_key(generation_id)))
        except (RedisError, OSError, TimeoutError):
            return False

    async def follow(
        self, generation_id: str, after: int, unfinished: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        """What comes after event number `after`. Raises Lost where the stream breaks off before its end."""
        from redis.exceptions import RedisError

        key, quiet = _key(generation_id), 0
        while True:
            try:
                found = await self._redis().xread({key: f"{after}-0"}, count=BATCH, block=SILENT_MS)
                there = bool(found) or await self._redis().exists(key)
            except (RedisError, OSError, TimeoutError) as error:
                raise Lost(f"Redis does not answer: {error!r}") from error
            for number, fields in _entries(found):
                if number != after + 1:
                    raise Lost(f"event {after + 1} is missing")
                if b"event" not in fields:
                    return
                yield numbered(number, fields[b"event"])
                after = number
            if not found:
                quiet = 0 if there and await unfinished() else quiet + 1
                if quiet == 2:  # once more: its last events may have come between the two questions
                    raise Lost("nothing more comes")
                yield b": thinking\n\n"

    async def stop(self) -> None:
        """Send what has ended meanwhile, and let the connections go."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SOCKET_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def _do(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _drop(self, key: str) -> None:
        from redis.exceptions import RedisError

        self._dropped.add(key)
        pump = self._pumps.get(key)
        try:
            await self._redis().delete(key)
            if pump is not None:  # it may be writing just now, and stops at its next look
                await asyncio.wait([pump])
                await self._redis().delete(key)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("events of a forgotten answer can't be taken from Redis, where they run out: %r", error)
        if pump is not None:
            await asyncio.wait([pump])
        self._dropped.discard(key)

    async def _pump(self, key: str, feed: Feed) -> None:
        from redis.exceptions import RedisError

        sent, fresh = 0, True
        while key not in self._dropped:
            batch = feed.events[sent : sent + BATCH]
            over = feed.ended and sent + len(batch) == len(feed.events)
            pipe = self._redis().pipeline(transaction=True)
            if fresh:
                pipe.delete(key)
            for number, event in enumerate(batch, sent + 1):
                pipe.xadd(key, {"event": event}, id=f"{number}-0")
            if over:
                pipe.xadd(key, {"end": ""}, id=f"{sent + len(batch) + 1}-0")
            pipe.expire(key, round(KEPT_SECONDS) if over else ALIVE_SECONDS)
            try:
                await pipe.execute()
            except (RedisError, OSError, TimeoutError) as error:
                if fresh and feed.ended:
                    return  # there is the record
                log.warning("events of a detached answer are not carried on just now: %r", error)
                sent, fresh = 0, True  # whatever is there after this is written anew
                await asyncio.sleep(RETRY_SECONDS)
                continue
            sent, fresh = sent + len(batch), False
            if over:
                return
            await feed.more(sent, BEAT_SECONDS)

    def _redis(self) -> Any:
        if self._client is None:
            from redis.asyncio import Redis

            limits: dict[str, Any] = {"socket_connect_timeout": 1.0, "socket_timeout": SOCKET_SECONDS}
            self._client = Redis.from_url(self._url, **limits)
        return self._client


def _key(generation_id: str) -> str:
    return f"ruminate:events:{generation_id}"


def _entries(found: Any) -> list[tuple[int, dict[bytes, bytes]]]:
    """Of XREAD's answer for one stream, in either version of Redis' protocol."""
    streams = found.values() if isinstance(found, dict) else [entries for _, entries in found or []]
    flat = []
    for entries in streams:
        for part in entries:
            flat += part if isinstance(part, list) and part and isinstance(part[0], (tuple, list)) else [part]
    return [(int(bytes(name).split(b"-")[0]), fields) for name, fields in flat]
