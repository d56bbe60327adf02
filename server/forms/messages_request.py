"""A request of Anthropic's Messages API, read into a chat completion. Pure: the record and the engine are not asked.

What the API has and a chat completion has not is refused by name, unless leaving it out changes no answer. Fields that
the API does not know go through, as in a chat: `store`, `include_reasoning`, `chat_template_kwargs`, `ruminate`.
"""

from typing import Any

import orjson

from server.errors import invalid
from server.forms.reading import flag, mapping, not_here, objects, only, plain, required, whole, words

HINTS = ("metadata", "cache_control", "inference_geo", "diagnostics", "user_profile_id", "workspace_id")
"""Left out: they are for the platform's bookkeeping."""
ONLY: dict[str, tuple[object, ...]] = {
    "service_tier": ("auto", "standard_only"), "speed": ("standard",), "container": (), "mcp_servers": ([],),
    "n": (1,), "logprobs": (False,), "top_logprobs": (0,), "input": (),
}  # fmt: skip
WHY = {
    "container": "nothing runs here but the model",
    "mcp_servers": "servers of tools are called by clients, not from here; send their tools as tools",
    "logprobs": "log-probabilities are given by /v1/chat/completions",
    "top_logprobs": "log-probabilities are given by /v1/chat/completions",
    "input": "this route takes `messages`; /v1/responses takes `input`",
}
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
FAILED = "The tool failed."
FORGETS = "clear_thinking_20251015"
"""The one edit of the context that changes nothing here: a model is shown no earlier thoughts anyway."""
BILLING = "x-anthropic-billing-header"
"""How a block of Claude Code's begins that is another one in every request: it would part each from its history."""


def read(given: dict[str, Any]) -> dict[str, Any]:
    """Raises ApiError 400 with the field that is wrong."""
    whole(required(given, "max_tokens"), "max_tokens")
    body = conversation(given)
    if body["messages"][-1]["role"] == "assistant":
        raise not_here("messages", "the last one is the assistant's; an answer can't be begun for it here")
    if (stop := body.pop("stop_sequences", None)) is not None:
        body["stop"] = stop
    if flag(body.get("stream"), "stream"):
        body["stream_options"] = {"continuous_usage_stats": True}  # a message begins with the count of its prompt
    return body


def conversation(given: dict[str, Any]) -> dict[str, Any]:
    """What is said and how it is to be thought about: what counting tokens needs as well."""
    body = dict(given)
    for name in HINTS:
        body.pop(name, None)
    only(body, ONLY, WHY)
    _edits(body.pop("context_management", None))
    said = objects(required(body, "messages"), "messages")
    if not said:
        raise invalid("`messages` must be a list with at least one message", "messages")
    messages = _system(body.pop("system", None))
    for index, message in enumerate(said):
        messages += _message(message, f"messages[{index}]")
    body["messages"] = messages
    body |= _thinking(body.pop("thinking", None), body)
    body |= _output(body.pop("output_config", None), body.pop("output_format", None))
    body |= _tools(body.pop("tools", None), body.pop("tool_choice", None))
    return body


def _edits(given: object) -> None:
    place = "context_management.edits"
    for index, edit in enumerate(objects(mapping(given, "context_management").get("edits"), place)):
        if edit.get("type") != FORGETS:
            why = "the context is not edited here; send what the model is to read"
            raise not_here(f"{place}[{index}].type", f"{edit.get('type')!r}: {why}")


def _system(given: object) -> list[dict[str, Any]]:
    if given is None or given == "":
        return []
    said = given if isinstance(given, str) else _joined(given, "system")
    return [{"role": "system", "content": said}] if said else []


def _joined(given: object, place: str) -> str:
    texts = []
    for index, block in enumerate(objects(given, place)):
        if block.get("type") != "text":
            raise not_here(f"{place}[{index}].type", f"{block.get('type')!r} is not offered here; text is")
        texts.append(words(block.get("text"), f"{place}[{index}].text"))
    return "\n".join(text for text in texts if not text.startswith(BILLING))


def _message(message: dict[str, Any], place: str) -> list[dict[str, Any]]:
    """A message is one of a chat's; results of tools in it are messages of their own before it."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{place}.role is {role!r}; expected user, assistant", f"{place}.role")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = objects(content, f"{place}.content")
    if content == [] and role == "assistant":  # an answer whose thought was hidden, cut off in it
        return [{"role": role, "content": ""}]
    if not blocks:
        raise invalid(f"{place}.content must be text or a list with at least one block", f"{place}.content")
    if role == "system":
        return [{"role": role, "content": _joined(blocks, f"{place}.content")}]
    return _assistant(blocks, f"{place}.content") if role == "assistant" else _user(blocks, f"{place}.content")


def _user(blocks: list[dict[str, Any]], place: str) -> list[dict[str, Any]]:
    results, parts = [], []
    for index, block in enumerate(blocks):
        at = f"{place}[{index}]"
        if block.get("type") == "tool_result":
            said = block.get("content")
            told = [{"type": "text", "text": said}] if isinstance(said, str) else _parts(said, f"{at}.content")
            if flag(block.get("is_error"), f"{at}.is_error"):
                told = _as_error(told)
            call = words(block.get("tool_use_id"), f"{at}.tool_use_id")
            results.append({"role": "tool", "tool_call_id": call, "content": plain(told) or ""})
        else:
            parts.append(_part(block, at))
    return [*results, {"role": "user", "content": plain(parts)}] if parts else results


def _as_error(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The result of a tool that failed: a chat completion has no field for that, so the model is told in words."""
    if not parts or parts[0]["type"] != "text":
        return [{"type": "text", "text": FAILED}, *parts]
    return [{"type": "text", "text": f"{FAILED}\n{parts[0]['text']}"}, *parts[1:]]


