"""The OpenAPI document: what the framework says of the routes, put right, and the chat routes, which it does not see.

Each route says which refusals are its own (`server.refusals`). What all have that need a key, take a body or check
what they are given is added here, and so are the examples. Of the chat routes, which are plain ASGI, only what this
gateway reads or adds is described; all other fields of OpenAI's and vLLM's go through to the engine.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from server.api.common import KEYS, SERVICE_KEY, USERS_KEY, Keys
from server.asking import PATHS, SERVICE_ONLY
from server.forms.form import MESSAGES, RESPONSES
from server.forms.messages_answer import speaks
from server.openapi_examples import add_examples
from server.openapi_forms import messages_route, responses_route
from server.openapi_parts import (
    ERRORS_BY_NAME,
    SCHEMES,
    THINKING,
    TURN,
    TURN_HEADERS,
    Schema,
    body,
    flag,
    number,
    responses,
)
from server.refusals import ANTHROPIC, DEFECT, INVALID, OPENAI, TOO_LARGE, add_refusals


def describe(app: FastAPI, keyless: bool) -> None:
    """Have `app` say of itself what is so. `keyless`: programs of this machine need no key."""
    app.openapi = _whole(app, app.openapi, keyless)  # type: ignore[method-assign]


def _whole(app: FastAPI, of_routes: Callable[[], Schema], keyless: bool) -> Callable[[], Schema]:
    def document() -> Schema:
        if app.openapi_schema is not None:
            return app.openapi_schema
        found = of_routes()  # which FastAPI keeps, so what is added stays
        paths = found["paths"]
        for path, chat in (
            (PATHS["chat"], _chat()), (PATHS["text"], _text()), (RESPONSES, responses_route()),
            (MESSAGES, messages_route()),
        ):  # fmt: skip
            paths[path] = {"post": chat}
        routes = {route.unique_id: route for route in app.routes if isinstance(route, APIRoute)}
        for path, operations in paths.items():
            for operation in operations.values():
                route = routes.get(operation["operationId"])
                if route is not None:
                    own = route.responses.items()  # as they are: the framework leaves out what is null in an example
                    operation["responses"] |= {str(code): deepcopy(one) for code, one in own if int(code) >= 400}
                keys = USERS_KEY if route is None else next(_asked(route.dependant), None)
                _complete(path, operation, keys, keyless)
        add_examples(paths)
        components = found.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas.update(ERRORS_BY_NAME)
        components["securitySchemes"] = SCHEMES
        return found

    return document


def _asked(dependant: Dependant) -> Iterator[Keys]:
    """What the dependencies of a route ask for."""
    for one in dependant.dependencies:
        if one.call is not None and one.call in KEYS:
            yield KEYS[one.call]
        yield from _asked(one)


def _complete(path: str, operation: Schema, keys: Keys | None, keyless: bool) -> None:
    """Say which keys open it, and what it refuses beside what is its own."""
    found: Schema = operation["responses"]
    if "HTTPValidationError" in str(found.get("422")):
        del found["422"]  # what does not fit is refused in another form, with another status
    more = [DEFECT]
    operation["security"] = []
    if keys is not None:
        more += keys.refusals
        operation["security"] = [{name: []} for name in keys.schemes]
        operation["security"] += [{}] if keys.or_local or (keyless and keys is not SERVICE_KEY) else []
    if "requestBody" in operation:
        more.append(TOO_LARGE)
    if "requestBody" in operation or any(map(_checked, operation.get("parameters", []))):
        more.append(INVALID)
    add_refusals(found, more, ANTHROPIC if speaks(path) else OPENAI)
    operation["responses"] = dict(sorted(found.items()))


def _checked(parameter: Schema) -> bool:
    """Whether it can be wrong, or missing: any text is a text, and a part of a path is there."""
    kinds = parameter["schema"].get("anyOf", [parameter["schema"]])
    if parameter["required"] and parameter["in"] != "path":
        return True
    return any(one.get("type") not in ("string", "null") or one.keys() - {"type", "title"} for one in kinds)


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
    stream = (
        'data: {"object":"text_completion","model":"ruminate-v3",'
        '"choices":[{"index":0,"text":" there was","finish_reason":null}]}\n\n'
        "data: [DONE]\n\n"
    )
    return {
        "tags": ["chat"],
        "summary": "Raw completion",
        "operationId": "completions",
        "description": "OpenAI's older completions: kept for the user, never trained on.",
        "requestBody": body(schema, {"raw": {"summary": "A raw prompt", "value": said}}),
        "responses": responses(answer, stream, repeats=False),
    }
