"""How much one key may ask for: requests and tokens a minute, answers at once, choices and size of a request.

Minutes are counted by the `limits` library, in this process or, for several gateways, in Redis; so are answers at
once, by `server.slots`. Redis that is gone costs nobody an answer: until it is back no minute is full, and answers at
once are counted by each gateway alone.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple, cast

from limits import RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from server.errors import ApiError, invalid
from server.minutes import Minutes
from server.slots import Slots

log = logging.getLogger(__name__)

REDIS_SECONDS = 0.25  # beside the gateway it answers in a millisecond; a request must not wait longer for a count
RETRY_SECONDS = 1.0  # how often a Redis that is gone is tried again


@dataclass(frozen=True)
class Caps:
    """What one key may have; 0 is no limit."""

    requests: int = 0
    tokens: int = 0
    answers: int = 0
    choices: int = 0


class Own(NamedTuple):
    """What a key has of its own, in the order of the database's columns. None: as the house says, 0: no limit.

    The size of its requests (tokens of a prompt, bytes of a body) is never above the house's.
    """

    requests: int | None = None
    tokens: int | None = None
    answers: int | None = None
    prompt_tokens: int | None = None
    body_bytes: int | None = None


HOUSE = Own()


def lesser(house: int, own: int | None) -> int:
    """The stricter one of two limits; 0 and None are none."""
    return min(filter(None, (house, own)), default=0)


@dataclass
class Allowance:
    """What a request that was let in tells its client of the limits, by which it is counted."""

    who: str
    limits: dict[str, RateLimitItemPerMinute]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def counts_tokens(self) -> bool:
        """Whether an answer's tokens are to be told to `spend`."""
        return "tokens" in self.limits


