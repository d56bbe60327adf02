"""Chats through the gateway: streamed and whole, byte for byte, recorded before they end."""

import asyncio
import json
from pathlib import Path

import openai
import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from db.schema import Generation
from server.outcome import response_begins

pytestmark = pytest.mark.usefixtures("kind")  # on SQLite and on PostgreSQL


def generations(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation).order_by(Generation.id)))


async def test_a_streamed_answer_separates_thought_and_response_and_names_the_checkpoint(
    house: Running, engine: FakeEngine
) -> None:
    client = openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none")
    stream = await client.chat.completions.create(
        model="ruminate", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    reasoning = response = ""
    async for chunk in stream:
        assert chunk.model == "ruminate-v0"
        assert chunk.choices, "token counts were not asked for"
        reasoning += getattr(chunk.choices[0].delta, "reasoning", None) or ""
        response += chunk.choices[0].delta.content or ""
    assert (reasoning, response) == engine.text("ruminate-v0")
    (recorded,) = generations(house)
    assert (recorded.reasoning, recorded.response, recorded.ending) == (reasoning, response, "complete")
    assert (recorded.prompt_tokens, recorded.completion_tokens, recorded.reasoning_tokens) == (7, 9, 3)
    assert (recorded.consent, recorded.origin, recorded.engine) == ("train", "api", engine.url)


async def test_how_long_it_thought_is_recorded_and_told(house: Running, engine: FakeEngine) -> None:
    engine.delay = 0.2  # three pieces of thought, then the response
    body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    async with house.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        await answer.aread()
    (recorded,) = generations(house)
    assert recorded.first_token_at is not None
    assert recorded.thought_ended_at is not None
    assert recorded.ended_at is not None
    assert recorded.first_token_at < recorded.thought_ended_at < recorded.ended_at
    tree = (await house.http.get(f"/api/conversations/{answer.headers['x-ruminate-conversation']}")).json()
    told = tree["messages"][-1]["generation"]["thought_seconds"]
    assert told == pytest.approx((recorded.thought_ended_at - recorded.first_token_at).total_seconds(), abs=0.06)
    assert told >= 0.5


async def test_of_an_answer_in_one_piece_nobody_knows_how_long_it_thought(house: Running) -> None:
    answer = await house.chat("hello")
    tree = (await house.http.get(f"/api/conversations/{answer.headers['x-ruminate-conversation']}")).json()
    assert tree["messages"][-1]["generation"]["thought_seconds"] is None


def test_the_response_begins_with_its_first_words_or_call_whatever_a_thought_quotes() -> None:
    role = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    thought = b'data: {"choices":[{"delta":{"reasoning":"say \\"content\\":\\"x\\""}}]}\n\n'
    words = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    call = b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n'
    assert response_begins([role, thought, thought, words, words]) == 3
    assert response_begins([role, thought, words[:40], words[40:]]) == 2  # where it begins, wherever it was cut
    assert response_begins([role, thought, call]) == 2
    assert response_begins([role, thought]) is None


async def test_a_whole_answer_is_the_engines_own_and_is_recorded(house: Running, engine: FakeEngine) -> None:
    client = openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none")
    answer = await client.chat.completions.create(model="ruminate", messages=[{"role": "user", "content": "hello"}])
    assert answer.model == "ruminate-v0"
    assert answer.choices[0].message.content == engine.text("ruminate-v0")[1]
    (recorded,) = generations(house)
    assert recorded.response == answer.choices[0].message.content


async def test_the_bytes_of_a_stream_are_the_engines(house: Running, engine: FakeEngine) -> None:
    body = {"model": "ruminate-v0", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    body["stream_options"] = {"include_usage": True}
    async with house.http.stream("POST", "/v1/chat/completions", json=body) as through:
        got = await through.aread()
    async with house.http.stream("POST", f"{engine.url}/v1/chat/completions", json=body) as direct:
        assert got == await direct.aread()
    assert through.headers["x-ruminate-checkpoint"] == "v0"
    assert through.headers["x-ruminate-generation"] == generations(house)[0].id
    assert through.headers["x-ruminate-conversation"] == generations(house)[0].conversation_id


async def test_the_record_is_there_before_the_last_bytes(house: Running) -> None:
    body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    async with house.http.stream("POST", "/v1/chat/completions", json=body) as stream:
        async for line in stream.aiter_lines():
            if line == "data: [DONE]":
                assert [one.ending for one in generations(house)] == ["complete"]
                return
    raise AssertionError("the stream had no end")


async def test_store_false_keeps_no_words(house: Running) -> None:
    answer = await house.chat("a secret", store=False)
    assert answer.status_code == 200
    assert "x-ruminate-conversation" not in answer.headers
    (recorded,) = generations(house)
    assert recorded.consent == "none"
    assert recorded.response is None
    assert recorded.conversation_id is None
    for path in house.home.rglob("*"):
        if path.is_file():
            assert b"a secret" not in path.read_bytes(), path


async def test_a_conversation_goes_on_by_its_id_and_by_its_history(house: Running) -> None:
    first = await house.chat("one")
    conversation = first.headers["x-ruminate-conversation"]
    said = first.json()["choices"][0]["message"]["content"]
    history = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "two"},
    ]
    second = await house.chat(messages=history)
    assert second.headers["x-ruminate-conversation"] == conversation
    third = await house.chat(messages=history[:2] + [{"role": "user", "content": "three"}],
                             ruminate={"conversation_id": conversation, "origin": "chat"})  # fmt: skip
    assert third.headers["x-ruminate-conversation"] == conversation
    tree = (await house.http.get(f"/api/conversations/{conversation}")).json()
    assert [message["content"] for message in tree["messages"] if message["role"] == "user"] == ["one", "two", "three"]


