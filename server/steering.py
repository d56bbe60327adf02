"""What a request says about thinking: whether the model thinks, how much, and whether its client sees the thought.

Clients say it in four dialects (vLLM's, OpenAI's, OpenRouter's, the chat template's own). They are read here once, and
the engine gets one: `chat_template_kwargs.enable_thinking`, `reasoning_effort`, `thinking_token_budget`. Whoever says
off wins; two different efforts or budgets are refused.
"""

from typing import Any

from server.errors import invalid
from server.forms.reading import flag, whole

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
REASONING = frozenset({"effort", "enabled", "max_tokens", "exclude"})
TEMPLATE_ONLY = frozenset({"chat_template", "tokenize"})
"""Template variables that would undo the template itself."""


def steer(body: dict[str, Any]) -> bool:
    """Rewrite `body` in place for the engine; returns whether the client is not to see the thought.

    `include_reasoning` never reaches the engine: without it vLLM would apply a response format to the thought as well.
    Raises ApiError 400 for what can't be understood or contradicts itself.
    """
    include = flag(body.pop("include_reasoning", None), "include_reasoning")
    reasoning = body.pop("reasoning", None) or {}
    if not isinstance(reasoning, dict):
        raise invalid("`reasoning` must be an object", "reasoning")
    for name in reasoning.keys() - REASONING:
        raise invalid(f"reasoning.{name} is not known; expected {', '.join(sorted(REASONING))}", f"reasoning.{name}")
    kwargs = body.get("chat_template_kwargs")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise invalid("`chat_template_kwargs` must be an object", "chat_template_kwargs")
    for name in TEMPLATE_ONLY & (kwargs or {}).keys():
        raise invalid(f"chat_template_kwargs.{name} can't be set by a request", "chat_template_kwargs")

    effort = _one("reasoning_effort", body.pop("reasoning_effort", None), "reasoning.effort", reasoning.get("effort"))
    if effort is not None and effort not in EFFORTS:
        raise invalid(f"reasoning_effort is {effort!r}; expected {', '.join(EFFORTS)}", "reasoning_effort")
    budget = _one(
        "thinking_token_budget", body.pop("thinking_token_budget", None),
        "reasoning.max_tokens", _budget(reasoning.get("max_tokens")),
    )  # fmt: skip
    wishes = [
        flag((kwargs or {}).get("enable_thinking"), "chat_template_kwargs.enable_thinking"),
        flag(reasoning.get("enabled"), "reasoning.enabled"),
        None if effort is None else effort != "none",
        False if budget == 0 else None,
    ]
    if False in wishes:
        body["chat_template_kwargs"] = {**(kwargs or {}), "enable_thinking": False}
    else:
        if True in wishes:
            body["chat_template_kwargs"] = {**(kwargs or {}), "enable_thinking": True}
        if effort is not None:
            body["reasoning_effort"] = effort
        if budget is not None:
            body["thinking_token_budget"] = budget
    return include is False or flag(reasoning.get("exclude"), "reasoning.exclude") is True


def _budget(value: object) -> object:
    if (whole(value, "reasoning.max_tokens") or 0) < 0:
        raise invalid(f"reasoning.max_tokens is {value!r}; expected a number of tokens", "reasoning.max_tokens")
    return value


def _one(name: str, value: object, other: str, again: object) -> object:
    """What two fields say that mean the same."""
    if value is not None and again is not None and value != again:
        raise invalid(f"{name} is {value!r} and {other} is {again!r}: which one?", other)
    return value if value is not None else again
