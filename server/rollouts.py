"""The trainer's use of the engines: samples and log-probabilities by token ids, in the time that people leave.

vLLM's priorities order waiting requests only; what runs already slows every token of a chat. So the number of sequences
that are sampled at once is capped here, and the cap is lower while answers are being written for people.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from server.asking import ROLLOUT_PRIORITY
from server.engine import EngineDown, EngineFailed
from server.errors import ApiError, unavailable
from server.pool import Pool
from server.probe import CALL_SEQUENCES, completion_logprobs

CALL_SECONDS = 600.0  # one group of long thoughts on a small machine, behind people
LOOK_SECONDS = 0.05  # how soon those who wait notice that people have gone
SEED_STEP = 1_000_003  # between the prompts of one call: equal prompts must not get equal samples


class Rollouts:
    """Samples for the trainer, on the engines that people use."""

    def __init__(self, pool: Pool, idle: int, chatting: int, wait: float) -> None:
        self._pool = pool
        self._idle, self._chatting = idle, min(idle, chatting)
        self._wait = wait
        self.running = 0
        self.waiting = 0

    @property
    def limit(self) -> int:
        """Sequences that may run at once just now."""
        return self._chatting if self._pool.chats else self._idle

    @property
    def reason(self) -> str:
        """Why the limit is what it is, in words."""
        if not self._pool.chats:
            return f"nobody chats: {self._idle} sequences at once"
        return f"{self._pool.chats} answers are being written for people: {self._chatting} sequences at once"

    async def sample(
        self, model: str, prompts: Sequence[list[int]], n: int, max_tokens: int, temperature: float, seed: int | None
    ) -> list[dict[str, Any]]:
        """`n` samples of each prompt by temperature alone, with the natural-log probability of each sampled token.

        The probabilities are those that were sampled from, after temperature. Raises ApiError.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._group(model, prompt, n, max_tokens, temperature, _seed(seed, index)))
                for index, prompt in enumerate(prompts)
            ]
        return [
            {"prompt": index, **sample}
            for index, task in enumerate(tasks)
            for sample in sorted(task.result(), key=lambda sample: sample["sample"])
        ]

    async def logprobs(self, model: str, sequences: Sequence[dict[str, Any]]) -> list[list[float]]:
        """The natural-log probabilities (temperature 1) of each sequence's completion tokens. Raises ApiError."""
        found: list[list[float]] = []
        for start in range(0, len(sequences), CALL_SEQUENCES):
            part = sequences[start : start + CALL_SEQUENCES]
            async with self._slots(len(part)):
                engine = await self._pool.wait(model, self._deadline(), trainer=True)
                try:
                    found += await completion_logprobs(engine, model, part, ROLLOUT_PRIORITY, CALL_SECONDS)
                except EngineFailed as error:
                    raise _failed(error) from error
        return found

    async def _group(
        self, model: str, prompt: list[int], n: int, max_tokens: int, temperature: float, seed: int | None
    ) -> list[dict[str, Any]]:
        body = {
            "model": model,
            "prompt": prompt,
            "n": n,
            "max_tokens": max_tokens,
            # temperature alone: anything else would bias the importance ratio, also what the model's own defaults say
            "temperature": temperature,
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
        if seed is not None:
            body["seed"] = seed
        async with self._slots(n):
            engine = await self._pool.wait(model, self._deadline(), trainer=True)
            try:
                choices = (await engine.complete(body, CALL_SECONDS))["choices"]
                return [_sample(choice) for choice in choices]
            except (KeyError, TypeError) as error:
                raise _failed(engine.unlike("/v1/completions", error)) from error
            except EngineFailed as error:
                raise _failed(error) from error

    @asynccontextmanager
    async def _slots(self, sequences: int) -> AsyncIterator[None]:
        """Wait until so many sequences may run; a group larger than the limit runs alone."""
        self.waiting += 1
        try:
            while self.running and self.running + sequences > self.limit:  # noqa: ASYNC110  people signal nothing
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self.waiting -= 1
        self.running += sequences
        try:
            yield
        finally:
            self.running -= sequences

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._wait


def _seed(seed: int | None, index: int) -> int | None:
    return None if seed is None else (seed + index * SEED_STEP) % 2**62


def _sample(choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "sample": choice["index"],
        "token_ids": choice["token_ids"],
        "logprobs": choice["logprobs"]["token_logprobs"],
        "finish_reason": choice["finish_reason"],
    }


def _failed(error: EngineFailed) -> ApiError:
    if isinstance(error, EngineDown):
        return unavailable(str(error))
    refused = error.status is not None and error.status < 500
    return ApiError(400 if refused else 502, str(error), code="engine_error")
