"""The written forms as pure functions: however an engine's answer is cut, in one piece or many, they say the same."""

import json
from collections.abc import Callable
from typing import Any

import anthropic.types as anthropics
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from server.errors import ApiError
from server.forms import messages_request, responses_request
from server.forms.messages_answer import MessagesTelling
from server.forms.responses_answer import ResponsesTelling
from server.forms.telling import Telling
from server.stream import Tail

FEW = settings(max_examples=40)
OPENAIS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ANTHROPICS: TypeAdapter[Any] = TypeAdapter(anthropics.RawMessageStreamEvent)

words = st.text(min_size=1, max_size=8)
deltas = st.lists(
    st.one_of(words.map(lambda text: {"reasoning": text}), words.map(lambda text: {"content": text})), max_size=8
)
calls = st.lists(st.tuples(words, st.lists(words, max_size=3)), max_size=3)
finishes = st.sampled_from([("stop", None), ("length", None), ("stop", "END"), ("stop", 7)])
makers: list[Callable[[bool], Telling]] = [
    lambda hide: ResponsesTelling("g1", hide, {"model": "ruminate"}),
    lambda hide: MessagesTelling("g1", hide),
]
USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 3},
         "prompt_tokens_details": {"cached_tokens": 2}}  # fmt: skip


def event(choices: list[Any], **more: Any) -> bytes:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "ruminate-v0"}
    return b"data: " + orjson.dumps(head | {"choices": choices} | more) + b"\n\n"


def stream_of(said: list[Any], called: list[Any], finish: tuple[str, Any]) -> bytes:
    """What vLLM sends: a head, deltas, calls of tools bit by bit, the end, the counts."""
    told = [{"role": "assistant", "content": ""}, *said]
    for index, (name, bits) in enumerate(called):
        told.append({"tool_calls": [{"index": index, "id": f"c{index}", "function": {"name": name, "arguments": ""}}]})
        told += [{"tool_calls": [{"index": index, "function": {"arguments": bit}}]} for bit in bits]
    events = [event([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in told]
    events.append(event([{"index": 0, "delta": {}, "finish_reason": finish[0], "stop_reason": finish[1]}]))
    return b"".join([*events, event([], usage=USAGE), b"data: [DONE]\n\n"])


def body_of(said: list[Any], called: list[Any], finish: tuple[str, Any]) -> bytes:
    message = {
        "role": "assistant",
        "reasoning": "".join(delta.get("reasoning", "") for delta in said) or None,
        "content": "".join(delta.get("content", "") for delta in said),
        "tool_calls": [
            {"id": f"c{index}", "type": "function", "function": {"name": name, "arguments": "".join(bits)}}
            for index, (name, bits) in enumerate(called)
        ],
    }
    choice = {"index": 0, "message": message, "finish_reason": finish[0], "stop_reason": finish[1]}
    return orjson.dumps({"id": "x", "created": 1, "model": "ruminate-v0", "choices": [choice], "usage": USAGE})


def written(telling: Telling, chunks: list[bytes]) -> list[dict[str, Any]]:
    """What a client gets of a stream that came in these pieces, on the gateway's own way."""
    tail = Tail(wants_usage=True)
    out = b"".join(telling.events(tail.feed(chunk)) for chunk in chunks) + telling.events(tail.held)
    events = []
    for raw in out.split(b"\n\n")[:-1]:
        name, data = raw.split(b"\n")
        events.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + events[-1]["type"].encode()
    return events


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    return [data[one:two] for one, two in zip(places, places[1:], strict=False)]


def in_order(said: list[Any]) -> list[Any]:
    """As models write: the thought before the response."""
    return sorted(said, key=lambda delta: "content" in delta)


@pytest.mark.parametrize("make", makers)
@FEW
@given(said=deltas, called=calls, finish=finishes, hide=st.booleans(), at=st.lists(st.integers(0, 10_000), max_size=20))
def test_any_cutting_of_the_engines_stream_gives_the_same_events(
    make: Callable[[bool], Telling], said: list[Any], called: list[Any], finish: Any, hide: bool, at: list[int]
) -> None:
    data = stream_of(said, called, finish)
    events = written(make(hide), [data])
    assert written(make(hide), cut(data, at)) == events
    assert written(make(hide), [data[i : i + 1] for i in range(len(data))]) == events


@FEW
@given(said=deltas.map(in_order), called=calls, finish=finishes, hide=st.booleans())
def test_a_responses_stream_ends_with_what_is_said_in_one_piece(
    said: list[Any], called: list[Any], finish: Any, hide: bool
) -> None:
    events = written(makers[0](hide), [stream_of(said, called, finish)])
    whole = json.loads(makers[0](hide).body(body_of(said, called, finish)))
    assert events[-1]["response"] == whole
    assert [one["item"] for one in events if one["type"] == "response.output_item.done"] == whole["output"]
    for one in events:
        OPENAIS.validate_python(one)
    Response.model_validate(whole)
    deltas = "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")
    assert deltas == Response.model_validate(whole).output_text
    assert hide is False or not any("reasoning" in one["type"] for one in events)


@FEW
@given(said=deltas.map(in_order), called=calls, finish=finishes, hide=st.booleans())
def test_a_messages_stream_adds_up_to_what_is_said_in_one_piece(
    said: list[Any], called: list[Any], finish: Any, hide: bool
) -> None:
    events = written(makers[1](hide), [stream_of(said, called, finish)])
    whole = json.loads(makers[1](hide).body(body_of(said, called, finish)))
    for one in events:
        ANTHROPICS.validate_python(one)
    anthropics.Message.model_validate(whole)
    message = events[0]["message"]
    bits: dict[int, str] = {}
    for one in events:
        match one["type"]:
            case "content_block_start":
                assert one["index"] == len(message["content"])
                message["content"].append(one["content_block"])
            case "content_block_delta":
                bits[one["index"]] = bits.get(one["index"], "") + next(
                    text for name, text in one["delta"].items() if name != "type"
                )
            case "message_delta":
                message |= one["delta"] | {"usage": one["usage"]}
    for index, block in enumerate(message["content"]):
        text = bits.get(index, "")
        if block["type"] == "tool_use":
            wanted = whole["content"][index]["input"]
            assert wanted == {"INVALID_JSON": text} or wanted == json.loads(text or "{}")
            block["input"] = wanted
        else:
            block[{"thinking": "thinking", "text": "text"}[block["type"]]] = text
    assert message == whole
    assert whole["usage"]["input_tokens"] + whole["usage"]["cache_read_input_tokens"] == 7


@pytest.mark.parametrize("make", makers)
@FEW
@given(said=deltas, called=calls, after=st.integers(0, 20))
def test_a_broken_stream_ends_with_one_error_and_nothing_behind_it(
    make: Callable[[bool], Telling], said: list[Any], called: list[Any], after: int
) -> None:
    events = stream_of(said, called, ("stop", None)).split(b"\n\n")[:-3]
    data = b"".join(one + b"\n\n" for one in events[:after])
    telling = make(False)
    before = telling.events(data)
    last = telling.broken(ApiError(502, "the engine went away"))
    assert b"the engine went away" in last
    assert last.count(b"event: ") == 1
    assert telling.broken(ApiError(502, "again")) == telling.events(stream_of([], [], ("stop", None))) == b""
    failing = make(False)
    failed = b'data: {"error":{"message":"it failed"}}\n\n'
    assert failing.events(data + failed) == before
    assert failing.events(b"data: [DONE]\n\n").count(b"it failed") == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
known = st.sampled_from(
    ["type", "role", "content", "text", "source", "name", "input", "id", "output", "call_id", "arguments", "summary"]
)
kinds = st.sampled_from(
    ["text", "image", "message", "reasoning", "function_call", "function_call_output", "tool_use", "tool_result",
     "user", "assistant", "system", "thinking", "function", "json_schema", "tool", "url", "base64", "enabled"]
)  # fmt: skip
nested = st.recursive(
    json_values | kinds, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known, inner, max_size=5)
)
FIELDS = ["model", "input", "messages", "system", "instructions", "tools", "tool_choice", "thinking", "reasoning",
          "text", "output_config", "max_tokens", "include", "stop_sequences", "previous_response_id", "n"]  # fmt: skip


