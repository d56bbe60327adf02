"""The trainer's use of the engines: samples and log-probabilities by token ids, in the time that people leave.

vLLM's priorities order waiting requests only; what runs already slows every token of a chat. So the number of sequences
that are sampled at once is capped here. While answers are being written for people the cap follows what they see: it
falls when the gaps between their pieces are longer than they may be, and rises again for as long as they are not.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from db.ids import new_id
from server.asking import ROLLOUT_PRIORITY
from server.engine import EngineDown, EngineFailed, settle
from server.errors import ApiError, unavailable
from server.everybody import Everybody
from server.outcome import BROKEN_OFF
from server.pool import Pool
from server.probe import CALL_SEQUENCES, completion_logprobs

CALL_SECONDS = 600.0  # one group of long thoughts on a small machine, behind people
LOOK_SECONDS = 0.05  # how soon those who wait notice that people have gone
JOIN = 8  # that may begin in that time while people chat: to read many prompts at once is a long pause for everybody
STEER_SECONDS = 1.0  # between two changes of the cap
MORE, LESS = 8, 0.7  # sequences that it rises by, and what is left of it when it falls
SEED_STEP = 1_000_003  # between the prompts of one call: equal prompts must not get equal samples


@dataclass(frozen=True)
class Wish:
    """`n` samples of each prompt by temperature alone. A sample also ends at any of the `stop` texts."""

    model: str
    prompts: Sequence[list[int]]
    n: int
    max_tokens: int
    temperature: float
    seed: int | None = None
    stop: Sequence[str] = ()


class Rollouts:
    """Samples for the trainer, on the engines that people use.

    At most `idle` sequences at once; while people chat it may be any number from `least` up, as their pace allows, at
    whichever gateway they are.
    """

    def __init__(self, pool: Pool, people: Everybody, idle: int, least: int, wait: float) -> None:
        self._pool, self._people = pool, people
        self._idle, self._least = idle, min(idle, least)
        self._chatting = self._least
        self._steer_at = 0.0
        self._joined_at, self._joined = 0.0, 0
        self._wait = wait
        self.running = 0
        self.waiting = 0

    @property
    def limit(self) -> int:
        """Sequences that may run at once just now."""
        return self._chatting if self._people.chats else self._idle

    @property
    def reason(self) -> str:
        """Why the limit is what it is, in words."""
        if not self._people.chats:
            return f"nobody chats: {self._idle} sequences at once"
        return f"{self._people.chats} answers are being written for people: {self._chatting} sequences at once"

    async def sample(self, wish: Wish) -> list[dict[str, Any]]:
        """All samples, in the prompts' order. Raises ApiError."""
        found = [sample async for sample in self.each(wish)]
        return sorted(found, key=lambda sample: (sample["prompt"], sample["sample"]))

    async def each(self, wish: Wish) -> AsyncGenerator[dict[str, Any]]:
        """The same, each as soon as it has ended, with the natural-log probability of each of its tokens.

        The probabilities are those that were sampled from, after temperature. To be read to its end or closed.
        """
        ended: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        work = asyncio.create_task(self._all(wish, ended))
        try:
            while (sample := await ended.get()) is not None:
                yield sample
            await work
        except BaseExceptionGroup as group:
            refused = group.subgroup(ApiError)
            raise (refused.exceptions[0] if refused is not None else group) from group
        finally:
            await settle([work])

    async def logprobs(self, model: str, sequences: Sequence[dict[str, Any]]) -> list[list[float]]:
        """The natural-log probabilities (temperature 1) of each sequence's completion tokens. Raises ApiError."""
        found: list[list[float]] = []
        await self._people.look()
        for start in range(0, len(sequences), CALL_SEQUENCES):
            part = sequences[start : start + CALL_SEQUENCES]
            async with self._slots(len(part)):
                engine = await self._pool.wait(model, self._deadline(), trainer=True)
                try:
                    found += await completion_logprobs(engine, model, part, ROLLOUT_PRIORITY, CALL_SECONDS)
                except EngineFailed as error:
                    raise _failed(error) from error
        return found

    async def _all(self, wish: Wish, ended: asyncio.Queue[dict[str, Any] | None]) -> None:
        """Ask for every sample, as many at once as may run; into `ended` with each, and None at the end."""
        call = new_id()
        try:
            await self._people.look()
            async with asyncio.TaskGroup() as group:
                for prompt in range(len(wish.prompts)):
                    for sample in range(wish.n):
                        await self._room(1)
                        task = group.create_task(self._one(wish, prompt, sample, call, ended))
                        task.add_done_callback(self._leave)
        finally:
            ended.put_nowait(None)

    async def _one(
        self, wish: Wish, prompt: int, sample: int, call: str, ended: asyncio.Queue[dict[str, Any] | None]
    ) -> None:
        """One sample, on the engine that has its prompt's others, which share a prefix there, unless it has no room."""
        body = {
            "model": wish.model,
            "prompt": wish.prompts[prompt],
            "n": 1,
            "max_tokens": wish.max_tokens,
            # temperature alone: anything else would bias the importance ratio, also what the model's own defaults say
            "temperature": wish.temperature,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logprobs": 0,
            "return_token_ids": True,
            "priority": ROLLOUT_PRIORITY,
        }
        if wish.seed is not None:
            # vLLM adds a sample's number to the seed of a request for several, so these are the samples of such a one
            body["seed"] = (wish.seed + prompt * SEED_STEP + sample) % 2**62
        if wish.stop:
            body["stop"] = list(wish.stop)
        engine = await self._pool.wait(wish.model, self._deadline(), trainer=True, prefix=f"{call} {prompt}")
        try:
            (choice,) = (await engine.complete(body, CALL_SECONDS))["choices"]
            if choice["finish_reason"] in BROKEN_OFF:  # to a trainer that is an answer that was too long
                raise EngineDown(engine.url, f"it broke a sample off (finish_reason {choice['finish_reason']!r})")
            ended.put_nowait({"prompt": prompt, **_sample(sample, choice)})
        except (KeyError, TypeError, ValueError) as error:
            raise _failed(engine.unlike("/v1/completions", error)) from error
        except EngineFailed as error:
            raise _failed(error) from error

    @asynccontextmanager
    async def _slots(self, sequences: int) -> AsyncIterator[None]:
        await self._room(sequences)
        try:
            yield
        finally:
            self.running -= sequences

    async def _room(self, sequences: int) -> None:
        """Wait until so many sequences may run, and count them; more than the limit run alone."""
        self.waiting += 1
        try:
            while not self._fits(sequences):  # noqa: ASYNC110  people signal nothing
                await asyncio.sleep(LOOK_SECONDS)
                self._steer()
        finally:
            self.waiting -= 1
        self.running += sequences
        self._joined += sequences
        self._steer()

    def _fits(self, sequences: int) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._joined_at >= LOOK_SECONDS:
            self._joined_at, self._joined = now, 0
        if self._people.chats and self._joined and self._joined + sequences > JOIN:
            return False
        return not self.running or self.running + sequences <= self.limit

    def _steer(self) -> None:
        """Change the cap for the time that people chat, if it is time to and their answers tell which way."""
        self._people.trainer_asks()
        now = asyncio.get_running_loop().time()
        if not self._people.chats or now < self._steer_at:
            return
        slow, used = self._people.slow, self.running >= self._chatting
        if slow is None or not used:  # what runs below the cap says nothing about it
            return
        if slow and self.running > self._chatting:
            return  # it has fallen already, and what ran before has yet to end
        changed = int(LESS * self._chatting) if slow else self._chatting + MORE
        self._chatting = min(self._idle, max(self._least, changed))
        self._steer_at = now + STEER_SECONDS
        self._people.forget()

    def _leave(self, task: asyncio.Task[None]) -> None:
        self.running -= 1

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._wait


def _sample(number: int, choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "sample": number,
        "token_ids": choice["token_ids"],
        "logprobs": choice["logprobs"]["token_logprobs"],
        "finish_reason": choice["finish_reason"],
    }


def _failed(error: EngineFailed) -> ApiError:
    if isinstance(error, EngineDown):
        return unavailable(str(error))
    refused = error.status is not None and error.status < 500
    return ApiError(400 if refused else 502, str(error), code="engine_error")
