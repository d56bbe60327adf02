"""Gets an answer out of some engine: picks one, retries while nothing was sent to the client, and reads it to its end.

Knows nothing of users, turns or records; `server.serving` does.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from server.engine import Engine, EngineDown, EngineFailed, message_of, status_of
from server.errors import ApiError, unavailable
from server.outcome import BROKEN_OFF, unreadable
from server.pool import Pool
from server.wire import Cut, Take, Wire

log = logging.getLogger(__name__)

ATTEMPTS = 3  # on each engine, before a request that keeps killing engines is given up
LOOK_SECONDS = 0.05  # for the keeper to see what happened
VERSION_SECONDS = 30.0  # for a step of an engine with long prompts
_ERROR = b'data: {"error"'  # how vLLM tells in a stream that it failed
_GIVEN_UP = re.compile(rb'"finish_reason": ?"(?:%b)"' % "|".join(BROKEN_OFF).encode())
"""As vLLM writes it. Stands inside no JSON string, where a quote is escaped."""
OF_REQUESTS = (400, 404, 413, 422)  # with which an engine refuses what it was asked
NOT_ABLE = 501  # of vLLM, for what is asked for and it has not


class Broken(Exception):
    """The engine ended an answer before its end."""


@dataclass(frozen=True)
class Failure:
    """What became of a request on `engine` before the first piece of an answer. `told`: by the engine, which lives."""

    engine: Engine
    words: str
    began: datetime
    since: float  # since when it had been up by then
    told: bool = False
    ended: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_death(self) -> bool:
        """Whether the engine was found down after it, or came back since. Else a connection went stale, and no more."""
        return not self.told and (not self.engine.healthy or self.engine.since != self.since)


@dataclass
class Answer:
    """An answer that has begun: nothing of it was sent on yet. `first` is its first piece, or the whole of it."""

    engine: Engine
    wire: Wire
    first: bytes
    silence: float  # seconds that any later piece may take

    async def pass_on(self, take: Take) -> None:
        """Give the answer's bytes to `take` as they come, the first piece included, until its end.

        Raises Broken when the engine goes away, and what `take` raises.
        """
        if (rest := take(self.first)) is not None:
            await rest
        try:
            await self.wire.follow(take, self.silence)
        except Cut as error:
            raise Broken(f"engine {self.engine.url} went away: {error}") from error

    def read(self) -> dict[str, Any]:
        """The whole answer as an object. Raises ApiError 502 for one that is none."""
        try:
            found = orjson.loads(self.first)
        except orjson.JSONDecodeError as error:
            raise garbled(self.engine, error) from error
        if not isinstance(found, dict):
            raise garbled(self.engine, TypeError(f"it is a {type(found).__name__}"))
        return found

    def cut(self) -> None:
        """Have the engine stop now, where it still writes; `close` is yet to be called."""
        if not self.wire.ended:
            self.wire.close()

    def close(self) -> None:
        """Done with it. If the engine still writes, it sees the connection close and stops."""
        self.engine.release()
        self.engine.done(self.wire)


class Relay:
    """The way to the engines."""

    def __init__(
        self, pool: Pool, look: Callable[[], None], wait: float, silence: float, changes: Callable[[], bool]
    ) -> None:
        """`changes`: whether engines may have other weights than they were started with."""
        self._pool, self._look = pool, look
        self._wait, self._silence = wait, silence
        self._changes = changes

    async def begin(
        self,
        path: str,
        payload: bytes,
        model: str,
        stream: bool,
        moved: Callable[[], bool] = lambda: False,
        prefix: str = "",
        failures: list[Failure] | None = None,
    ) -> Answer:
        """Send a request to an engine that serves `model` and wait for the first piece of its answer.

        An engine that fails before that is replaced by another one, or waited for. Raises ApiError with what the engine
        refused, or 503 when none could be had in time; Moved when, before an engine took it, `moved` said that other
        weights are to answer. `prefix`: requests that begin alike say the same.

        To `failures` is added what engines that had the request failed with, whatever came of it in the end.
        """
        failures = [] if failures is None else failures
        deadline = asyncio.get_running_loop().time() + self._wait
        failed: list[Engine] = []
        while True:
            if self._pool.pick(model) is None:
                self._look()  # it may be coming, or be wanted no more
            engine = await self._pool.wait(model, deadline, failed, moved, prefix=prefix)
            engine.in_flight += 1
            version, since, began = engine.version, engine.since, datetime.now(UTC)
            kept = unknown = False
            try:
                answer = await self._try(engine, path, payload, stream)
                if answer is not None and self._changes() and not await self._still(engine, version, answer):
                    answer = None
                kept = answer is not None
                unknown = not kept
            except EngineDown as error:
                log.warning("%s; the request is sent again", error)
                if error.asked:
                    failures.append(Failure(engine, error.what, began, since))
                    self._look()  # whether it died
                if engine in failed:  # the first failure may be a connection that went stale; the second is none
                    engine.mark_down(error.what)
                    self._look()
                failed.append(engine)
                answer = None
            except ApiError as error:
                if error.status >= 500:
                    failures.append(Failure(engine, error.message, began, since, told=True))
                raise
            finally:
                if not kept:
                    engine.release()
            if answer is not None:
                return answer
            if unknown:  # it restarted since it was last looked at
                engine.loaded.pop(model, None)
                if engine.in_place == model:
                    engine.in_place = None
                failed.append(engine)
                self._look()
                await asyncio.sleep(LOOK_SECONDS)
            if len(failed) > ATTEMPTS * len(self._pool.engines):
                raise unavailable(f"every engine failed on this request; the last was {engine.url}: {engine.detail}")

    async def _still(self, engine: Engine, version: str, answer: Answer) -> bool:
        """Whether it has the weights that it had: no answer goes on across a change, so this one is theirs then.

        Else the answer is given up.
        """
        same = False
        try:
            same = await engine.weights_version(VERSION_SECONDS) == version
        except EngineFailed as error:
            log.warning("%s; what it answered may be of other weights, and is asked for again", error)
        finally:
            if not same:
                answer.wire.close()
        return same

    async def _try(self, engine: Engine, path: str, payload: bytes, stream: bool) -> Answer | None:
        """One attempt. None when the engine does not know the model (any more). Raises EngineDown, ApiError."""
        wire, first = await engine.open(path, payload, stream)
        if stream and wire.status == 200 and not first:
            wire.close()
            raise EngineDown(engine.url, "closed the stream before its first piece", asked=True)
        failed = stream and wire.status == 200 and first.startswith(_ERROR)
        if wire.status == 200 and _GIVEN_UP.search(first):
            wire.close()
            raise EngineDown(engine.url, "broke the answer off, as one that is being stopped does", asked=True)
        if wire.status == 200 and not failed:
            return Answer(engine, wire, first, self._silence)
        wire.close()
        said = first.split(b"\n\n")[0].removeprefix(b"data: ") if failed else first
        words, status = message_of(said), status_of(said) if failed else wire.status
        if wire.status == 503 or (status == 500 and is_dead(words)):  # a refusal may quote what somebody wrote
            raise EngineDown(engine.url, words, asked=True)
        if wire.status == 404 and "does not exist" in words:
            return None
        raise _refused(status, words)


def garbled(engine: Engine, error: Exception) -> ApiError:
    """What an engine answered can't be read."""
    return ApiError(502, f"{engine.url}: {unreadable(error)}", code="engine_error")


def is_dead(words: str) -> bool:
    """Whether a server of an engine, which failed, says in these words that the engine behind it died."""
    return "EngineDeadError" in words or "EngineCore" in words


def _refused(status: int, words: str) -> ApiError:
    """The engine's refusal in OpenAI's form: of the request, or else an error of the engine, by whatever status."""
    if status == NOT_ABLE:
        return ApiError(400, words, code="unsupported_parameter")
    return ApiError(status, words) if status in OF_REQUESTS else ApiError(502, words, code="engine_error")
