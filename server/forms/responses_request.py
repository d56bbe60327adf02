"""A request of OpenAI's Responses API, read into a chat completion. Pure: the record and the engine are not asked.

What the API has and a chat completion has not is refused by name, unless leaving it out changes no answer. Fields that
the API does not know go through, as in a chat: sampling of vLLM's, `chat_template_kwargs`, `ruminate`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from server.errors import invalid
from server.forms.reading import mapping, not_here, objects, only, plain, required, whole, words

HINTS = ("metadata", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier", "user",
         "stream_options", "max_tool_calls")  # fmt: skip
"""Left out: they are for the platform's bookkeeping, or bound tools that run there."""
ONLY: dict[str, tuple[object, ...]] = {
    "background": (False,), "truncation": ("disabled",), "service_tier": ("auto", "default"), "conversation": (),
    "prompt": (), "n": (1,), "top_logprobs": (0,), "logprobs": (False,), "messages": (), "context_management": ([],),
    "moderation": (),
}  # fmt: skip
WHY = {
    "background": "answers are written while the client waits; send it without",
    "conversation": "use previous_response_id, or ruminate.conversation_id for a conversation of this house",
    "prompt": "stored prompts are not kept here; send instructions and input",
    "top_logprobs": "log-probabilities are given by /v1/chat/completions",
    "logprobs": "log-probabilities are given by /v1/chat/completions",
    "messages": "this route takes `input`; /v1/chat/completions takes `messages`",
}
SUMMARIES = ("summary", "generate_summary")
"""Of `reasoning`: the thought is given in full, so there is no summary to choose."""
REASONING: dict[str, tuple[object, ...]] = {"context": ("auto", "current_turn"), "mode": ("standard",)}


@dataclass(frozen=True)
class Read:
    """`body` is the chat completion. With `previous` (an answer's id) its messages go on from that answer's; the first
    of them stays first where it is `instructed`."""

    body: dict[str, Any]
    previous: str | None
    instructed: bool


def read(given: dict[str, Any]) -> Read:
    """Raises ApiError 400 with the field that is wrong."""
    body = dict(given)
    for name in HINTS:
        body.pop(name, None)
    only(body, ONLY, WHY)
    if "logprobs" in str(body.pop("include", None)):
        raise not_here("include", WHY["logprobs"])
    messages = list(_instructions(body.pop("instructions", None)))
    instructed = bool(messages)
    messages += _messages(required(body, "input"))
    del body["input"]
    body["messages"] = messages
    if (most := whole(body.pop("max_output_tokens", None), "max_output_tokens")) is not None:
        body["max_completion_tokens"] = most
    body |= _reasoning(body.pop("reasoning", None)) | _text(body.pop("text", None))
    body |= _tools(body.pop("tools", None), body.pop("tool_choice", None))
    previous = body.pop("previous_response_id", None)
    return Read(body, None if previous is None else words(previous, "previous_response_id"), instructed)


def _instructions(given: object) -> Iterator[dict[str, Any]]:
    if given is not None and given != "":
        yield {"role": "system", "content": words(given, "instructions")}


def _messages(given: object) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not given:
        raise invalid("`input` must be text or a list with at least one item", "input")
    messages: list[dict[str, Any]] = []
    thought = ""
    for index, item in enumerate(objects(given, "input")):
        place = f"input[{index}]"
        kind = item.get("type") or "message"
        if kind == "reasoning":
            thought += _thought(item, place)
            continue
        if kind == "function_call":
            call = {"name": words(item.get("name"), f"{place}.name")}
            call["arguments"] = words(item.get("arguments"), f"{place}.arguments")
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            calls = messages[-1].setdefault("tool_calls", [])
            call_id = words(item.get("call_id"), f"{place}.call_id")
            calls.append({"id": call_id, "type": "function", "function": call})
        elif kind == "function_call_output":
            content = _content(item.get("output"), f"{place}.output")
            call_id = words(item.get("call_id"), f"{place}.call_id")
            messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
        elif kind == "message":
            role = words(item.get("role"), f"{place}.role")
            content = _content(item.get("content"), f"{place}.content")
            messages.append({"role": "system" if role == "developer" else role, "content": content})
        else:
            raise not_here(f"{place}.type", f"{kind!r} is not offered here; messages, reasoning and function calls are")
        if thought and messages[-1]["role"] == "assistant":
            messages[-1]["reasoning"] = thought
        thought = ""
    if not messages:
        raise invalid("`input` has nothing but thoughts; it must say something", "input")
    return messages


def _thought(item: dict[str, Any], place: str) -> str:
    """Its words; an encrypted thought, which another house wrote, has none."""
    parts = objects(item.get("content"), f"{place}.content") or objects(item.get("summary"), f"{place}.summary")
    return "".join(words(part.get("text"), f"{place}.content") for part in parts)


def _content(given: object, place: str) -> str | list[dict[str, Any]]:
    if isinstance(given, str):
        return given
    parts: list[dict[str, Any]] = []
    for index, part in enumerate(objects(given, place)):
        kind = part.get("type")
        at = f"{place}[{index}]"
        if kind in ("input_text", "output_text", "text"):
            parts.append({"type": "text", "text": words(part.get("text"), f"{at}.text")})
        elif kind == "refusal":
            parts.append({"type": "text", "text": words(part.get("refusal"), f"{at}.refusal")})
        elif kind == "input_image":
            if part.get("image_url") is None:
                raise not_here(f"{at}.file_id", "files are not kept here; send the image as image_url")
            image = {"url": words(part["image_url"], f"{at}.image_url")}
            if part.get("detail") in ("low", "high"):
                image["detail"] = part["detail"]
            parts.append({"type": "image_url", "image_url": image})
        else:
            raise not_here(f"{at}.type", f"{kind!r} is not offered here; input_text and input_image are")
    if not parts:
        raise invalid(f"{place} must be text or a list with at least one part", place)
    return plain(parts)


def _reasoning(given: object) -> dict[str, Any]:
    reasoning = dict(mapping(given, "reasoning"))
    for name in SUMMARIES:
        reasoning.pop(name, None)
    only(reasoning, REASONING, {}, "reasoning.")
    return {"reasoning": reasoning} if reasoning else {}


def _text(given: object) -> dict[str, Any]:
    text = dict(mapping(given, "text"))
    wanted = mapping(text.pop("format", None), "text.format")
    only(text, {"verbosity": ("medium",)}, {"verbosity": "the models here know none; say it in words"}, "text.")
    kind = wanted.get("type", "text")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if kind != "json_schema":
        raise not_here("text.format.type", f"{kind!r} is not offered here; expected text, json_object, json_schema")
    return {"response_format": {"type": kind, "json_schema": {k: v for k, v in wanted.items() if k != "type"}}}


def _tools(given: object, choice: object) -> dict[str, Any]:
    tools = []
    for index, tool in enumerate(objects(given, "tools")):
        if tool.get("type") != "function":
            raise not_here(f"tools[{index}].type", f"{tool.get('type')!r} is not offered here; function tools are")
        words(tool.get("name"), f"tools[{index}].name")
        known = ("name", "description", "parameters", "strict")
        function = {name: tool[name] for name in known if tool.get(name) is not None}
        tools.append({"type": "function", "function": function})
    found: dict[str, Any] = {"tools": tools} if tools else {}
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise not_here("tool_choice.type", f"{choice.get('type')!r} is not offered here; expected function")
        choice = {"type": "function", "function": {"name": words(choice.get("name"), "tool_choice.name")}}
    if tools and choice is not None:
        found["tool_choice"] = choice
    return found
