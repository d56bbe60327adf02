"""Pieces of the OpenAPI document that the routes of answers share: fields, headers, errors, bodies."""

from typing import Any

from server.asking import CONSENTS, ORIGINS
from server.refusals import ASKED, NOT_FOUND, NOT_REPEATED, OPENAI, Spoken, add_refusals
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
    "required": ["error"],
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
SCHEMES: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A user's key, as OpenAI's clients send it."},
    "x-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "A user's key, as Anthropic's clients send it.",
    },
    "service": {
        "type": "http",
        "scheme": "bearer",
        "description": "The service key, which whoever runs the house has.",
    },
}
"""How a key is sent. The document says of each route which ones open it."""


EVENT: Schema = {
    "type": "object",
    "description": "A server-sent event.",
    "required": ["data"],
    "properties": {"data": {"type": "string"}, "event": {"type": "string"}, "id": {"type": "string"}},
}
"""OpenAPI before 3.2 describes each event of a stream where it describes other answers whole."""


def body(schema: Schema, examples: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def responses(answer: Schema, stream: str, spoken: Spoken = OPENAI, repeats: bool = True) -> Schema:
    """Of an answer and of each refusal, `spoken` in a form. `repeats`: an Idempotency-Key is heeded."""
    content: Schema = {
        "application/json": {"schema": {"type": "object"}, "example": answer},
        "text/event-stream": {"schema": EVENT, "example": stream},
    }
    found: Schema = {"200": {"description": "The answer.", "headers": _HEADERS, "content": content}}
    add_refusals(found, (*ASKED, NOT_FOUND, *((NOT_REPEATED,) if repeats else ())), spoken)
    return found
