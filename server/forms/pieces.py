"""An engine's chat completion as a row of pieces, the same whether it came in one body or in any number of events.

Reads the first choice only: the other forms of API have no second one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

_GAP = b"\n\n"
_DATA = b"data: "
_DONE = b"data: [DONE]"


@dataclass(frozen=True)
class Begun:
    """The answer's head. `prompt_tokens` where the engine tells them already."""

    model: str
    created: int
    prompt_tokens: int = 0


@dataclass(frozen=True)
class Said:
    part: Literal["thought", "text"]
    text: str


@dataclass(frozen=True)
class Called:
    """A bit of the call of a tool: `id` and `name` come once, the arguments' JSON text in bits."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True)
class Finished:
    """Why it ended; `stop` is the stop sequence that ended it."""

    reason: str
    stop: str | None = None


@dataclass(frozen=True)
class Counts:
    """Tokens. `cached` of the prompt's were read from the engine's cache; `thought` is part of the completion's."""

    prompt: int = 0
    completion: int = 0
    thought: int = 0
    cached: int = 0


@dataclass(frozen=True)
class Failed:
    """The engine says that it can't go on."""

    words: str


@dataclass(frozen=True)
class Ended:
    """Nothing comes after this."""


Piece = Begun | Said | Called | Finished | Counts | Failed | Ended


def of_events(data: bytes) -> Iterator[Piece]:
    """The pieces of whole server-sent events. The head comes with every one of them."""
    for event in data.split(_GAP):
        if event.startswith(_DONE):
            yield Ended()
        elif event.startswith(_DATA):
            yield from _of(orjson.loads(event[len(_DATA) :]), "delta")


def of_body(data: bytes) -> Iterator[Piece]:
    """The pieces of an answer in one piece."""
    yield from _of(orjson.loads(data), "message")
    yield Ended()


def _of(answer: dict[str, Any], part: str) -> Iterator[Piece]:
    if (error := answer.get("error")) is not None:
        yield Failed(str(error.get("message", error)) if isinstance(error, dict) else str(error))
        return
    usage = answer.get("usage") or {}
    yield Begun(answer["model"], answer["created"], usage.get("prompt_tokens") or 0)
    for choice in answer["choices"][:1]:
        words = choice.get(part) or {}
        if text := words.get("reasoning"):
            yield Said("thought", text)
        if text := words.get("content"):
            yield Said("text", text)
        for position, call in enumerate(words.get("tool_calls") or ()):
            function = call.get("function") or {}
            yield Called(
                call.get("index", position), call.get("id") or "", function.get("name") or "",
                function.get("arguments") or "",
            )  # fmt: skip
        if reason := choice.get("finish_reason"):
            stop = choice.get("stop_reason")  # a number is the id of a stop token
            yield Finished(reason, stop if isinstance(stop, str) else None)
    if usage:
        yield Counts(
            usage.get("prompt_tokens") or 0,
            usage.get("completion_tokens") or 0,
            (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
            (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        )