class Limiter:
    """Lets requests in, or raises ApiError 429. `trouble` says in words when counting does not work just now."""

    def __init__(self, caps: Caps, redis_url: str = "") -> None:
        self._caps, self._redis_url = caps, redis_url
        self.trouble: str | None = None
        self._down_until = 0.0
        self._answers: Counter[str] = Counter()
        self._slots = Slots(redis_url) if redis_url else None

    @cached_property
    def _minutes(self) -> FixedWindowRateLimiter:
        url = self._redis_url
        return FixedWindowRateLimiter(_redis(url) if url else Minutes())

    @asynccontextmanager
    async def admit(self, who: str, choices: int, own: Own = HOUSE) -> AsyncIterator[Allowance]:
        """Let one request of the key `who` in, for as long as it is answered; what it has of its `own` goes first."""
        caps = self._caps
        requests = caps.requests if own.requests is None else own.requests
        tokens = caps.tokens if own.tokens is None else own.tokens
        answers = caps.answers if own.answers is None else own.answers
        allowance = Allowance(who, _limits(requests, tokens))
        if caps.choices and choices > caps.choices:
            raise invalid(
                f"{choices} choices were asked for; at most {caps.choices} are given", "n", "too_many_choices"
            )
        if answers and self._answers[who] >= answers:
            raise _too_many(answers)
        self._answers[who] += 1
        slot = None
        try:
            if answers and self._slots is not None:
                slot = await self._take(self._slots, who, answers)
            if allowance.limits:
                await self._count(allowance)
            yield allowance
        finally:
            if slot is not None and self._slots is not None:
                self._slots.give_back(who, slot)
            self._answers[who] -= 1
            if not self._answers[who]:
                del self._answers[who]

    async def run(self) -> None:
        """Let the other gateways count the answers that are written here, and notice when a Redis that was gone is
        back, until cancelled."""
        if self._slots is None:
            await asyncio.Event().wait()
        else:
            await self._slots.run(lambda: self.trouble is not None, self._up)

    async def stop(self) -> None:
        """Give back what is written no more."""
        if self._slots is not None:
            await self._slots.stop()

    @property
    def is_quick(self) -> bool:
        """Whether counting waits for nobody."""
        return not self._redis_url

    async def spend(self, allowance: Allowance, tokens: int) -> None:
        """Count an answer's tokens once they are known. What has begun is never cut off: the next request pays."""
        if not allowance.counts_tokens or not tokens or time.monotonic() < self._down_until:
            return
        try:
            async with self._in_time():
                await self._minutes.hit(allowance.limits["tokens"], allowance.who, cost=tokens)
        except (StorageError, OSError, TimeoutError) as error:
            self._down(error)

    async def _take(self, slots: Slots, who: str, most: int) -> str | None:
        """A slot among those of all gateways; None while there is no telling. Raises ApiError when all are taken."""
        if time.monotonic() < self._down_until:
            return None
        try:
            async with self._in_time():
                slot = await slots.take(who, most)
        except (OSError, TimeoutError) as error:
            self._down(error)
            return None
        self.trouble = None
        if slot is None:
            raise _too_many(most)
        return slot

    async def _count(self, allowance: Allowance) -> None:
        if time.monotonic() < self._down_until:
            return
        try:
            async with self._in_time():
                spent = [kind for kind in allowance.limits if not await self._ask(kind, allowance)]
        except (StorageError, OSError, TimeoutError) as error:
            self._down(error)
            return
        self.trouble = None
        for kind in spent:
            message = f"this key has used its {allowance.limits[kind].amount} {kind} of this minute"
            wait = allowance.headers[f"x-ratelimit-reset-{kind}"].removesuffix("s")
            headers = allowance.headers | {"Retry-After": wait}
            raise ApiError(429, message, code="rate_limit_exceeded", headers=headers)

    async def _ask(self, kind: str, allowance: Allowance) -> bool:
        """Whether there is anything left of a minute's allowance; a request counts at once, its tokens at its end."""
        limit = allowance.limits[kind]
        strategy = self._minutes
        let_in = await (strategy.hit if kind == "requests" else strategy.test)(limit, allowance.who)
        stats = await strategy.get_window_stats(limit, allowance.who)
        reset = min(60, max(1, math.ceil(stats.reset_time - time.time()))) if stats.remaining < limit.amount else 0
        allowance.headers |= {
            f"x-ratelimit-limit-{kind}": str(limit.amount),
            f"x-ratelimit-remaining-{kind}": str(stats.remaining),
            f"x-ratelimit-reset-{kind}": f"{reset}s",
        }
        return let_in

    def _in_time(self) -> AbstractAsyncContextManager[object]:
        return nullcontext() if self.is_quick else asyncio.timeout(REDIS_SECONDS)

    def _down(self, error: BaseException) -> None:
        if self.trouble is None:
            log.error("limits are not enforced, Redis does not answer: %r", error)
        self._down_until = time.monotonic() + RETRY_SECONDS
        self.trouble = "Redis does not answer; limits are not enforced meanwhile"

    def _up(self) -> None:
        self.trouble, self._down_until = None, 0.0


def _too_many(answers: int) -> ApiError:
    message = f"{answers} answers are being written for this key already; wait for one of them"
    return ApiError(429, message, code="too_many_answers", headers={"Retry-After": "1"})


@cache  # as many as there are different limits
def _limits(requests: int, tokens: int) -> dict[str, RateLimitItemPerMinute]:
    return {
        kind: RateLimitItemPerMinute(amount, namespace=f"ruminate-{kind}")
        for kind, amount in (("requests", requests), ("tokens", tokens))
        if amount
    }


def _redis(url: str) -> Storage:
    from redis.asyncio.retry import Retry  # only where there is a Redis
    from redis.backoff import NoBackoff

    # Once more and at once: a connection that went stale is made anew; to wait would use up the time of a request.
    retry: Any = Retry(NoBackoff(), 1)
    storage = storage_from_string(f"async+{url}", implementation="redispy", wrap_exceptions=True, retry=retry)
    return cast(Storage, storage)
