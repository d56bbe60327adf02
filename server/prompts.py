"""How long a prompt may be, where house or key say less than the engines take: counted by an engine before it answers.

A token has at least one byte, so a text that has no more bytes than tokens are allowed needs no counting; nor do ids.
"""

from collections.abc import Callable
from typing import Any

import orjson

from server.asking import Ask
from server.catalog import Weights
from server.errors import ApiError, invalid
from server.limiting import Own, lesser
from server.relay import Answer, Relay, garbled

TOLD = ("tools", "chat_template_kwargs", "add_special_tokens", "add_generation_prompt", "continue_final_message")
"""What beside messages or prompt tells which tokens a request has."""


class Longest:
    """`most`: tokens of a prompt, its history included, of every key; 0 is no limit."""

    def __init__(self, relay: Relay, most: int) -> None:
        self._relay, self._most = relay, most

    async def check(self, ask: Ask, own: Own, weights: Weights, moved: Callable[[], bool]) -> None:
        """Raises ApiError 400 for a prompt that is too long, and what asking an engine raises. `own`: the key's."""
        most = lesser(self._most, own.prompt_tokens)
        if not most:
            return
        for prompt in _prompts(ask):
            count = len(prompt) if isinstance(prompt, list) else await self._count(prompt, most, weights, moved)
            if count > most:
                message = f"the prompt has {count} tokens, its history included; at most {most} are taken here"
                field = "messages" if ask.kind == "chat" else "prompt"
                raise ApiError(400, message, code="context_length_exceeded", param=field)

    async def _count(self, prompt: dict[str, Any], most: int, weights: Weights, moved: Callable[[], bool]) -> int:
        """Its tokens, or 0 where they are surely no more than `most`."""
        raw = orjson.dumps(prompt | {"model": weights.asked_as})
        if len(raw) <= most and b'"image' not in raw:  # the template's own tokens are fewer than JSON's bytes
            return 0
        answer = await self._relay.begin("/tokenize", raw, weights.model, False, moved)
        try:
            return count_of(answer)
        finally:
            answer.close()


def count_of(answer: Answer) -> int:
    """How many tokens an engine counted. Raises ApiError 502 where it does not say."""
    try:
        return int(answer.read()["count"])
    except (KeyError, TypeError, ValueError) as error:
        raise garbled(answer.engine, error) from error


def _prompts(ask: Ask) -> list[Any]:
    """Bodies to be counted, or lists of token ids."""
    told = {name: ask.body[name] for name in TOLD if name in ask.body}
    if ask.kind == "chat":
        return [told | {"messages": ask.body["messages"]}]
    given = ask.body["prompt"]
    several = given if isinstance(given, list) and not _are_ids(given) else [given]
    if not all(isinstance(one, str) or _are_ids(one) for one in several):
        raise invalid("`prompt` must be text, token ids, or a list of texts or of lists of token ids", "prompt")
    return [{"prompt": one} if isinstance(one, str) else one for one in several]


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= {int}