async def test_service_fields_are_refused_and_priority_is_set(house: Running, engine: FakeEngine) -> None:
    for field in ("cache_salt", "vllm_xargs", "kv_transfer_params", "chat_template"):
        refused = await house.chat(**{field: "x"})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == field
    assert (await house.chat(priority=-5)).status_code == 400
    assert (await house.chat()).status_code == 200
    assert engine.requests[-1][1]["priority"] == 0
    assert "ruminate" not in engine.requests[-1][1]


async def test_errors_have_openais_form(house: Running) -> None:
    wrong = {
        "unknown model": await house.chat(model="gpt-4"),
        "no messages": await house.chat(messages=[]),
        "engine's own refusal": await house.chat(max_tokens=100_000),
        "not JSON": await house.http.post("/v1/chat/completions", content=b"{"),
        "no such path": await house.http.get("/v1/nothing"),
        "control endpoint": await house.http.post("/v1/load_lora_adapter", json={}),
        "wrong method": await house.http.get("/v1/chat/completions"),
    }
    for what, answer in wrong.items():
        error = answer.json()["error"]
        assert {"message", "type", "param", "code"} <= set(error), what
        assert 400 <= answer.status_code < 500, what
    assert wrong["unknown model"].json()["error"]["code"] == "model_not_found"
    assert "maximum context length" in wrong["engine's own refusal"].json()["error"]["message"]
    assert generations(house) == []


async def test_several_choices_are_several_generations(house: Running) -> None:
    await house.chat(n=3)
    recorded = generations(house)
    assert len(recorded) == 3
    assert len({one.request_id for one in recorded}) == 3
    assert len({one.prompt_message_id for one in recorded}) == 1
    counts = [(one.prompt_tokens, one.completion_tokens, one.reasoning_tokens) for one in recorded]
    assert sorted(counts, key=str, reverse=True) == [(None, None, None), (None, None, None), (7, 9, 3)]


async def test_a_raw_completion_is_recorded_but_never_trained_on(house: Running) -> None:
    answer = await house.http.post("/v1/completions", json={"model": "ruminate", "prompt": "Once", "max_tokens": 5})
    assert answer.status_code == 200
    (recorded,) = generations(house)
    assert (recorded.consent, recorded.reasoning, recorded.response) == (
        "history",
        "ruminate-v0 thinks",
        "ruminate-v0 says",
    )


async def test_models_lists_the_alias_and_the_checkpoints(house: Running) -> None:
    listed = (await house.http.get("/v1/models")).json()
    assert [card["id"] for card in listed["data"]] == ["ruminate", "ruminate-v0"]
    assert json.dumps(listed)


@pytest.mark.parametrize(("takes", "said"), [(False, ["text"]), (True, ["text", "image"])])
async def test_models_say_whether_their_engine_takes_images(
    engine: FakeEngine, tmp_path: Path, store: str, takes: bool, said: list[str]
) -> None:
    engine.takes_images = takes
    async with running_gateway(tmp_path / "home", [engine.url], database_url=store) as house:
        await house.until_ready()
        async with asyncio.timeout(10):  # it is asked right after the engine's first answer
            while True:
                listed = (await house.http.get("/v1/models")).json()["data"]
                if [card["architecture"]["input_modalities"] for card in listed] == [said, said]:
                    break
                await asyncio.sleep(0.05)
        assert house.gateway.pool.engines[0].takes_images is takes