def _parts(given: object, place: str) -> list[dict[str, Any]]:
    return [_part(block, f"{place}[{index}]") for index, block in enumerate(objects(given, place))]


def _part(block: dict[str, Any], at: str) -> dict[str, Any]:
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": words(block.get("text"), f"{at}.text")}
    if kind != "image":
        raise not_here(f"{at}.type", f"{kind!r} is not offered here; text, image, tool_use and tool_result are")
    source = mapping(block.get("source"), f"{at}.source")
    if source.get("type") == "url":
        url = words(source.get("url"), f"{at}.source.url")
    elif source.get("type") == "base64":
        data = words(source.get("data"), f"{at}.source.data")
        url = f"data:{words(source.get('media_type'), f'{at}.source.media_type')};base64,{data}"
    else:
        raise not_here(f"{at}.source.type", f"{source.get('type')!r} is not offered here; expected base64, url")
    return {"type": "image_url", "image_url": {"url": url}}


def _assistant(blocks: list[dict[str, Any]], place: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thought = ""
    for index, block in enumerate(blocks):
        at = f"{place}[{index}]"
        if block.get("type") == "thinking":
            thought += words(block.get("thinking"), f"{at}.thinking")
        elif block.get("type") == "tool_use":
            call = {"name": words(block.get("name"), f"{at}.name")}
            call["arguments"] = orjson.dumps(mapping(block.get("input"), f"{at}.input")).decode()
            calls.append({"id": words(block.get("id"), f"{at}.id"), "type": "function", "function": call})
        elif block.get("type") != "redacted_thinking":  # another house's, which nobody here can read
            parts.append(_part(block, at))
    message: dict[str, Any] = {"role": "assistant", "content": plain(parts) if parts else None}
    if thought:
        message["reasoning"] = thought
    if calls:
        message["tool_calls"] = calls
    return [message]


def _thinking(given: object, body: dict[str, Any]) -> dict[str, Any]:
    thinking = mapping(given, "thinking")
    if not thinking:
        return {}
    kind = thinking.get("type")
    reasoning = dict(mapping(body.get("reasoning"), "reasoning"))
    if kind == "disabled":
        reasoning["enabled"] = False
    elif kind == "enabled":
        reasoning |= {"enabled": True, "max_tokens": _budget(thinking.get("budget_tokens"), body.get("max_tokens"))}
    elif kind != "adaptive":
        raise not_here("thinking.type", f"{kind!r} is not offered here; expected enabled, disabled, adaptive")
    display = thinking.get("display") or "summarized"
    if display not in ("summarized", "omitted"):
        raise not_here("thinking.display", f"{display!r} is not offered here; expected summarized, omitted")
    if display == "omitted":
        reasoning["exclude"] = True
    return {"reasoning": reasoning} if reasoning else {}


def _budget(budget: object, most: object) -> int:
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise invalid(f"thinking.budget_tokens is {budget!r}; expected a number of tokens", "thinking.budget_tokens")
    if isinstance(most, int) and budget >= most:
        message = f"thinking.budget_tokens is {budget}; it must be less than max_tokens, which is {most}"
        raise invalid(message, "thinking.budget_tokens")
    return budget


def _output(given: object, older: object) -> dict[str, Any]:
    """`older`: the format alone, under the name that it had in the beta."""
    config = mapping(given, "output_config")
    found: dict[str, Any] = {}
    if config.get("effort") is not None:
        found["reasoning_effort"] = config["effort"]
    wanted, earlier = mapping(config.get("format"), "output_config.format"), mapping(older, "output_format")
    if wanted and earlier and wanted != earlier:
        raise invalid("output_format and output_config.format say different things: which one?", "output_format")
    wanted = wanted or earlier
    if wanted:
        if wanted.get("type") != "json_schema":
            raise not_here("output_config.format.type", f"{wanted.get('type')!r} is not offered; expected json_schema")
        schema = {"name": "answer", "schema": mapping(wanted.get("schema"), "output_config.format.schema")}
        found["response_format"] = {"type": "json_schema", "json_schema": schema}
    return found


def _tools(given: object, wanted: object) -> dict[str, Any]:
    tools = []
    for index, tool in enumerate(objects(given, "tools")):
        if tool.get("type") not in (None, "custom"):
            raise not_here(f"tools[{index}].type", f"{tool.get('type')!r} runs elsewhere; send tools with a schema")
        function: dict[str, Any] = {"name": words(tool.get("name"), f"tools[{index}].name")}
        function["parameters"] = mapping(tool.get("input_schema"), f"tools[{index}].input_schema")
        function |= {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
        tools.append({"type": "function", "function": function})
    choice = mapping(wanted, "tool_choice")
    if not tools:
        return {}
    found: dict[str, Any] = {"tools": tools}
    if choice.get("type") == "tool":
        name = words(choice.get("name"), "tool_choice.name")
        found["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif choice:
        if choice.get("type") not in tuple(CHOICES):
            raise not_here("tool_choice.type", f"{choice.get('type')!r} is not known; expected auto, any, tool, none")
        found["tool_choice"] = CHOICES[choice["type"]]
    if choice.get("disable_parallel_tool_use") is True:
        found["parallel_tool_calls"] = False
    return found
