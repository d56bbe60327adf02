"""OpenAI's Responses API by its official client: items, events, refusals, and the record behind it."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.responses import TOOL, client_of, recorded, streamed

from db.queries import users

pytestmark = pytest.mark.usefixtures("clients_are_closed")


async def test_an_answer_has_its_thought_as_an_item_of_its_own(house: Running, engine: FakeEngine) -> None:
    thought, response = engine.text("ruminate-v0")
    answer = await client_of(house).responses.create(
        model="ruminate", input="hello", instructions="Be brief.", max_output_tokens=50, temperature=0.5
    )
    assert (answer.status, answer.model, answer.output_text) == ("completed", "ruminate-v0", response)
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert [part.text for part in answer.output[0].content] == [thought]
    assert answer.output[0].summary == []
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 9, 16)
    assert answer.usage.output_tokens_details.reasoning_tokens == 3
    assert (answer.instructions, answer.max_output_tokens, answer.temperature) == ("Be brief.", 50, 0.5)
    (row,) = recorded(house)
    assert answer.id == f"resp_{row.id}"
    assert (row.reasoning, row.response, row.ending, row.consent) == (thought, response, "complete", "train")
    assert (row.prompt_tokens, row.completion_tokens, row.reasoning_tokens) == (7, 9, 3)
    assert row.sampling["max_completion_tokens"] == 50
    path, sent = engine.requests[-1]
    assert (path, sent["priority"]) == ("/v1/chat/completions", 0)
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    assert not {"input", "instructions", "max_output_tokens"} & sent.keys()


async def test_a_stream_says_the_same_in_the_events_of_the_api(house: Running, engine: FakeEngine) -> None:
    client = client_of(house)
    whole = await client.responses.create(model="ruminate", input="hello")
    events, last = await streamed(client, input="hello")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    shorter = [event.type for index, event in enumerate(events) if index == 0 or event.type != events[index - 1].type]
    assert shorter == [
        "response.created", "response.in_progress",
        "response.output_item.added", "response.content_part.added", "response.reasoning_text.delta",
        "response.reasoning_text.done", "response.content_part.done", "response.output_item.done",
        "response.output_item.added", "response.content_part.added", "response.output_text.delta",
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip
    thought = "".join(event.delta for event in events if event.type == "response.reasoning_text.delta")
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert (thought, said) == engine.text("ruminate-v0")
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == last.output
    changing = {"id", "created_at", "output"}
    assert whole.model_dump(exclude=changing) == last.model_dump(exclude=changing)
    assert [item.model_dump(exclude={"id"}) for item in whole.output] == [
        item.model_dump(exclude={"id"}) for item in last.output
    ]
    assert [(row.response, row.ending) for row in recorded(house)] == [(said, "complete")] * 2


async def test_the_clients_own_reader_of_streams_follows(house: Running, engine: FakeEngine) -> None:
    engine.calls = [("weather", '{"city": "Rome"}')]
    async with client_of(house).responses.stream(model="ruminate", input="hello", tools=[TOOL]) as stream:  # type: ignore[list-item]
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    assert final.output_text == engine.text("ruminate-v0")[1]
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]


async def test_the_record_is_there_before_the_last_event(house: Running) -> None:
    wish = {"model": "ruminate", "input": "hello", "stream": True}
    async with house.http.stream("POST", "/v1/responses", json=wish) as stream:
        async for line in stream.aiter_lines():
            if line == "event: response.completed":
                assert [row.ending for row in recorded(house)] == ["complete"]
                return
    raise AssertionError("the stream had no end")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hiding", [{"include_reasoning": False}, {"reasoning": {"exclude": True}}])
async def test_a_hidden_thought_is_no_item_and_is_recorded(
    house: Running, engine: FakeEngine, stream: bool, hiding: dict[str, Any]
) -> None:
    wish = {"model": "ruminate", "input": "hello", "stream": stream, **hiding}
    answer = await house.http.post("/v1/responses", json=wish)
    assert answer.status_code == 200
    assert "thinks" not in answer.text
    assert "says5" in answer.text
    assert '"reasoning_tokens":3' in answer.text
    assert recorded(house)[0].reasoning == engine.text("ruminate-v0")[0]


async def test_thinking_is_steered_as_in_a_chat(house: Running, engine: FakeEngine) -> None:
    client = client_of(house)
    await client.responses.create(model="ruminate", input="hello", reasoning={"effort": "none", "summary": "auto"})
    assert engine.requests[-1][1]["chat_template_kwargs"] == {"enable_thinking": False}
    await client.responses.create(model="ruminate", input="hello", reasoning={"effort": "high"})
    assert engine.requests[-1][1]["reasoning_effort"] == "high"
    wish = {"reasoning": {"max_tokens": 8}, "chat_template_kwargs": {"enable_thinking": True}, "top_k": 4}
    await client.responses.create(model="ruminate", input="hello", extra_body=wish)
    sent = engine.requests[-1][1]
    assert (sent["thinking_token_budget"], sent["top_k"]) == (8, 4)
    with pytest.raises(openai.BadRequestError, match="reasoning_effort is 'huge'"):
        await client.responses.create(model="ruminate", input="hello", reasoning={"effort": "huge"})  # type: ignore[typeddict-item]


async def test_an_answer_that_was_cut_off_is_incomplete(house: Running, engine: FakeEngine) -> None:
    engine.finish = ("length", None)
    answer = await client_of(house).responses.create(model="ruminate", input="hello")
    events, last = await streamed(client_of(house), input="hello")
    for one in (answer, last):
        assert (one.status, one.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert [item.status for item in one.output] == ["completed", "incomplete"]
    assert events[-1].type == "response.incomplete"
    assert [row.ending for row in recorded(house)] == ["truncated_response"] * 2


async def test_tools_are_called_and_their_results_come_back(house: Running, engine: FakeEngine) -> None:
    client = client_of(house)
    engine.calls = [("weather", '{"city": "Rome"}'), ("weather", '{"city": "Oslo"}')]
    choice = {"type": "function", "name": "weather"}
    first = await client.responses.create(model="ruminate", input="hello", tools=[TOOL], tool_choice=choice)  # type: ignore[list-item, arg-type]
    sent = engine.requests[-1][1]
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "weather", "parameters": TOOL["parameters"], "strict": False}}
    ]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.call_id, json.loads(call.arguments)["city"]) for call in calls] == [
        ("call-0", "Rome"),
        ("call-1", "Oslo"),
    ]
    events, last = await streamed(client, input="hello", tools=[TOOL])
    assert [item.model_dump(exclude={"id"}) for item in last.output] == [
        item.model_dump(exclude={"id"}) for item in first.output
    ]
    assert "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta") == "".join(
        call.arguments for call in calls
    )
    engine.calls = []
    history: list[Any] = [{"role": "user", "content": "hello"}, *(item.to_dict() for item in first.output)]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    await client.responses.create(model="ruminate", input=history + results)
    said = engine.requests[-1][1]["messages"]
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "tool"]
    assert said[1]["reasoning"] == engine.text("ruminate-v0")[0]
    assert said[1]["tool_calls"][1]["function"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert said[2] == {"role": "tool", "tool_call_id": "call-0", "content": "sunny"}
    whole, stream, onward = recorded(house)
    assert onward.conversation_id in (whole.conversation_id, stream.conversation_id), "the history was not found again"
    await client.responses.create(model="ruminate", input=results, previous_response_id=first.id)  # type: ignore[arg-type]
    by_id = engine.requests[-1][1]["messages"]
    assert [message["role"] for message in by_id] == ["user", "assistant", "tool", "tool"]
    assert by_id[1]["tool_calls"] == said[1]["tool_calls"]


async def test_store_false_keeps_no_words(house: Running) -> None:
    answer = await client_of(house).responses.create(model="ruminate", input="a secret", store=False)
    assert answer.model_dump()["store"] is False
    (row,) = recorded(house)
    assert (row.consent, row.response, row.conversation_id) == ("none", None, None)
    for path in house.home.rglob("*"):
        assert not path.is_file() or b"a secret" not in path.read_bytes(), path


async def test_what_can_not_be_honoured_is_refused_by_name(house: Running, engine: FakeEngine) -> None:
    good = {"model": "ruminate", "input": "hello"}
    user = {"role": "user", "content": "hello"}
    for wrong, param in (
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice.type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
        ({"input": [user, {"type": "function_call", "name": "f", "arguments": {}}]}, "input[1].arguments"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"messages": [user]}, "messages"),
        ({"n": 2}, "n"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"priority": -5}, "priority"),
        ({"cache_salt": "x"}, "cache_salt"),
        ({"model": None}, "model"),
        ({"reasoning": {"effort": 7}}, "reasoning_effort"),
        ({"input": 7}, "input"),
        ({"tools": {}}, "tools"),
        ({"previous_response_id": 7}, "previous_response_id"),
    ):
        refused = await house.http.post("/v1/responses", json=good | wrong)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), (wrong, refused.text)
    assert (await house.http.post("/v1/responses", json=good | {"model": "gpt-4"})).status_code == 404
    assert engine.requests == []
    assert recorded(house) == []
    hints = {"metadata": {"a": "b"}, "user": "ann", "truncation": "disabled", "prompt_cache_key": "k",
             "include": ["reasoning.encrypted_content"], "service_tier": "auto", "stream_options": {}}  # fmt: skip
    answer = await house.http.post("/v1/responses", json=good | hints)
    assert (answer.status_code, answer.json()["metadata"]) == (200, {"a": "b"})


async def test_a_broken_answer_ends_in_a_failed_response(house: Running, engine: FakeEngine) -> None:
    for fault, words in (({"die_after": 5}, "engine"), ({"fail_after": 5}, "the fake failed")):
        for name, value in {"die_after": None, "fail_after": None, **fault}.items():
            setattr(engine, name, value)
        events, last = await streamed(client_of(house), input="hello")
        assert [event.type for event in events].count("response.failed") == 1
        assert (last.status, last.error.code) == ("failed", "server_error")
        assert words in last.error.message
    assert [row.ending for row in recorded(house)] == ["error", "error"]


async def test_images_and_structure_reach_the_engine_in_its_form(house: Running, engine: FakeEngine) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}
    text = {"type": "input_text", "text": "What is it?"}
    shape = {"type": "json_schema", "name": "thing", "schema": {"type": "object"}, "strict": True}
    await client_of(house).responses.create(
        model="ruminate", input=[{"role": "user", "content": [text, image]}], text={"format": shape}  # type: ignore[list-item, misc, arg-type, typeddict-item]
    )  # fmt: skip
    sent = engine.requests[-1][1]
    assert sent["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    assert sent["response_format"]["json_schema"] == {"name": "thing", "schema": {"type": "object"}, "strict": True}


async def test_a_repeated_request_is_one_turn_in_this_form_too(house: Running, engine: FakeEngine) -> None:
    wish, key = {"model": "ruminate", "input": "hello"}, {"Idempotency-Key": "k"}
    first = await house.http.post("/v1/responses", json=wish, headers=key)
    again = await house.http.post("/v1/responses", json=wish, headers=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert {**again.json(), "created_at": 0} == {**first.json(), "created_at": 0}
    assert len(engine.requests) == len(recorded(house)) == 1


async def test_keys_and_limits_hold_here(engine: FakeEngine, tmp_path: Path) -> None:
    async with running_gateway(
        tmp_path / "home", [engine.url], loopback_without_key=False, requests_per_minute=1
    ) as house:
        await house.until_ready()
        with house.database.transaction() as session:
            ann = users.ensure_user(session, "ann", "user", "history")
            _, key = users.create_key(session, ann.id)
            _, app_key = users.create_key(session, ann.id, scopes=["app"])
        with pytest.raises(openai.AuthenticationError):
            await client_of(house).responses.create(model="ruminate", input="hello")
        with pytest.raises(openai.PermissionDeniedError):
            await client_of(house, app_key).responses.create(model="ruminate", input="hello")
        await client_of(house, key).responses.create(model="ruminate", input="hello")
        with pytest.raises(openai.RateLimitError):
            await client_of(house, key).responses.create(model="ruminate", input="hello")
        assert [row.consent for row in recorded(house)] == ["history"]
