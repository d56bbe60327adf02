"""The chat routes in the OpenAPI document: they are plain ASGI, which the framework does not see, so they stand here.

Only what this gateway reads or adds is described; all other fields of OpenAI's and vLLM's go through to the engine.
"""

from collections.abc import Callable

from fastapi import FastAPI

from server.asking import PATHS, SERVICE_ONLY
from server.forms.form import MESSAGES, RESPONSES
from server.openapi_examples import add_examples
from server.openapi_forms import messages_route, responses_route
from server.openapi_parts import ERRORS_BY_NAME, THINKING, TURN, TURN_HEADERS, Schema, body, flag, number, responses


def describe(app: FastAPI) -> None:
    """Add the chat routes to what `app` says of itself."""
    app.openapi = _with_chat(app.openapi)  # type: ignore[method-assign]


def _with_chat(of_routes: Callable[[], Schema]) -> Callable[[], Schema]:
    def document() -> Schema:
        found = of_routes()  # FastAPI keeps the same object, so what is added stays
        found["paths"][PATHS["chat"]] = {"post": _chat()}
        found["paths"][PATHS["text"]] = {"post": _text()}
        found["paths"][RESPONSES] = {"post": responses_route()}
        found["paths"][MESSAGES] = {"post": messages_route()}
        add_examples(found["paths"])
        components = found.setdefault("components", {})
        components.setdefault("schemas", {}).update(ERRORS_BY_NAME)
        components.setdefault("securitySchemes", {})["bearer"] = {"type": "http", "scheme": "bearer"}
        return found

    return document


_SHARED: Schema = {
    **TURN,
    "stream_options": {"type": "object", "properties": {"include_usage": flag("End with the token counts.")}},
    "n": number("Answers to write.", default=1, minimum=1),
    "max_tokens": number("Longest answer, thought included.", minimum=1),
    "temperature": {"type": "number", "minimum": 0},
    "seed": {"type": "integer"},
}

_DETACHED = flag("Go on to the end when the client leaves; see the events route. With `stream` only.", default=False)

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
        **THINKING,
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


def _chat() -> Schema:
    return {
        "tags": ["chat"],
        "summary": "Chat",
        "operationId": "chat_completions",
        "description": "OpenAI's chat completions. The thought comes as `reasoning` beside `content`.",
        "security": [{}, {"bearer": []}],
        "parameters": TURN_HEADERS,
        "requestBody": body(_CHAT, _REQUESTS),
        "responses": responses(_ANSWER, _STREAM),
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
        "requestBody": body(schema, {"raw": {"summary": "A raw prompt", "value": said}}),
        "responses": responses(answer, None),
    }
