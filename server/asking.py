"""A request as users send it, made into what the engine gets: checked where the gateway must, otherwise left alone.

The engine checks the rest and its words are passed on. Fields that only this house may set are refused; unknown ones go
through.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import orjson

from server.errors import ApiError, invalid
from server.forms.reading import flag, whole
from server.steering import steer

Kind = Literal["chat", "text"]
PATHS: dict[Kind, str] = {"chat": "/v1/chat/completions", "text": "/v1/completions"}

SERVICE_ONLY = frozenset(
    {"priority", "cache_salt", "kv_transfer_params", "ec_transfer_params", "vllm_xargs", "request_id", "session_id"}
    | {"chat_template", "prompt_embeds", "lora_name", "lora_path", "lora_request", "data_parallel_rank"}
    | {"logits_processors", "logits_processor_pattern", "media_io_kwargs", "mm_processor_kwargs"}
)
"""Refused from users: they would change another's place in the queue, read another's cache, or undo the template that
neutralises markers which people type, or run what they name inside the engine."""

SAMPLING = (
    *(
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "max_completion_tokens",
        "seed",
        "stop",
        "stop_token_ids",
        "n",
    ),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "reasoning_effort", "thinking_token_budget"),
    *("chat_template_kwargs", "response_format"),
)
"""What is recorded of how an answer was sampled."""

WHOLE = ("max_tokens", "max_completion_tokens", "thinking_token_budget")
"""Numbers of tokens, which the gateway reads or records, beside `n`."""

WRITERS_DEEP = 254  # levels of lists and objects that orjson writes; it reads 1024
MOST_DEEP = 200  # of a body: forms and record put some around it

CONSENTS = ("none", "history", "train")  # from the least to the most that is allowed
ORIGINS = ("chat", "api", "title")
CHAT_PRIORITY = 0
ROLLOUT_PRIORITY = 100  # vLLM serves the lower number first


@dataclass(frozen=True)
class Ask:
    """A request that was understood. `body` is the engine's, without its model."""

    kind: Kind
    model: object
    messages: list[dict[str, Any]]
    stream: bool
    wants_usage: bool
    hides_thought: bool
    consent: str | None  # what the request itself says; None: nothing
    origin: str
    conversation_id: str | None
    choices: int  # answers that it asks for
    detached: bool  # goes on to its end when the client leaves
    sampling: dict[str, Any]
    body: dict[str, Any]
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The request as it was sent, where it came in another form of API than the engine's."""
    ends: tuple[str, ...] = ()
    """Texts at which the model's own format has an answer end, beside those that the request names."""

    @property
    def opening(self) -> str:
        """Tells requests that go on from the same beginning, where no conversation of the record does: what is not kept
        has a new one each time."""
        first = next((index for index, one in enumerate(self.messages) if one["role"] == "user"), 0)
        return sha256(orjson.dumps(self.messages[: first + 1])).hexdigest()

    def payload(self, model: str) -> bytes:
        """The bytes for the engine, which knows the checkpoint by `model`."""
        body, given = self.body | {"model": model}, self.body.get("stop")
        if self.ends and (given is None or isinstance(given, str | list)):
            body["stop"] = [*([given] if isinstance(given, str) else given or []), *self.ends]
        return orjson.dumps(body)


