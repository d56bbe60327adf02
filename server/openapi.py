"""The chat routes in the OpenAPI document: they are plain ASGI, which the framework does not see, so they stand here.

Only what this gateway reads or adds is described; all other fields of OpenAI's and vLLM's go through to the engine.
"""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from server.asking import CONSENTS, ORIGINS, PATHS, SERVICE_ONLY
from server.errors import ApiError
from server.steering import EFFORTS

Schema = dict[str, Any]


def describe(app: FastAPI) -> None:
    """Add the chat routes to what `app` says of itself."""
    app.openapi = _with_chat(app.openapi)  # type: ignore[method-assign]


def _with_chat(of_routes: Callable[[], Schema]) -> Callable[[], Schema]:
    def document() -> Schema:
        found = of_routes()  # FastAPI keeps the same object, so what is added stays
        found["paths"][PATHS["chat"]] = {"post": _chat()}
        found["paths"][PATHS["text"]] = {"post": _text()}
        components = found.setdefault("components", {})
        components.setdefault("schemas", {})["Error"] = _ERROR
        components.setdefault("securitySchemes", {})["bearer"] = {"type": "http", "scheme": "bearer"}
        return found

    return document


def _text_of(words: str, **more: Any) -> Schema:
    return {"type": "string", "description": words, **more}


def _flag(words: str, **more: Any) -> Schema:
    return {"type": "boolean", "description": words, **more}


def _number(words: str, **more: Any) -> Schema:
    return {"type": "integer", "description": words, **more}


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

_SHARED: Schema = {
    "model": _text_of("`ruminate` is the live checkpoint; `ruminate-v3` pins one."),
    "stream": _flag("Send the answer in pieces, as server-sent events.", default=False),
    "stream_options": {"type": "object", "properties": {"include_usage": _flag("End with the token counts.")}},
    "n": _number("Answers to write.", default=1, minimum=1),
    "max_tokens": _number("Longest answer, thought included.", minimum=1),
    "temperature": {"type": "number", "minimum": 0},
    "seed": {"type": "integer"},
    "store": _flag("false: nothing of this turn is kept.", default=True),
    "ruminate": {
        "type": "object",
        "description": "What this house adds.",
        "properties": {
            "conversation_id": _text_of("Goes on with this conversation.", maxLength=64),
            "consent": _text_of("The most that may be done with this turn.", enum=list(CONSENTS)),
            "origin": _text_of("Where it comes from.", enum=list(ORIGINS), default="api"),
        },
    },
}

_DETACHED = _flag("Go on to the end when the client leaves; see the events route. With `stream` only.", default=False)

_CHAT: Schema = {
    "type": "object",
    "required": ["model", "messages"],
    "additionalProperties": True,
    "description": f"Refused from everybody: {', '.join(sorted(SERVICE_ONLY))}.",
    "properties": {
        **_SHARED,
        "ruminate": _SHARED["ruminate"] | {"properties": _SHARED["ruminate"]["properties"] | {"detached": _DETACHED}},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role"],
                "properties": {"role": {"type": "string"}, "content": {"type": ["string", "array", "null"]}},
            },
        },
        "reasoning_effort": _text_of("How much to think; `none` is not at all.", enum=list(EFFORTS)),
        "reasoning": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "effort": _text_of("As `reasoning_effort`.", enum=list(EFFORTS)),
                "enabled": _flag("false: do not think."),
                "max_tokens": _number("Longest thought; 0 is none.", minimum=0),
                "exclude": _flag("true: think, but do not show the thought.", default=False),
            },
        },
        "include_reasoning": _flag("false: as `reasoning.exclude: true`.", default=True),
        "chat_template_kwargs": {
            "type": "object",
            "properties": {"enable_thinking": _flag("false: do not think.")},
        },
        "response_format": {"type": "object", "description": "Holds for the response, never for the thought."},
    },
}

