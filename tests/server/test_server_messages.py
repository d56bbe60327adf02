"""Anthropic's Messages API by its official client: blocks, events, stop reasons, errors, and the record behind it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import Message
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from db.queries import users
from db.schema import Generation

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOOL: Any = {"name": "weather", "description": "Tells it.", "input_schema": {"type": "object", "properties": {}}}
SCHEMA: Any = {"type": "json_schema", "schema": {"type": "object"}}


CLIENTS: list[anthropic.AsyncAnthropic] = []


@pytest.fixture(autouse=True)
async def _clients_are_closed() -> AsyncIterator[None]:
    yield
    while CLIENTS:
        await CLIENTS.pop().close()


def client_of(house: Running, key: str | None = "none", token: str | None = None) -> anthropic.AsyncAnthropic:
    plain = anthropic.DefaultAsyncHttpxClient(verify=False)  # certificates take longer to read than these tests take
    CLIENTS.append(
        anthropic.AsyncAnthropic(base_url=house.url, api_key=key, auth_token=token, max_retries=0, http_client=plain)
    )
    return CLIENTS[-1]


def recorded(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation).order_by(Generation.id)))


async def ask(house: Running, messages: list[Any] = HELLO, **wish: Any) -> Message:
    return await client_of(house).messages.create(model="ruminate", max_tokens=100, messages=messages, **wish)


async def follow(house: Running, messages: list[Any] = HELLO, **wish: Any) -> tuple[list[Any], Message]:
    """All events of a stream, and the message that the client put together."""
    async with client_of(house).messages.stream(model="ruminate", max_tokens=100, messages=messages, **wish) as stream:
        events = [event async for event in stream]
        return events, await stream.get_final_message()


async def test_an_answer_begins_with_its_thought_as_a_block(house: Running, engine: FakeEngine) -> None:
    thought, response = engine.text("ruminate-v0")
    answer = await ask(house, system="Be brief.", extra_body={"temperature": 0.5, "top_k": 4})
    thinking, text = (block.to_dict() for block in answer.content)
    assert (thinking["type"], thinking["thinking"], text["type"], text["text"]) == (
        "thinking",
        thought,
        "text",
        response,
    )
    assert (answer.role, answer.model, answer.stop_reason, answer.stop_sequence) == (
        "assistant",
        "ruminate-v0",
        "end_turn",
        None,
    )
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 9)
    assert answer.usage.output_tokens_details.thinking_tokens == 3
    (row,) = recorded(house)
    assert answer.id == f"msg_{row.id}"
    assert answer._request_id == row.request_id
    assert (row.reasoning, row.response, row.ending, row.consent) == (thought, response, "complete", "train")
    assert row.sampling == {"temperature": 0.5, "top_k": 4, "max_tokens": 100}
    path, sent = engine.requests[-1]
    assert (path, sent["priority"]) == ("/v1/chat/completions", 0)
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]


async def test_a_stream_says_the_same_in_the_events_of_the_api(house: Running, engine: FakeEngine) -> None:
    whole = await ask(house)
    raw = await client_of(house).messages.create(model="ruminate", max_tokens=100, messages=HELLO, stream=True)
    kinds = [event.type async for event in raw]
    assert [kind for index, kind in enumerate(kinds) if index == 0 or kind != kinds[index - 1]] == [
        "message_start",
        *["content_block_start", "content_block_delta", "content_block_stop"] * 2,
        "message_delta",
        "message_stop",
    ]
    events, final = await follow(house)
    assert final.model_dump(exclude={"id"}) == whole.model_dump(exclude={"id"})
    assert "".join(e.thinking for e in events if e.type == "thinking") == engine.text("ruminate-v0")[0]
    assert "".join(e.text for e in events if e.type == "text") == engine.text("ruminate-v0")[1]
    (begun,) = (event for event in events if event.type == "message_start")
    assert (begun.message.usage.input_tokens, begun.message.usage.output_tokens) == (7, 0)
    rows = recorded(house)
    assert [(row.ending, row.prompt_tokens, row.completion_tokens, row.reasoning_tokens) for row in rows] == [
        ("complete", 7, 9, 3)
    ] * 3


async def test_the_record_is_there_before_the_last_event(house: Running) -> None:
    wish = {"model": "ruminate", "max_tokens": 50, "messages": HELLO, "stream": True}
    async with house.http.stream("POST", "/v1/messages", json=wish) as stream:
        async for line in stream.aiter_lines():
            if line == "event: message_delta":
                assert [row.ending for row in recorded(house)] == ["complete"]
                return
    raise AssertionError("the stream had no end")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "hiding",
    [
        {"include_reasoning": False},
        {"reasoning": {"exclude": True}},
        {"thinking": {"type": "adaptive", "display": "omitted"}},
    ],
)
async def test_a_hidden_thought_is_no_block_and_is_recorded(
    house: Running, engine: FakeEngine, stream: bool, hiding: dict[str, Any]
) -> None:
    wish = {"model": "ruminate", "max_tokens": 50, "messages": HELLO, "stream": stream, **hiding}
    answer = await house.http.post("/v1/messages", json=wish)
    assert answer.status_code == 200
    assert "-thinks" not in answer.text
    assert "says5" in answer.text
    assert '"thinking_tokens":3' in answer.text
    assert recorded(house)[0].reasoning == engine.text("ruminate-v0")[0]


@pytest.mark.parametrize(
    ("wish", "engines"),
    [
        ({"thinking": {"type": "disabled"}}, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({"thinking": {"type": "adaptive"}}, {}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 64}},
            {"chat_template_kwargs": {"enable_thinking": True}, "thinking_token_budget": 64},
        ),
        (
            {"output_config": {"effort": "low"}},
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"},
        ),
        ({"extra_body": {"reasoning_effort": "none"}}, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({"extra_body": {"reasoning": {"max_tokens": 0}}}, {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
)
async def test_thinking_is_steered_as_in_a_chat(
    house: Running, engine: FakeEngine, wish: dict[str, Any], engines: dict[str, Any]
) -> None:
    await ask(house, **wish)
    sent = engine.requests[-1][1]
    names = ("chat_template_kwargs", "thinking_token_budget", "reasoning_effort", "reasoning", "thinking")
    assert {name: sent[name] for name in names if name in sent} == engines


@pytest.mark.parametrize(
    ("finish", "calls", "reason", "stop"),
    [
        (("length", None), [], "max_tokens", None),
        (("stop", "END"), [], "stop_sequence", "END"),
        (("stop", None), [("weather", "{}")], "tool_use", None),
        (("length", None), [("weather", '{"city": "Ro')], "max_tokens", None),
    ],
)
async def test_why_an_answer_ended_is_told(
    house: Running, engine: FakeEngine, finish: Any, calls: Any, reason: str, stop: str | None
) -> None:
    engine.finish, engine.calls = finish, calls
    answer = await ask(house, stop_sequences=["END"])
    _, final = await follow(house)
    for one in (answer, final):
        assert (one.stop_reason, one.stop_sequence) == (reason, stop)
    assert engine.requests[0][1]["stop"] == ["END"]


async def test_tools_are_called_and_their_results_come_back(house: Running, engine: FakeEngine) -> None:
    engine.calls = [("weather", '{"city":"Rome"}'), ("weather", '{"city":"Oslo"}')]
    choice: Any = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    first = await ask(house, tools=[TOOL], tool_choice=choice)
    sent = engine.requests[-1][1]
    function = {"name": "weather", "description": "Tells it.", "parameters": TOOL["input_schema"]}
    assert sent["tools"] == [{"type": "function", "function": function}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent["parallel_tool_calls"] is False
    assert [(block.id, block.input) for block in first.content if block.type == "tool_use"] == [
        ("call-0", {"city": "Rome"}),
        ("call-1", {"city": "Oslo"}),
    ]
    _, final = await follow(house, tools=[TOOL], tool_choice={"type": "any"})
    assert engine.requests[-1][1]["tool_choice"] == "required"
    assert final.model_dump(exclude={"id"}) == first.model_dump(exclude={"id"})
    engine.calls = []
    results = [
        {"type": "tool_result", "tool_use_id": "call-0", "content": [{"type": "text", "text": "sunny"}]},
        {"type": "tool_result", "tool_use_id": "call-1", "content": "rain", "is_error": False},
        {"type": "text", "text": "So?"},
    ]
    said = [block.to_dict() for block in first.content]
    await ask(house, [*HELLO, {"role": "assistant", "content": said}, {"role": "user", "content": results}])
    sent = engine.requests[-1][1]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert sent[1]["reasoning"] == engine.text("ruminate-v0")[0]
    assert sent[1]["content"] == engine.text("ruminate-v0")[1]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert sent[2] == {"role": "tool", "tool_call_id": "call-0", "content": "sunny"}
    assert sent[4] == {"role": "user", "content": "So?"}
    whole, stream, onward = recorded(house)
    assert onward.conversation_id in (whole.conversation_id, stream.conversation_id), "the history was not found again"


@pytest.mark.parametrize(
    ("content", "told"),
    [("no such city", "The tool failed.\nno such city"),
     ([{"type": "text", "text": "no such city"}], "The tool failed.\nno such city"), (None, "The tool failed."),
     ([{"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}],
      [{"type": "text", "text": "The tool failed."}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}])],
)  # fmt: skip
async def test_the_model_is_told_that_a_tool_failed(
    house: Running, engine: FakeEngine, content: object, told: object
) -> None:
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "call-0", "name": "weather", "input": {}}]}
    result = {"type": "tool_result", "tool_use_id": "call-0", "content": content, "is_error": True}
    await ask(house, [*HELLO, call, {"role": "user", "content": [result]}])
    assert engine.requests[-1][1]["messages"][-1] == {"role": "tool", "tool_call_id": "call-0", "content": told}


async def test_whether_a_tool_failed_is_yes_or_no(house: Running) -> None:
    result = {"type": "tool_result", "tool_use_id": "call-0", "content": "x", "is_error": "yes"}
    with pytest.raises(anthropic.BadRequestError, match="is_error is 'yes'; expected true or false"):
        await ask(house, [*HELLO, {"role": "user", "content": [result]}])


async def test_a_conversation_goes_on_by_its_history(house: Running, engine: FakeEngine) -> None:
    first = await ask(house, system=[{"type": "text", "text": "x-anthropic-billing-header: 1"}])
    history = [*HELLO, {"role": "assistant", "content": [block.to_dict() for block in first.content]}]
    await ask(
        house, [*history, {"role": "user", "content": "more"}],
        system=[{"type": "text", "text": "x-anthropic-billing-header: 2"}],
    )  # fmt: skip
    one, two = recorded(house)
    assert one.conversation_id == two.conversation_id
    assert all("billing" not in str(message) for message in engine.requests[-1][1]["messages"])


async def test_store_false_and_the_narrower_consent_hold(house: Running) -> None:
    await ask(house, [{"role": "user", "content": "a secret"}], extra_body={"store": False})
    await ask(house, extra_headers={"X-Ruminate-Consent": "history"})
    await ask(house, extra_body={"ruminate": {"consent": "train", "origin": "chat"}})
    assert [(row.consent, row.origin) for row in recorded(house)] == [
        ("none", "api"),
        ("history", "api"),
        ("train", "chat"),
    ]
    for path in house.home.rglob("*"):
        assert not path.is_file() or b"a secret" not in path.read_bytes(), path


async def test_errors_have_anthropics_form(house: Running, engine: FakeEngine) -> None:
    client = client_of(house)
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await client.messages.create(model="gpt-4", max_tokens=5, messages=HELLO)
    body: Any = unknown.value.body
    assert (body["type"], body["error"]["type"], body["error"]["code"]) == (
        "error",
        "not_found_error",
        "model_not_found",
    )
    assert "GET /v1/models" in body["error"]["message"]
    with pytest.raises(anthropic.BadRequestError, match="maximum context length"):
        await client.with_options(timeout=60).messages.create(model="ruminate", max_tokens=100_000, messages=HELLO)
    for answer in (
        await house.http.post("/v1/messages", content=b"{"),
        await house.http.get("/v1/messages"),
        await house.http.post("/v1/messages/batches", json={}),
    ):
        assert 400 <= answer.status_code < 500
        assert answer.json()["type"] == "error"
        assert answer.json()["error"]["message"]
    engine.fail_next = 100
    with pytest.raises(anthropic.ServiceUnavailableError) as down:
        await client.messages.create(model="ruminate", max_tokens=5, messages=HELLO)
    assert down.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index]
    assert down.value.response.headers["retry-after"]
    assert [one.ending for one in recorded(house)] == ["error"]


async def test_what_can_not_be_honoured_is_refused_by_name(house: Running, engine: FakeEngine) -> None:
    good = {"model": "ruminate", "max_tokens": 50, "messages": HELLO}
    for wrong, param in (
        ({"max_tokens": None}, "max_tokens"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0].type"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "I"}]}, "messages"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 50}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "huge"}}, "reasoning_effort"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management.edits[0].type"),
        ({"output_format": {"type": "regex"}}, "output_config.format.type"),
        ({"output_format": SCHEMA, "output_config": {"format": SCHEMA | {"schema": {}}}}, "output_format"),
        ({"messages": [{"role": "assistant", "content": []}]}, "messages"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"priority": -5}, "priority"),
        ({"chat_template": "x"}, "chat_template"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
    ):
        refused = await house.http.post("/v1/messages", json=good | wrong)
        said = refused.json()["error"]
        assert (refused.status_code, said["type"], said["param"]) == (400, "invalid_request_error", param), wrong
    assert engine.requests == []
    assert recorded(house) == []


async def test_a_broken_answer_ends_in_an_error_event(house: Running, engine: FakeEngine) -> None:
    for fault, words in (({"die_after": 5}, "engine"), ({"fail_after": 5}, "the fake failed")):
        for name, value in {"die_after": None, "fail_after": None, **fault}.items():
            setattr(engine, name, value)
        with pytest.raises(anthropic.APIStatusError, match=words) as broken:
            await follow(house)
        assert broken.value.body["error"]["type"] == "api_error"  # type: ignore[index]
    assert [row.ending for row in recorded(house)] == ["error", "error"]


async def test_images_and_structure_reach_the_engine_in_its_form(house: Running, engine: FakeEngine) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AA=="}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    schema = {"type": "json_schema", "schema": {"type": "object"}}
    await ask(house, [{"role": "user", "content": content}], output_config={"format": schema})
    sent = engine.requests[-1][1]
    assert sent["messages"][0]["content"][0]["image_url"] == {"url": "data:image/png;base64,AA=="}
    assert sent["response_format"]["json_schema"]["schema"] == {"type": "object"}


async def test_a_structure_is_asked_for_by_its_name_in_the_beta_too(house: Running, engine: FakeEngine) -> None:
    for wish in ({"output_format": SCHEMA}, {"output_format": SCHEMA, "output_config": {"format": SCHEMA}}):
        await ask(house, extra_body=wish)
        sent = engine.requests[-1][1]
        assert sent["response_format"]["json_schema"]["schema"] == {"type": "object"}, wish
        assert "output_format" not in sent


async def test_to_leave_earlier_thoughts_out_is_what_happens_anyway(house: Running, engine: FakeEngine) -> None:
    kept: list[Any] = [{"type": "clear_thinking_20251015", "keep": "all"}]
    for edits in (kept, []):
        await client_of(house).beta.messages.create(
            model="ruminate", max_tokens=100, messages=HELLO, context_management={"edits": edits}
        )
        assert "context_management" not in engine.requests[-1][1]


async def test_an_answer_without_any_block_can_be_sent_back(house: Running, engine: FakeEngine) -> None:
    history = [*HELLO, {"role": "assistant", "content": []}, {"role": "user", "content": "go on"}]
    await ask(house, history)
    assert engine.requests[-1][1]["messages"][1] == {"role": "assistant", "content": ""}


async def test_a_repeated_request_is_one_turn_and_not_one_of_a_chat(house: Running, engine: FakeEngine) -> None:
    wish, key = {"model": "ruminate", "max_tokens": 50, "messages": HELLO}, {"Idempotency-Key": "k"}
    first = await house.http.post("/v1/messages", json=wish, headers=key)
    again = await house.http.post("/v1/messages", json=wish, headers=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    other = await house.http.post("/v1/chat/completions", json=wish, headers=key)
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert len(engine.requests) == len(recorded(house)) == 1


async def test_a_key_is_sent_in_either_way_and_limits_hold(engine: FakeEngine, tmp_path: Path) -> None:
    async with running_gateway(
        tmp_path / "home", [engine.url], loopback_without_key=False, requests_per_minute=2
    ) as house:
        await house.until_ready()
        with house.database.transaction() as session:
            ann = users.ensure_user(session, "ann", "user", "history")
            _, key = users.create_key(session, ann.id)
        wish: Any = {"model": "ruminate", "max_tokens": 5, "messages": HELLO}
        with pytest.raises(anthropic.AuthenticationError) as refused:
            await client_of(house).messages.create(**wish)
        assert refused.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]
        await client_of(house, key).messages.create(**wish)  # x-api-key
        await client_of(house, None, key).messages.create(**wish)  # a bearer token
        with pytest.raises(anthropic.RateLimitError) as limited:
            await client_of(house, key).messages.create(**wish)
        assert limited.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]
        assert [row.consent for row in recorded(house)] == ["history", "history"]