def read_json(raw: bytes) -> Any:
    """A request's body. Raises ApiError 400 for what is no JSON, as NaN and half of a character are none."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON: {error}") from None


def read_object(raw: bytes) -> dict[str, Any]:
    """The same of one that is to be an object."""
    body = read_json(raw)
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object")
    if raw.count(b"[") + raw.count(b"{") > MOST_DEEP and _is_deep(body):
        raise invalid(f"the body is nested more than {MOST_DEEP} levels deep; send what is flatter")
    return body


def _is_deep(body: Any) -> bool:
    """Whether it has more than MOST_DEEP levels; the writer, which has its own limit, is what counts them."""
    for _ in range(WRITERS_DEEP - MOST_DEEP):
        body = [body]
    try:
        orjson.dumps(body)
    except TypeError:
        return True
    return False


def understand(kind: Kind, body: dict[str, Any], headers: Mapping[bytes, bytes]) -> Ask:
    """Read a request; `body` becomes the engine's. Raises ApiError 400 with the field that is wrong."""
    for name in SERVICE_ONLY & body.keys():
        if body[name] is not None and (name, body[name]) != ("priority", 0):
            raise ApiError(400, f"{name!r} can't be set by a request", code="unsupported_parameter", param=name)
        del body[name]
    model = body.pop("model", None)
    if model is None:
        raise invalid("`model` is missing; `ruminate` is the live checkpoint", "model", "missing_required_parameter")
    ours = body.pop("ruminate", None) or {}
    if not isinstance(ours, dict):
        raise invalid("`ruminate` must be an object", "ruminate")
    stream = flag(body.get("stream"), "stream") is True
    for name in WHOLE:
        whole(body.get(name), name)
    wants_usage = False
    if stream:
        options = body.get("stream_options") or {}
        if not isinstance(options, dict):
            raise invalid("`stream_options` must be an object", "stream_options")
        wants_usage = flag(options.get("include_usage"), "stream_options.include_usage") is True
        body["stream_options"] = options | {"include_usage": True}  # the record needs the counts
    hides_thought = kind == "chat" and steer(body)
    consent = _consent(body.pop("store", None), ours.get("consent"), headers.get(b"x-ruminate-consent"))
    messages = _messages(kind, body)
    body["priority"] = CHAT_PRIORITY
    return Ask(
        kind,
        model,
        messages,
        stream,
        wants_usage,
        hides_thought,
        consent,
        _choice("ruminate.origin", ours.get("origin") or "api", ORIGINS),
        _conversation(ours.get("conversation_id") or headers.get(b"x-ruminate-conversation")),
        _choices(kind, body),
        _detached(kind, ours.get("detached"), stream, _choices(kind, body)),
        {name: body[name] for name in SAMPLING if body.get(name) is not None},
        body,
    )


def _messages(kind: Kind, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What is recorded as said. A raw prompt counts as a user's message; of several prompts each one does.

    `developer` is OpenAI's newer name of the system; chat templates know the older one.
    """
    if kind == "chat":
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise invalid("`messages` must be a list with at least one message", "messages")
        for index, message in enumerate(messages):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise invalid("every message must be an object with a `role`", f"messages[{index}]")
        body["messages"] = [one | {"role": "system"} if one["role"] == "developer" else one for one in messages]
        return body["messages"]
    prompt = body.get("prompt")
    if prompt is None or prompt == "" or prompt == []:
        raise invalid("`prompt` is missing", "prompt", "missing_required_parameter")
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": "user", "content": [{"type": "raw_prompt", "raw_prompt": prompt}]}]


def _choices(kind: Kind, body: Mapping[str, Any]) -> int:
    """`n` of each prompt."""
    n, prompt = whole(body.get("n"), "n"), body.get("prompt")
    several = kind == "text" and isinstance(prompt, list) and not isinstance(prompt[0], int)
    return (1 if n is None else n) * (len(prompt) if several else 1)  # type: ignore[arg-type]


def _detached(kind: Kind, given: object, stream: bool, choices: int) -> bool:
    if flag(given, "ruminate.detached") and (kind != "chat" or not stream or choices != 1):
        raise invalid("ruminate.detached is for a chat with `stream: true` and one choice", "ruminate.detached")
    return bool(given)


def _consent(store: object, given: object, header: bytes | None) -> str | None:
    """The narrowest thing that the request says; `store: false` means that nothing is kept."""
    said = ["none"] if flag(store, "store") is False else []
    if given is not None:
        said.append(_choice("ruminate.consent", given, CONSENTS))
    if header is not None:
        said.append(_choice("X-Ruminate-Consent", header.decode("latin-1"), CONSENTS))
    return min(said, key=CONSENTS.index, default=None)


def narrowest(request: str | None, allowed: str) -> str:
    """A request may allow less than its conversation or its user does, never more."""
    return allowed if request is None else min(request, allowed, key=CONSENTS.index)


def _choice(name: str, value: object, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise invalid(f"{name} is {value!r}; expected {', '.join(allowed)}", name)
    return str(value)


def _conversation(value: object) -> str | None:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if text is None:
        return None
    if not isinstance(text, str) or not 0 < len(text) <= 64 or not text.isascii() or not text.isprintable():
        raise invalid(f"conversation id {text!r}: expected up to 64 printable characters", "ruminate.conversation_id")
    return text
