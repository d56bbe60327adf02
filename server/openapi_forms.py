"""The Responses and the Messages route in the OpenAPI document. What is not described here is refused or goes through
to the engine; `server.forms` says which."""

from typing import Any

from server.openapi_parts import THINKING, TURN, TURN_HEADERS, Schema, body, flag, number, responses, text_of
from server.refusals import ANTHROPIC
from server.steering import EFFORTS

_EFFORT = text_of("How much to think; `none` is not at all.", enum=list(EFFORTS))
_THINKING = {name: schema for name, schema in THINKING.items() if name != "reasoning"}
_STOPS = {"type": "array", "items": {"type": "string"}, "description": "Texts at which the answer ends."}

_RESPONSES: Schema = {
    "type": "object",
    "required": ["model", "input"],
    "additionalProperties": True,
    "properties": {
        **TURN,
        **_THINKING,
        "input": {
            "description": "Text, or items: messages, reasoning, function_call, function_call_output.",
            "oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "object"}}],
        },
        "instructions": text_of("The system prompt of this answer alone."),
        "previous_response_id": text_of("Goes on from this answer, as it was kept; not from one with `store: false`."),
        "max_output_tokens": number("Longest answer, thought included.", minimum=1),
        "temperature": {"type": "number", "minimum": 0},
        "reasoning": {
            "type": "object",
            "properties": {
                "effort": _EFFORT,
                "max_tokens": number("Longest thought; 0 is none.", minimum=0),
                "exclude": flag("true: think, but give no reasoning item.", default=False),
                "summary": text_of("Changes nothing: the thought is given in full."),
            },
        },
        "text": {
            "type": "object",
            "properties": {"format": {"type": "object", "description": "text, json_object or json_schema."}},
        },
        "tools": {"type": "array", "items": {"type": "object", "description": "Function tools."}},
        "background": {"const": False},
        "truncation": {"const": "disabled"},
    },
}
_MESSAGES: Schema = {
    "type": "object",
    "required": ["model", "max_tokens", "messages"],
    "additionalProperties": True,
    "properties": {
        **TURN,
        **THINKING,
        "max_tokens": number("Longest answer, thought included.", minimum=1),
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"enum": ["user", "assistant", "system"]},
                    "content": {"type": ["string", "array"]},
                },
            },
        },
        "system": {"type": ["string", "array"], "description": "The system prompt."},
        "stop_sequences": _STOPS,
        "temperature": {"type": "number", "minimum": 0},
        "thinking": {
            "type": "object",
            "required": ["type"],
            "description": "Without it the model thinks as it does in a chat.",
            "properties": {
                "type": {"enum": ["enabled", "disabled", "adaptive"]},
                "budget_tokens": number("Longest thought, where `type` is enabled.", minimum=1),
                "display": text_of("omitted: think, but give no block.", enum=["summarized", "omitted"]),
            },
        },
        "output_config": {
            "type": "object",
            "properties": {"effort": _EFFORT, "format": {"type": "object", "description": "A json_schema."}},
        },
        "tools": {"type": "array", "items": {"type": "object", "description": "Tools with an input_schema."}},
    },
}

_ASKED: Schema = {"model": "ruminate", "input": "Plan three dinners, no nuts."}
_RESPONSES_REQUESTS: Schema = {
    "whole": {"summary": "An answer in one piece", "value": {**_ASKED, "instructions": "Be brief."}},
    "streamed": {"summary": "Streamed", "value": {**_ASKED, "stream": True}},
    "hidden": {"summary": "Thought, but not shown", "value": {**_ASKED, "reasoning": {"exclude": True}}},
    "unthinking": {"summary": "Without a thought", "value": {**_ASKED, "reasoning": {"effort": "none"}}},
    "private": {"summary": "Nothing is kept", "value": {**_ASKED, "store": False}},
}
_SAID: Schema = {"model": "ruminate", "max_tokens": 512, "messages": [{"role": "user", "content": "Plan a dinner."}]}
_MESSAGES_REQUESTS: Schema = {
    "whole": {"summary": "An answer in one piece", "value": {**_SAID, "system": "Be brief."}},
    "streamed": {"summary": "Streamed", "value": {**_SAID, "stream": True}},
    "budget": {
        "summary": "A bounded thought",
        "value": {**_SAID, "thinking": {"type": "enabled", "budget_tokens": 128}},
    },
    "hidden": {
        "summary": "Thought, but not shown",
        "value": {**_SAID, "thinking": {"type": "adaptive", "display": "omitted"}},
    },
    "unthinking": {"summary": "Without a thought", "value": {**_SAID, "thinking": {"type": "disabled"}}},
    "private": {"summary": "Nothing is kept", "value": {**_SAID, "store": False}},
}
_RESPONSE: Schema = {
    "id": "resp_0198c0de",
    "object": "response",
    "created_at": 1760000000,
    "model": "ruminate-v3",
    "status": "completed",
    "output": [
        {
            "id": "rs_0198c0de_0",
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "They want three dinners …"}],
            "status": "completed",
        },
        {
            "id": "msg_0198c0de_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Monday: …", "annotations": []}],
        },
    ],
    "usage": {
        "input_tokens": 17,
        "output_tokens": 120,
        "output_tokens_details": {"reasoning_tokens": 60},
        "total_tokens": 137,
    },
}
_MESSAGE: Schema = {
    "id": "msg_0198c0de",
    "type": "message",
    "role": "assistant",
    "model": "ruminate-v3",
    "content": [
        {"type": "thinking", "thinking": "They want a dinner …", "signature": ""},
        {"type": "text", "text": "Pasta with …"},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 17, "output_tokens": 120, "output_tokens_details": {"thinking_tokens": 60}},
}
_RESPONSE_STREAM = (
    "event: response.reasoning_text.delta\n"
    'data: {"type":"response.reasoning_text.delta","item_id":"rs_0198c0de_0","output_index":0,"delta":"They want"}\n\n'
    "event: response.output_text.delta\n"
    'data: {"type":"response.output_text.delta","item_id":"msg_0198c0de_1","output_index":1,"delta":"Monday"}\n\n'
)
_MESSAGE_STREAM = (
    "event: content_block_delta\n"
    'data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"They want"}}\n\n'
    "event: content_block_delta\n"
    'data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Pasta"}}\n\n'
)


def responses_route() -> Schema:
    words = "OpenAI's Responses. The thought is a `reasoning` item of its own, in full. Function tools only."
    return _route("Response", "responses", words, body(_RESPONSES, _RESPONSES_REQUESTS)) | {
        "responses": responses(_RESPONSE, _RESPONSE_STREAM)
    }


def messages_route() -> Schema:
    words = "Anthropic's Messages. The thought is a `thinking` block of its own. A key may come as `x-api-key`."
    return _route("Message", "messages", words, body(_MESSAGES, _MESSAGES_REQUESTS)) | {
        "responses": responses(_MESSAGE, _MESSAGE_STREAM, ANTHROPIC)
    }


def _route(summary: str, operation: str, words: str, request: Schema) -> dict[str, Any]:
    return {
        "tags": ["chat"],
        "summary": summary,
        "operationId": operation,
        "description": words,
        "parameters": TURN_HEADERS,
        "requestBody": request,
    }
