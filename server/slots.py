"""The answers that are being written for each key, counted over all gateways in Redis.

A slot is an entry of a sorted set, one set for each key, with the time at which it runs out by Redis' clock. Its
gateway renews it while the answer is written, so the slots of one that died come back by themselves. This knows nothing
of limits of other kinds, nor of what to do without Redis: whatever goes wrong there is an OSError or a TimeoutError.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, cast

from db.ids import new_id

BEAT_SECONDS = 3.0  # between two renewals
ALIVE_SECONDS = 10.0  # how long a slot counts that nobody renews: some beats, of which a busy gateway may miss one
ANSWER_SECONDS = 1.0  # of what no request waits for; beside the gateway Redis answers in a millisecond

# KEYS: the set. ARGV: the limit, a slot's life in ms, the new slot, those that were given back. 1: the slot is taken.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if #ARGV > 3 then redis.call('ZREM', KEYS[1], unpack(ARGV, 4)) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
# ARGV: a slot's life in ms, the slots. They are made anew where Redis has lost them.
RENEW = """
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], ends, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


class Slots:
    """This gateway's slots, in the Redis at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None
        self._held: defaultdict[str, set[str]] = defaultdict(set)
        self._left: defaultdict[str, set[str]] = defaultdict(set)  # given back, but not yet in Redis
        self._leaving: set[asyncio.Task[None]] = set()

    async def take(self, who: str, most: int) -> str | None:
        """A slot of `who`; None when all gateways have `most` of them already. Raises OSError.

        Whoever is cancelled meanwhile has none.
        """
        slot = new_id()
        try:
            taken = await self._ask(lambda redis: redis.eval(
                TAKE, 1, _key(who), most, _LIFE, slot, *self._left[who]
            ))  # fmt: skip
        except BaseException:
            self.give_back(who, slot)  # Redis may have given it before it fell silent
            raise
        if not taken:
            return None
        self._held[who].add(slot)
        return slot

    def give_back(self, who: str, slot: str) -> None:
        """Waits for nobody; the next `take` here knows of it in any case."""
        self._drop(who, slot)
        self._left[who].add(slot)
        task = asyncio.create_task(self._leave(who, slot))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def run(self, missed: Callable[[], bool] = lambda: False, back: Callable[[], None] = lambda: None) -> None:
        """Renew what is held, until cancelled. While Redis is `missed` it is also asked whether it is `back`."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                for who in tuple(self._held):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await self._renew(who, tuple(self._held.get(who, ())))
                if missed():
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await self._ask(lambda redis: redis.ping())
                    back()
            except (OSError, TimeoutError):
                continue  # the next beat is soon; who counts meanwhile has noticed

    async def stop(self) -> None:
        """Let the connections go, after what is being given back."""
        await asyncio.gather(*self._leaving)
        if self._client is not None:
            await self._client.aclose()

    def _drop(self, who: str, slot: str) -> None:
        self._held[who].discard(slot)
        if not self._held[who]:
            del self._held[who]

    async def _renew(self, who: str, slots: tuple[str, ...]) -> None:
        await self._ask(lambda redis: redis.eval(RENEW, 1, _key(who), _LIFE, *slots))
        gone = set(slots) - self._held.get(who, set())
        if gone:  # given back while they were renewed
            await self._ask(lambda redis: redis.zrem(_key(who), *gone))

    async def _leave(self, who: str, slot: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ask(lambda redis: redis.zrem(_key(who), slot))
        except (OSError, TimeoutError):
            pass  # it is renewed no more, and runs out
        finally:
            self._left[who].discard(slot)
            if not self._left[who]:
                del self._left[who]

    async def _ask(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        from redis.exceptions import RedisError  # only where there is a Redis

        try:
            return await question(self._redis())
        except RedisError as error:
            raise OSError(str(error)) from error

    def _redis(self) -> Any:
        if self._client is None:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            retry = cast(Any, Retry(NoBackoff(), 1))  # a connection that went stale is made anew
            self._client = Redis.from_url(self._url, retry=retry, socket_connect_timeout=ANSWER_SECONDS)
        return self._client


_LIFE = round(ALIVE_SECONDS * 1000)


def _key(who: str) -> str:
    return f"ruminate:answers:{who}"
