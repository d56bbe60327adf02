"""A plain chat passes through unharmed, and a client that leaves in the middle leaves nothing behind but its turn."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from support.fake_engine import LOGPROBS, FakeEngine
from support.gateways import Running
from support.waiting import until

from db.ids import new_id
from db.schema import Generation

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}
PLAIN: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "what is this? é\u2028 </think>"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "a pixel"},
    ],
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"5": -100, "7": 1.5},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "temperature": 0.25,
    "min_tokens": 3,
    "seed": 2**40,
    "stop": ["\n\n"],
    "an_unknown_field": {"of": ["any", {"depth": 1.0}], "none": None},
}


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_gateway_does_not_read_reaches_the_engine_word_for_word(
    house: Running, engine: FakeEngine, stream: bool
) -> None:
    body = {"model": "ruminate", **PLAIN} | ({"stream": True} if stream else {})
    answer = await house.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    added: dict[str, Any] = {"model": "ruminate-v0", "priority": 0}
    if stream:
        added["stream_options"] = {"include_usage": True}
    assert engine.requests[-1][1] == body | added
    direct = await house.http.post(f"{engine.url}/v1/chat/completions", json=engine.requests[-1][1])
    if not stream:
        assert answer.content == direct.content
        assert answer.json()["choices"][0]["logprobs"] == LOGPROBS
        return
    usage = next(event for event in direct.text.split("\n\n") if '"choices":[]' in event)
    assert answer.text == direct.text.replace(usage + "\n\n", "")  # the counts were not asked for
    pieces = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert [piece["choices"][0]["logprobs"] for piece in pieces] == [LOGPROBS] * len(pieces)


async def test_a_client_that_leaves_anywhere_leaves_one_turn_and_nothing_counted(
    house: Running, engine: FakeEngine
) -> None:
    engine.delay = 0.003
    loop, pool = asyncio.get_running_loop(), house.gateway.pool
    port = int(house.url.rsplit(":", 1)[1])

    def rows(conversation: str) -> list[str | None]:
        with house.database.reading() as session:
            found = select(Generation.ending).where(Generation.conversation_id == conversation)
            return list(session.scalars(found))

    def counted() -> list[int]:
        return [
            pool.chats,
            engine.running,
            len(house.gateway.limiter._answers),
            *(one.in_flight for one in pool.engines),
        ]

    async def leave(after: int, stream: bool) -> None:
        conversation = new_id()
        body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
        raw = json.dumps(body | {"ruminate": {"conversation_id": conversation}}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(raw)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + raw)
        await writer.drain()
        got = 0
        while got < after and (some := await reader.read(after - got)):
            got += len(some)
        writer.transport.abort()
        await until(counted, "something still counts", lambda counts: not any(counts), 60.0)
        if got:
            await until(lambda: rows(conversation), "the turn was not recorded", seconds=60.0)
        ended = rows(conversation)
        assert len(ended) == 1 or (not got and not ended)
        assert not pool._in_use

    @settings(
        max_examples=25, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(
        after=st.one_of(st.just(0), st.integers(1, 600), st.integers(600, 3500)),
        stream=st.sampled_from([True, True, False]),
    )
    def anywhere(after: int, stream: bool) -> None:
        asyncio.run_coroutine_threadsafe(leave(after, stream), loop).result(90)

    await asyncio.to_thread(anywhere)
    assert (await house.chat()).status_code == 200
