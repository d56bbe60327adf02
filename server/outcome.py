"""What an answer was, read once after it ended: its words, how it ended, its tokens. Off the path of the bytes.

Reads the engine's own forms (chat and text completions, streamed and not); thought and response come already separated
from the engine's parser.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import orjson

from thinking.format import ThinkingFormat
from thinking.splitter import Ending

UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError)
"""What reading an engine's words raises where they are not what vLLM says."""
BROKEN_OFF = ("abort", "error")
"""How an answer of vLLM ends that it gave up while its client still listened, as one that is being stopped does."""
_BEGUN = re.compile(rb'"content":"(?!")|"tool_calls":\[\{')
"""As vLLM writes them. Neither can stand inside a JSON string, where a quote is escaped."""


@dataclass
class Choice:
    """One of the `n` answers to a request."""

    reasoning: list[str] = field(default_factory=list)
    response: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    stop: str | int | None = None  # the text, or the token, of those to stop at which ended it
    tool_calls: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Outcome:
    """All that an engine said in answer to one request. `error` is set when it said that it failed; `lost`: it died.

    `garbled` says what of a stream could not be read.
    """

    choices: list[Choice] = field(default_factory=list)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    error: str | None = None
    lost: bool = False
    garbled: str | None = None

    @property
    def tokens(self) -> int:
        """What it cost: as the engine counts, or about as many as pieces came before it was broken off."""
        pieces = sum(len(choice.reasoning) + len(choice.response) for choice in self.choices)
        return (self.prompt_tokens or 0) + (pieces if self.completion_tokens is None else self.completion_tokens)

    @property
    def broken_off(self) -> bool:
        """Whether the engine gave it up: neither the request nor the weights ended it."""
        return any(choice.finish_reason in BROKEN_OFF for choice in self.choices)

    def choice(self, index: int) -> Choice:
        while len(self.choices) <= index:
            self.choices.append(Choice())
        return self.choices[index]


@dataclass(frozen=True)
class Times:
    """When the first piece of an answer came, and when its thought ended; None: not known."""

    first: datetime | None = None
    thought_ended: datetime | None = None


def ending_of(reasoning: str, response: str, finish_reason: str | None, calls_tools: bool = False) -> str:
    """How an answer ended that the engine's parser has split already. A value of `thinking.Ending`."""
    if finish_reason not in ("stop", "tool_calls"):
        return Ending.TRUNCATED_RESPONSE if response or calls_tools else Ending.TRUNCATED_THOUGHT
    if not response and not calls_tools:
        return Ending.MALFORMED
    return Ending.COMPLETE if reasoning else Ending.NO_THOUGHT


def read_stream(chunks: Iterable[bytes]) -> Outcome:
    """The outcome of a stream of server-sent events, in pieces of any size: of all that can be read."""
    outcome = Outcome()
    *events, cut = b"".join(chunks).split(b"\n\n")  # the last one is empty, or was cut off
    for piece in _parsed([event[6:] for event in events if event.startswith(b"data: {")], cut, outcome):
        try:
            _take(outcome, piece, "delta")
        except UNREADABLE as error:
            outcome.garbled = unreadable(error)
    return outcome


def read_timed(said: Sequence[bytes], came: Sequence[float], first_at: datetime) -> tuple[Outcome, Times]:
    """The same, with when its parts began; `came` is when each piece did, on a clock that only goes forward."""
    outcome = read_stream(said)
    return outcome, Times(first_at, thought_ended(outcome, said, came, first_at))


def response_begins(chunks: Sequence[bytes]) -> int | None:
    """Which piece of a stream has the first of the response: words, or the call of a tool. None where none has."""
    found = _BEGUN.search(b"".join(chunks))
    if found is None:
        return None
    for index, end in enumerate(accumulate(map(len, chunks))):
        if found.start() < end:
            return index
    return None


def thought_ended(
    outcome: Outcome, said: Sequence[bytes], came: Sequence[float], first_at: datetime
) -> datetime | None:
    """When the response of a streamed answer began, by when its pieces came. Several choices come mixed: None."""
    if len(outcome.choices) != 1 or not outcome.choices[0].reasoning:
        return None
    at = response_begins(said)
    return None if at is None else first_at + timedelta(seconds=came[at] - came[0])


def _parsed(events: list[bytes], cut: bytes, outcome: Outcome) -> Iterator[dict[str, Any]]:
    """All of them at once, as one list; one by one where one can't be read. `cut` was cut off at its end, if not of
    its words: the engine died, or the client left."""
    try:
        yield from orjson.loads(b"[" + b",".join(events) + b"]")
    except orjson.JSONDecodeError:
        for event in events:
            try:
                yield orjson.loads(event)
            except orjson.JSONDecodeError as error:
                outcome.garbled = unreadable(error)
    if cut.startswith(b"data: {"):
        with suppress(orjson.JSONDecodeError):
            yield orjson.loads(cut[6:])


def unreadable(error: Exception) -> str:
    """In words, what `error` says of an engine's answer."""
    return f"the engine's answer is not what vLLM answers ({error!r})"


def read_body(body: bytes) -> Outcome:
    """The outcome of an answer in one piece; one that can't be read is an error."""
    outcome = Outcome()
    try:
        _take(outcome, orjson.loads(body), "message")
    except UNREADABLE as error:
        return Outcome(error=unreadable(error))
    if not outcome.choices and outcome.error is None:
        return Outcome(error="the engine's answer is not what vLLM answers (it has no choices)")
    return outcome


def split_texts(outcome: Outcome, fmt: ThinkingFormat) -> None:
    """For raw text completions, which no parser has split: put thought and response apart, in place."""
    for choice in outcome.choices:
        parsed = fmt.parse("".join(choice.response), finished=choice.finish_reason == "stop")
        choice.reasoning, choice.response = [parsed.reasoning], [parsed.response]


def _take(outcome: Outcome, piece: dict[str, Any], part: str) -> None:
    if (error := piece.get("error")) is not None:
        outcome.error = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        return
    if usage := piece.get("usage"):
        outcome.prompt_tokens = _count(usage.get("prompt_tokens"))
        outcome.completion_tokens = _count(usage.get("completion_tokens"))
        outcome.reasoning_tokens = _count((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))
    for said in piece.get("choices", ()):
        choice = outcome.choice(said["index"])
        if reason := _text(said.get("finish_reason")):
            choice.finish_reason, choice.stop = reason, said.get("stop_reason")
        if text := _text(said.get("text")):
            choice.response.append(text)
        words = said.get(part) or {}
        if text := _text(words.get("reasoning")):
            choice.reasoning.append(text)
        if text := _text(words.get("content")):
            choice.response.append(text)
        for call in words.get("tool_calls") or ():
            _add_call(choice.tool_calls, call)


def _count(given: Any) -> int | None:
    """A number of tokens; None for what is none, as below 0: an answer is not lost for a count that went wrong."""
    return given if isinstance(given, int) and given >= 0 else None


def _text(given: Any) -> str:
    """What is said; nothing is an empty text. Raises TypeError for what is no text."""
    if given is not None and not isinstance(given, str):
        raise TypeError(f"{type(given).__name__} where a text is due")
    return given or ""


def _add_call(calls: list[dict[str, Any]], call: dict[str, Any]) -> None:
    """Tool calls are streamed in pieces: a name once, its arguments bit by bit."""
    index = call.get("index", len(calls))
    while len(calls) <= index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    whole = calls[index]
    whole["id"] = call.get("id") or whole["id"]
    function = call.get("function") or {}
    whole["function"]["name"] += function.get("name") or ""
    whole["function"]["arguments"] += function.get("arguments") or ""
