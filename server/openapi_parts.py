"""Pieces of the OpenAPI document that the routes of answers share: fields, headers, errors, bodies."""

from collections.abc import Callable
from typing import Any

from server.asking import CONSENTS, ORIGINS
from server.errors import ApiError
from server.steering import EFFORTS

Schema = dict[str, Any]


def text_of(words: str, **more: Any) -> Schema:
    return {"type": "string", "description": words, **more}


def flag(words: str, **more: Any) -> Schema:
    return {"type": "boolean", "description": words, **more}


def number(words: str, **more: Any) -> Schema:
    return {"type": "integer", "description": words, **more}


def header(name: str, words: str, **schema: Any) -> Schema:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "schema": {"type": "string", **schema},
        "description": words,
    }


TURN: Schema = {
    "model": text_of("`ruminate` is the live checkpoint; `ruminate-v3` pins one."),
    "stream": flag("Send the answer in pieces, as server-sent events.", default=False),
    "store": flag("false: nothing of this turn is kept.", default=True),
    "ruminate": {
        "type": "object",
        "description": "What this house adds.",
        "properties": {
            "conversation_id": text_of("Goes on with this conversation.", maxLength=64),
            "consent": text_of("The most that may be done with this turn.", enum=list(CONSENTS)),
            "origin": text_of("Where it comes from.", enum=list(ORIGINS), default="api"),
        },
    },
}
"""What every request for an answer may say."""

THINKING: Schema = {
    "reasoning_effort": text_of("How much to think; `none` is not at all.", enum=list(EFFORTS)),
    "reasoning": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "effort": text_of("As `reasoning_effort`.", enum=list(EFFORTS)),
            "enabled": flag("false: do not think."),
            "max_tokens": number("Longest thought; 0 is none.", minimum=0),
            "exclude": flag("true: think, but do not show the thought.", default=False),
        },
    },
    "include_reasoning": flag("false: as `reasoning.exclude: true`.", default=True),
    "chat_template_kwargs": {
        "type": "object",
        "properties": {"enable_thinking": flag("false: do not think.")},
    },
}

TURN_HEADERS = [
    header("Idempotency-Key", "Makes all requests with this key one turn.", maxLength=255),
    header("X-Ruminate-Conversation", "As `ruminate.conversation_id`.", maxLength=64),
    header("X-Ruminate-Consent", "As `ruminate.consent`.", enum=list(CONSENTS)),
]

_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

_ANTHROPIC_ERROR: Schema = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "param": {"type": "string"},
                "code": {"type": "string"},
            },
        },
    },
}
ERRORS_BY_NAME: Schema = {"Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR}

_HEADERS: Schema = {
    name: {"description": words, "schema": {"type": "string"}}
    for name, words in (
        ("x-ruminate-checkpoint", "Which checkpoint wrote the answer."),
        ("x-ruminate-generation", "Its id, for feedback."),
        ("x-ruminate-conversation", "The conversation that it belongs to, where it is kept."),
        ("x-ratelimit-remaining-requests", "Requests that the key has left in this minute, where they are limited."),
        ("idempotent-replayed", "`true` where an earlier answer is given again."),
    )
}
_ERRORS = {
    "400": ("The request is not understood, or sets what it must not.", "reasoning_effort is 'huge'", None),
    "401": ("No valid key.", "no API key was given", "missing_api_key"),
    "403": ("The key is for something else.", "this key is for app; this takes one for chat", "missing_scope"),
    "404": ("No such model or conversation.", "the model 'gpt-4' does not exist", "model_not_found"),
    "409": ("The Idempotency-Key's turn can't be given again.", "a stream can't be replayed",
            "idempotency_not_replayable"),
    "413": ("The body is larger than this house or the key allows.", "the body has more than 8388608 bytes",
            "body_too_large"),
    "429": ("Beyond a limit; see Retry-After.", "this key has used its 120 requests", "rate_limit_exceeded"),
    "502": ("The engine failed on this request.", "http://127.0.0.1:8100: out of memory", "engine_error"),
    "503": ("No engine just now; see Retry-After.", "the model is still being loaded", "engine_starting"),
}  # fmt: skip


def body(schema: Schema, examples: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def responses(
    answer: Schema,
    stream: str | None,
    told: Callable[[ApiError], Schema] = lambda error: error.body,
    error: str = "Error",
) -> Schema:
    """Of an answer and of each refusal; `told` makes the body of one, of the schema `error`."""
    content: Schema = {"application/json": {"schema": {"type": "object"}, "example": answer}}
    if stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}, "example": stream}
    found: Schema = {"200": {"description": "The answer.", "headers": _HEADERS, "content": content}}
    for status, (words, message, code) in _ERRORS.items():
        example = told(ApiError(int(status), message, code=code))
        refusal = {"schema": {"$ref": f"#/components/schemas/{error}"}, "example": example}
        found[status] = {"description": words, "content": {"application/json": refusal}}
    return found