_ASKED: Schema = {"model": "ruminate", "messages": [{"role": "user", "content": "Plan three dinners, no nuts."}]}
_REQUESTS: Schema = {
    "whole": {"summary": "An answer in one piece", "value": _ASKED},
    "streamed": {
        "summary": "Streamed, with token counts at the end",
        "value": {**_ASKED, "stream": True, "stream_options": {"include_usage": True}},
    },
    "hidden": {"summary": "Thought, but not shown", "value": {**_ASKED, "reasoning": {"exclude": True}}},
    "unthinking": {"summary": "Without a thought", "value": {**_ASKED, "reasoning_effort": "none"}},
    "detached": {
        "summary": "Goes on when its client leaves",
        "value": {**_ASKED, "stream": True, "ruminate": {"detached": True}},
    },
    "private": {"summary": "Nothing is kept", "value": {**_ASKED, "store": False}},
    "pinned": {
        "summary": "A pinned checkpoint goes on with a conversation",
        "value": {**_ASKED, "model": "ruminate-v3", "ruminate": {"conversation_id": "0198c0de", "consent": "history"}},
    },
}
_ANSWER: Schema = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "ruminate-v3",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Monday: …", "reasoning": "They want three dinners …"},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 17,
        "completion_tokens": 120,
        "total_tokens": 137,
        "completion_tokens_details": {"reasoning_tokens": 60},
    },
}
_STREAM = (
    'data: {"object":"chat.completion.chunk","model":"ruminate-v3",'
    '"choices":[{"index":0,"delta":{"reasoning":"They want"},"finish_reason":null}]}\n\n'
    'data: {"object":"chat.completion.chunk","model":"ruminate-v3",'
    '"choices":[{"index":0,"delta":{"content":"Monday"},"finish_reason":null}]}\n\n'
    "data: [DONE]\n\n"
)
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
    "429": ("Beyond a limit; see Retry-After.", "this key has used its 120 requests", "rate_limit_exceeded"),
    "503": ("No engine just now; see Retry-After.", "the model is still being loaded", "engine_starting"),
}  # fmt: skip


def _chat() -> Schema:
    return {
        "tags": ["chat"],
        "summary": "Chat",
        "operationId": "chat_completions",
        "description": "OpenAI's chat completions. The thought comes as `reasoning` beside `content`.",
        "security": [{}, {"bearer": []}],
        "parameters": [
            _header("Idempotency-Key", "Makes all requests with this key one turn.", maxLength=255),
            _header("X-Ruminate-Conversation", "As `ruminate.conversation_id`.", maxLength=64),
            _header("X-Ruminate-Consent", "As `ruminate.consent`.", enum=list(CONSENTS)),
        ],
        "requestBody": _body(_CHAT, _REQUESTS),
        "responses": _responses(_ANSWER, _STREAM),
    }


def _text() -> Schema:
    said = {"model": "ruminate", "prompt": "Once upon a time", "max_tokens": 32}
    prompt = {"type": ["string", "array"], "description": "Raw text or token ids; no template is applied."}
    schema = {
        "type": "object",
        "required": ["model", "prompt"],
        "additionalProperties": True,
        "properties": {**_SHARED, "prompt": prompt},
    }
    answer = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1760000000,
        "model": "ruminate-v3",
        "choices": [{"index": 0, "text": " there was", "finish_reason": "length"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 32, "total_tokens": 36},
    }
    return {
        "tags": ["chat"],
        "summary": "Raw completion",
        "operationId": "completions",
        "description": "OpenAI's older completions: kept for the user, never trained on.",
        "security": [{}, {"bearer": []}],
        "requestBody": _body(schema, {"raw": {"summary": "A raw prompt", "value": said}}),
        "responses": _responses(answer, None),
    }


def _header(name: str, words: str, **schema: Any) -> Schema:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "schema": {"type": "string", **schema},
        "description": words,
    }


def _body(schema: Schema, examples: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def _responses(answer: Schema, stream: str | None) -> Schema:
    content: Schema = {"application/json": {"schema": {"type": "object"}, "example": answer}}
    if stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}, "example": stream}
    found: Schema = {"200": {"description": "The answer.", "headers": _HEADERS, "content": content}}
    for status, (words, message, code) in _ERRORS.items():
        example = ApiError(int(status), message, code=code).body
        error = {"schema": {"$ref": "#/components/schemas/Error"}, "example": example}
        found[status] = {"description": words, "content": {"application/json": error}}
    return found
