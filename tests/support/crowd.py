"""Clients that stream greedy answers, alone and as a crowd, and what each of them saw."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai import DefaultHttpxClient, OpenAI

PROMPTS = Path(__file__).parents[2] / "models" / "tiny" / "prompts"
PATIENCE_SECONDS = 240  # of a crowd on a machine that has other things to do; nothing waits this long otherwise


def prompts(name: str, count: int) -> list[list[Any]]:
    """The first `count` conversations of the embedded model's prompts: of "train", or of "heldout"."""
    lines = (PROMPTS / f"{name}.jsonl").read_text().splitlines()[:count]
    return [json.loads(line)["messages"] for line in lines]


@dataclass
class Answer:
    """One greedy answer as a client saw it. `models`: all that its pieces named."""

    base_url: str
    prompt: int
    model: str
    reasoning: str
    content: str
    models: set[str] = field(default_factory=set)

    @property
    def text(self) -> tuple[str, str]:
        return self.reasoning, self.content


def client_of(base_url: str) -> OpenAI:
    """A client that hides no failure by asking again."""
    return OpenAI(
        base_url=f"{base_url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_SECONDS,
        http_client=DefaultHttpxClient(verify=False),  # certificates take long to read
    )  # fmt: skip


def ask(client: OpenAI, model: str, messages: list[Any], number: int, max_tokens: int = 300, **extra: Any) -> Answer:
    """Stream one greedy answer. `number` is the prompt's, kept in the answer."""
    reasoning = content = ""
    models: set[str] = set()
    stream = client.chat.completions.create(
        model=model, messages=messages, stream=True, temperature=0, max_tokens=max_tokens, extra_body=extra
    )
    for chunk in stream:
        models.add(chunk.model)
        if chunk.choices:
            delta = chunk.choices[0].delta
            reasoning += getattr(delta, "reasoning", None) or ""
            content += delta.content or ""
    return Answer(str(client.base_url).removesuffix("/v1/"), number, min(models), reasoning, content, models)


class Crowd:
    """`size` clients, spread over the gateways `base_urls`, that stream until the block ends.

    Each asks again at once, or once it has read for so many seconds. Every answer and every error is kept. `wish`: what
    each request has besides.
    """

    def __init__(
        self, base_urls: Sequence[str], questions: list[list[Any]], size: int, reads: float = 0.0, **wish: Any
    ) -> None:
        self.answers: list[Answer] = []
        self.errors: list[str] = []
        self._questions, self._reads, self._wish = questions, reads, wish
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._stream, args=(base_urls[n % len(base_urls)], n), daemon=True)
            for n in range(size)
        ]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=PATIENCE_SECONDS)
        self.errors += ["a client never came to the end of its answer" for one in self._threads if one.is_alive()]

    def wait_until(self, seen: Callable[[list[Answer]], bool], since: int = 0) -> None:
        """Return once `seen` holds for the answers after the first `since`. An error of any client ends the wait."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not seen(self.answers[since:]):
            assert not self.errors, self.errors
            assert time.monotonic() < deadline, f"not seen in {len(self.answers) - since} answers"
            time.sleep(0.05)

    def _stream(self, base_url: str, number: int) -> None:
        client = client_of(base_url)
        while not self._stop.is_set():
            number = (number + 1) % len(self._questions)
            try:
                self.answers.append(ask(client, "ruminate", self._questions[number], number, **self._wish))
            except Exception as error:  # noqa: BLE001 - any failure of any kind is what a crowd is there to see
                self.errors.append(f"{type(error).__name__}: {error}")
            self._stop.wait(self._reads)


def alone(crowd: Crowd, questions: list[list[Any]], base_url: str, **wish: Any) -> dict[tuple[str, int], Answer]:
    """What each checkpoint that wrote in the crowd writes to the same questions with nobody beside."""
    client = client_of(base_url)
    asked = sorted({(answer.model, answer.prompt) for answer in crowd.answers})
    return {(model, n): ask(client, model, questions[n], n, **wish) for model, n in asked}


def not_as_alone(crowd: Crowd, written_alone: dict[tuple[str, int], Answer]) -> list[Answer]:
    """The crowd's answers that are not, word for word, what their checkpoint writes alone, or that name two."""
    return [
        answer
        for answer in crowd.answers
        if len(answer.models) != 1 or answer.text != written_alone[answer.model, answer.prompt].text
    ]
