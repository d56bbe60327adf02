"""Counting tokens in three forms, and the route that has no embeddings."""

from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import openai
import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from db.queries import users
from db.schema import Generation

SAID = [{"role": "user", "content": "one two three"}]


@pytest.fixture
async def claude(house: Running) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=house.url, api_key="none", max_retries=0) as client:
        yield client


async def test_tokens_are_counted_by_the_engine_of_the_model_and_nothing_is_recorded(
    house: Running, engine: FakeEngine, claude: anthropic.AsyncAnthropic
) -> None:
    raw = await house.http.post(
        "/tokenize", json={"model": "ruminate", "prompt": "one two", "return_token_strs": False}
    )
    assert raw.json() == {"count": 2, "max_model_len": 1024, "tokens": [0, 1], "token_strs": None}
    assert engine.requests[-1] == (
        "/tokenize",
        {"prompt": "one two", "return_token_strs": False, "model": "ruminate-v0"},
    )
    chat = await house.http.post("/tokenize", json={"messages": SAID, "reasoning_effort": "none", "temperature": 1})
    assert chat.json()["count"] == 3
    off = {"enable_thinking": False}
    assert engine.requests[-1][1] == {"messages": SAID, "chat_template_kwargs": off, "model": "ruminate-v0"}
    text = await house.http.post("/detokenize", json={"tokens": [5, 6]})
    assert text.json() == {"prompt": "5 6"}
    counted = await claude.messages.count_tokens(
        model="ruminate", system="Be brief.", messages=SAID, thinking={"type": "disabled"}  # type: ignore[arg-type]
    )  # fmt: skip
    assert counted.input_tokens == 5
    path, sent = engine.requests[-1]
    assert (path, sent["messages"][0]["role"], sent["chat_template_kwargs"]) == ("/tokenize", "system", off)
    with house.database.reading() as session:
        assert session.scalars(select(Generation)).all() == []


async def test_a_conversation_is_counted_that_ends_with_its_answer(
    engine: FakeEngine, claude: anthropic.AsyncAnthropic
) -> None:
    said = [*SAID, {"role": "assistant", "content": [{"type": "text", "text": "four five"}]}]
    assert (await claude.messages.count_tokens(model="ruminate", messages=said)).input_tokens == 5  # type: ignore[arg-type]
    assert engine.requests[-1][1]["messages"][-1] == {"role": "assistant", "content": "four five"}


async def test_what_can_not_be_counted_is_refused(
    house: Running, engine: FakeEngine, claude: anthropic.AsyncAnthropic
) -> None:
    for wrong in (
        {"messages": SAID, "chat_template": "x"},
        {"messages": SAID, "chat_template_kwargs": {"chat_template": "x"}},
        {"prompt": ""},
        {"messages": []},
    ):
        assert (await house.http.post("/tokenize", json=wrong)).status_code == 400, wrong
    assert engine.requests == []
    assert (await house.http.post("/tokenize", json={"prompt": "x", "model": "gpt-4"})).status_code == 404
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await claude.messages.count_tokens(model="gpt-4", messages=SAID)  # type: ignore[arg-type]
    assert unknown.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]


async def test_embeddings_are_refused_in_words(house: Running, engine: FakeEngine) -> None:
    async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none") as client:
        with pytest.raises(openai.BadRequestError, match="no embeddings are made here") as refused:
            await client.embeddings.create(model="ruminate", input="hello")
    assert refused.value.code == "unsupported_endpoint"
    assert engine.requests == []


async def test_counting_takes_a_key_of_the_right_scope_and_counts_as_a_request(
    engine: FakeEngine, tmp_path: Path
) -> None:
    async with running_gateway(
        tmp_path / "home", [engine.url], loopback_without_key=False, requests_per_minute=1, max_body_bytes=2048
    ) as house:
        await house.until_ready()
        with house.database.transaction() as session:
            ann = users.ensure_user(session, "ann", "user", "history")
            keys = {scope: users.create_key(session, ann.id, [scope])[1] for scope in ("chat", "app")}
        statuses = []
        for key, prompt in ((None, "x"), ("app", "x"), ("chat", "x" * 3000), ("chat", "x"), ("chat", "x")):
            headers = {} if key is None else {"x-api-key": keys[key]}
            statuses.append((await house.http.post("/tokenize", json={"prompt": prompt}, headers=headers)).status_code)
        assert statuses == [401, 403, 413, 200, 429]
