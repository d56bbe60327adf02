"""The people of all gateways, for the trainer to yield to: those here, and over Redis those of the others.

A gateway with people, or with a trainer, tells the others twice a second and hears of theirs. What it told runs out in
seconds, so one that died stops counting. No answer waits for this; while Redis is gone each knows its own people only.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import orjson

from db.ids import new_id
from server.pace import ABSENT_SECONDS, Pace

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.5  # between two words to the others
ALIVE_SECONDS = 3.0  # how long a word counts: some beats, of which a busy gateway may miss a few
NAMES_SECONDS = 60  # how long it is known who has spoken
ANSWER_SECONDS = 1.0  # beside the gateway Redis answers in a millisecond
NAMES = "ruminate:people"


@dataclass(frozen=True)
class Word:
    """What a gateway tells: of its people as `Pace` has them, and of its trainer.

    `mark` is "" without a trainer at work, and another one whenever its cap has changed. `heeded`: the others' marks
    since which the gaps were counted that `slow` judges by.
    """

    chats: int
    pressed: bool
    slow: bool | None
    mark: str
    heeded: tuple[str, ...] = ()


class Everybody:
    """Of the gateway `name`: its `own` people and, with a Redis at `url`, those of the others."""

    def __init__(self, own: Pace, url: str, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._own, self._url, self._name, self._clock = own, url, name, clock
        self._client: Any = None
        self._mark, self._heeded = new_id(), frozenset[str]()
        self._heard: Collection[Word] = ()
        self._heard_at = self._asked_at = self._spoke_at = -math.inf
        self._told = self._lost = False

    @property
    def chats(self) -> int:
        """Answers being written for people just now."""
        return self._own.chats + sum(other.chats for other in self._others)

    @property
    def pressed(self) -> bool:
        """Whether people need the machine: somebody waits for an answer to begin, or answers come slowly."""
        return self._own.pressed or any(other.pressed for other in self._others)

    @property
    def slow(self) -> bool | None:
        """Whether answers come slowly at any gateway, since `forget`; None: no gateway has enough to judge by."""
        said = [self._own.slow, *(other.slow for other in self._others if self._mark in other.heeded)]
        return True if True in said else False if False in said else None

    def forget(self) -> None:
        """Judge by what comes from now on, at every gateway."""
        self._own.forget()
        self._mark = new_id()

    def trainer_asks(self) -> None:
        """A trainer is at work, and asks this gateway."""
        self._asked_at = self._clock()
        self._own.trainer_asks()

    async def look(self) -> None:
        """A trainer is about to ask for much: hear of the others first, unless that was just now."""
        self.trainer_asks()
        if self._url and self._clock() - self._spoke_at >= BEAT_SECONDS:
            await self.speak()

    async def run(self) -> None:
        """Speak and hear, while there is anything to tell, until cancelled."""
        if not self._url:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self._own.chats or self._trains:
                await self.speak()
            elif self._told:
                await self._fall_silent()

    async def speak(self) -> None:
        """Tell the others of this gateway, and hear what they told. With no Redis that answers, nothing is heard."""
        self._spoke_at = self._clock()
        found = await self._ask(lambda redis: _exchange(redis, self._name, self._word()))
        if found is not None:
            self._told = True
            self.hear(found)

    def hear(self, others: Collection[Word]) -> None:
        """What all the others have told counts from now on, for as long as a word does."""
        self._heard, self._heard_at = others, self._clock()
        marks = frozenset(other.mark for other in others if other.mark)
        if marks:
            self._own.trainer_asks()
        if marks - self._heeded:
            self._own.forget()
        self._heeded = marks

    async def stop(self) -> None:
        """Nobody is here any more."""
        if self._told:
            await self._fall_silent()
        if self._client is not None:
            await self._client.aclose()

    @property
    def _others(self) -> Collection[Word]:
        return self._heard if self._clock() - self._heard_at < ALIVE_SECONDS else ()

    @property
    def _trains(self) -> bool:
        """Whether a trainer has asked here lately."""
        return self._clock() - self._asked_at <= ABSENT_SECONDS

    def _word(self) -> Word:
        own, mark = self._own, self._mark if self._trains else ""
        if not mark and not self._heeded:  # nobody trains: the streams are not looked at
            return Word(own.chats, False, None, "")
        return Word(own.chats, own.pressed, own.slow, mark, tuple(self._heeded))

    async def _fall_silent(self) -> None:
        self._told = False  # tried once: otherwise the word runs out
        await self._ask(lambda redis: redis.delete(_key(self._name)))

    async def _ask(self, question: Callable[[Any], Any]) -> Any:
        """Redis' answer; None when it has none in time."""
        from redis.exceptions import RedisError  # only where there is a Redis

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await question(self._redis())
        except (RedisError, OSError, TimeoutError) as error:
            if not self._lost:
                log.error("the trainer yields to the people of its own gateway only, Redis does not answer: %r", error)
            self._lost = True
            return None
        self._lost = False
        return answer

    def _redis(self) -> Any:
        if self._client is None:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            retry: Any = Retry(NoBackoff(), 1)  # a connection that went stale is made anew; the next beat is soon
            self._client = Redis.from_url(self._url, retry=retry, socket_connect_timeout=ANSWER_SECONDS)
        return self._client


async def _exchange(redis: Any, name: str, word: Word) -> list[Word]:
    """Leave a word in Redis, where it runs out by itself, and fetch the others'."""
    pipe = redis.pipeline(transaction=False)
    pipe.set(_key(name), orjson.dumps(word), px=round(ALIVE_SECONDS * 1000))
    pipe.sadd(NAMES, name)
    pipe.expire(NAMES, NAMES_SECONDS)
    pipe.smembers(NAMES)
    names = [other.decode() for other in (await pipe.execute())[-1] if other != name.encode()]
    if not names:
        return []
    told = await redis.mget([_key(other) for other in names])
    gone = [other for other, raw in zip(names, told, strict=True) if raw is None]
    if gone:
        await redis.srem(NAMES, *gone)  # one that speaks just now is back with its next word
    return [other for raw in told if raw is not None and (other := _read(raw)) is not None]


def _read(raw: bytes) -> Word | None:
    """None for that of a gateway of another version, which speaks otherwise."""
    try:
        word = Word(**orjson.loads(raw))
        return Word(int(word.chats), bool(word.pressed), word.slow, str(word.mark), tuple(word.heeded))
    except (ValueError, TypeError):
        return None


def _key(name: str) -> str:
    return f"ruminate:people:{name}"