GOOD: dict[Callable[[Any], Any], dict[str, Any]] = {
    responses_request.read: {"input": "x", "tools": [{"type": "function", "name": "f"}]},
    messages_request.read: {
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"name": "f", "input_schema": {}}],
    },
}


ODD: list[Any] = [
    None, True, False, 0, 3, 1.5, "", "x", [], [3], ["x"], [[]], [None], {}, {"type": 3}, {"type": ["x"]}, [{}],
    [{"type": ["x"]}], [{"type": "text"}], [{"type": "function"}], [{"role": "user"}], [{"role": ["user"]}],
    {"type": "json_schema", "format": 3}, {"format": {"type": ["x"]}}, {"type": "enabled", "budget_tokens": "x"},
]  # fmt: skip


def assert_answered_or_refused(read: Callable[[Any], Any], body: dict[str, Any]) -> None:
    given_as = orjson.dumps(body)
    try:
        read(body)
        refused = None
    except ApiError as error:
        refused = error
    assert refused is None or (refused.status == 400 and refused.message and refused.param), body
    assert orjson.dumps(body) == given_as, "the request itself was changed"


@pytest.mark.parametrize("read", GOOD)
def test_no_odd_value_of_any_field_is_too_odd_for_a_refusal(read: Callable[[Any], Any]) -> None:
    for field in FIELDS:
        for value in ODD:
            assert_answered_or_refused(read, GOOD[read] | {field: value})


@pytest.mark.parametrize("read", GOOD)
@given(
    wrong=st.dictionaries(st.sampled_from(FIELDS), json_values | kinds | nested, min_size=1, max_size=2),
    inner=st.dictionaries(known, json_values | kinds, max_size=3),
)
def test_whatever_is_sent_is_read_or_refused_in_words(
    read: Callable[[Any], Any], wrong: dict[str, Any], inner: dict[str, Any]
) -> None:
    assert_answered_or_refused(read, GOOD[read] | wrong)
    deeper = {name: value | inner if isinstance(value, dict) else [inner] for name, value in wrong.items()}
    assert_answered_or_refused(read, GOOD[read] | deeper)
