"""What breaks and what does not: engines that die, clients that leave, a database that is gone, a killed gateway."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import select
from support.adapters import add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.stores import alone
from support.swaps import two_engines
from support.waiting import until

from db.schema import Generation, Message
from server.arrivals import PATIENCE_SECONDS


@pytest.fixture
def patience() -> float:
    """As by default: these tests take the database away."""
    return 1.0


def generations(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation).order_by(Generation.id)))


def move(source: Path, target: Path) -> None:
    """A SQLite database, with the files beside it."""
    for suffix in ("", "-wal", "-shm"):
        if Path(f"{source}{suffix}").exists():
            Path(f"{source}{suffix}").rename(f"{target}{suffix}")


async def test_an_engine_that_dies_in_the_middle_ends_the_stream_with_a_clear_error(
    house: Running, engine: FakeEngine
) -> None:
    engine.die_after = 5
    client = openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0)
    stream = await client.chat.completions.create(
        model="ruminate", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    with pytest.raises(openai.APIError, match="went away"):
        async for _ in stream:
            pass
    (recorded,) = generations(house)
    assert recorded.ending == "error"
    assert recorded.reasoning == engine.text("ruminate-v0")[0]


GARBLED = [b"", b'{"choices": [', b"[]", b"{}", b'{"choices": null}', b'{"choices": [{}]}', b"<html></html>"]
SAID = {"messages": [{"role": "user", "content": "hello"}]}
FORMS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": SAID,
    "/v1/responses": {"input": "hello"},
    "/v1/messages": SAID | {"max_tokens": 9},
}
EVENTS = [b'data: {"choices": [\n\n', b'data: {"choices":[{"delta":{}},5]}\n\n', b'data: {"choices":5}\n\n']


@pytest.mark.parametrize("garbled", GARBLED)
async def test_an_answer_that_can_not_be_read_is_an_engines_error_everywhere(
    house: Running, engine: FakeEngine, tmp_path: Path, garbled: bytes
) -> None:
    engine.garbles = garbled
    chat = await house.chat()
    assert (chat.status_code, chat.json()["error"]["code"]) == (502, "engine_error")
    assert engine.url in chat.json()["error"]["message"]
    (recorded,) = generations(house)
    assert recorded.ending == "error"
    sampled = {"model": "ruminate-v0", "prompts": [[1, 2]], "max_tokens": 1}
    measured = {"model": "ruminate-v0", "sequences": [{"prompt_ids": [1], "completion_ids": [2]}]}
    for path, wish in (("/internal/sample", sampled), ("/internal/logprobs", measured)):
        answer = await house.service.post(path, json=wish)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error"), answer.text
    name = add_checkpoint(house.database, tmp_path)
    refused = await house.http.post("/api/deployments", json={"checkpoint": name, "reason": "a test"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "adapter_refused")
    assert "is not what vLLM answers" in refused.json()["error"]["message"]
    engine.garbles = None
    assert (await house.chat()).status_code == 200  # the keeper outlived it


@pytest.mark.parametrize("garbled", GARBLED)
async def test_the_same_in_the_other_forms_and_where_tokens_are_counted(
    house: Running, engine: FakeEngine, garbled: bytes
) -> None:
    engine.garbles = garbled
    for path, body in FORMS.items():
        for more in ({}, {"include_reasoning": False}):
            answer = await house.http.post(path, json={"model": "ruminate", **body, **more})
            assert (answer.status_code, engine.url in answer.text) == (502, True), (path, answer.text)
    assert {one.ending for one in generations(house)} == {"error"}
    for path in ("/tokenize", "/v1/messages/count_tokens"):
        answer = await house.http.post(path, json={"model": "ruminate", **SAID})
        assert (answer.status_code, "is not what vLLM answers" in answer.text) == (502, True), (path, answer.text)


@pytest.mark.parametrize("place", [0, 4, -2, -1])
@pytest.mark.parametrize("garbled", EVENTS)
async def test_an_event_that_can_not_be_read_ends_a_stream_with_an_error_and_its_turn_is_kept(
    house: Running, engine: FakeEngine, garbled: bytes, place: int
) -> None:
    """In the middle, at the beginning, and where a stream tells its counts and its end."""
    told = 1 + 3 + engine.words + 3
    engine.says_at = {place % told: garbled}
    kept = 0
    for path, body in FORMS.items():
        for more in ({}, {"include_reasoning": False}):
            wish = {"model": "ruminate", "stream": True, **body, **more}
            answer = await house.http.post(path, json=wish)
            assert answer.status_code == 200
            end = answer.text.rstrip("\n").rsplit("\n\n", 1)[-1]
            assert engine.url in end, (path, more, answer.text)
            assert "error" in end
            kept += 1
            recorded = generations(house)
            assert (len(recorded), recorded[-1].ending) == (kept, "error"), (path, more)
    assert house.gateway.journal.recover() == []


async def test_a_count_that_is_none_costs_no_answer_and_is_not_known(house: Running, engine: FakeEngine) -> None:
    """As of thoughts, where a model opens one after its response began."""
    usage = {"prompt_tokens": 7, "completion_tokens": "9", "completion_tokens_details": {"reasoning_tokens": -4}}
    engine.says_at = {1 + 3 + engine.words + 1: b"data: %s\n\n" % json.dumps({"choices": [], "usage": usage}).encode()}
    answer = await house.chat(stream=True)
    assert answer.text.endswith("data: [DONE]\n\n"), answer.text
    (recorded,) = generations(house)
    assert (recorded.ending, recorded.response) == ("complete", engine.text("ruminate-v0")[1])
    assert (recorded.prompt_tokens, recorded.completion_tokens, recorded.reasoning_tokens) == (7, None, None)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_word_that_is_no_text_ends_an_answer_with_an_error_and_its_turn_is_kept(
    house: Running, engine: FakeEngine, stream: bool
) -> None:
    said = {"role": "assistant", "content": 5}
    engine.says_at = {3: b"data: %s\n\n" % json.dumps({"choices": [{"index": 0, "delta": said}]}).encode()}
    engine.garbles = json.dumps({"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}).encode()
    answer = await house.chat(stream=stream)
    assert "int where a text is due" in answer.text
    (recorded,) = generations(house)
    assert (recorded.ending, house.gateway.journal.recover()) == ("error", [])


async def test_a_request_that_streamed_nothing_yet_is_sent_again(house: Running, engine: FakeEngine) -> None:
    engine.fail_next = 1
    answer = await house.chat()
    assert answer.status_code == 200
    assert len(engine.requests) == 2
    assert len(generations(house)) == 1


@pytest.mark.parametrize(
    ("said", "told", "code"),
    [(400, 400, None), (422, 422, None), (501, 400, "unsupported_parameter"), (500, 502, "engine_error"),
     (401, 502, "engine_error")],
)  # fmt: skip
async def test_an_engine_refuses_a_request_by_its_status_and_fails_by_a_502(
    house: Running, engine: FakeEngine, said: int, told: int, code: str | None
) -> None:
    engine.fail_after, engine.fails_with = 0, said
    stream = await house.chat(stream=True)
    assert (stream.status_code, stream.json()["error"]["code"]) == (told, code)
    engine.refuses = said
    for path, wish in (("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
                       ("/tokenize", {"prompt": "hello"})):  # fmt: skip
        answer = await house.http.post(path, json={"model": "ruminate"} | wish)
        assert (answer.status_code, answer.json()["error"]["code"]) == (told, code), answer.text
    failed = ["error"] * 2 if told >= 500 else []  # a refusal is no turn
    assert [one.ending for one in generations(house)] == failed


async def test_a_request_goes_to_the_engine_that_is_left(tmp_path: Path, engine: FakeEngine) -> None:
    async with two_engines(tmp_path / "home", engine) as (house, other):
        await other.stop()
        answers = await asyncio.gather(*(house.chat() for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}


async def test_without_an_engine_a_request_waits_and_then_is_told_to_come_back(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], engine_wait_seconds=0.5) as house:
        await house.until_ready()
        await engine.stop()
        answer = await house.chat()
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert generations(house) == []


async def test_before_the_first_engine_is_up_health_says_starting(tmp_path: Path, engine: FakeEngine) -> None:
    await engine.stop()
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        health = await house.http.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "starting")
        answer = await house.chat()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_starting")
        assert answer.headers["retry-after"]
        await engine.start()
        await house.until_ready()
        assert (await house.chat()).status_code == 200


async def test_words_that_somebody_wrote_eject_no_engine(house: Running, engine: FakeEngine) -> None:
    """vLLM repeats in a refusal what it was given; its own death it tells by a 500."""
    seen = house.gateway.pool.engines[0].since
    engine.refuses, engine.refusal = 400, "1 validation error: {'type': 'float_parsing', 'input': 'EngineDeadError'}"
    answer = await house.chat(temperature="EngineDeadError")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, engine.refusal)
    assert (house.gateway.pool.engines[0].since, len(engine.requests)) == (seen, 1)


async def test_an_engine_that_says_it_is_dead_is_ejected(house: Running, engine: FakeEngine) -> None:
    engine.unhealthy = True
    await until(lambda: house.gateway.pool.engines[0].healthy, "the engine does not count as down", False)
    engine.unhealthy = False
    await until(lambda: house.gateway.pool.engines[0].healthy, "the engine still counts as down", True)


async def ask(house: Running, stream: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A chat, over a connection that the test can close."""
    body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
    data = json.dumps(body).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(data) + data)  # fmt: skip
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_the_engine_and_the_turn_is_interrupted(
    house: Running, engine: FakeEngine, stream: bool
) -> None:
    engine.delay = 0.3
    reader, writer = await ask(house, stream)
    await until(lambda: engine.running, "the engine was not asked", 1)
    if stream:
        await reader.readuntil(b"thinks1")
    writer.close()
    await until(lambda: engine.running, "the engine goes on with what nobody waits for", 0, seconds=1.0)
    assert engine.cancelled == 1
    await until(lambda: len(generations(house)), "the turn was not recorded", 1)
    (recorded,) = generations(house)
    assert recorded.ending == "interrupted"
    await until(lambda: house.gateway.pool.chats, "the chat still counts", 0)
    assert house.gateway.pool.engines[0].in_flight == 0


@alone
@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_stops_writing_for_a_client_that_left_before_a_locked_database_has_the_turn(
    tmp_path: Path, engine: FakeEngine, stream: bool
) -> None:
    engine.delay, engine.words = 0.3, 200
    async with running_gateway(tmp_path / "home", [engine.url], record_patience_seconds=60.0) as house:
        await house.until_ready()
        reader, writer = await ask(house, stream)
        await until(lambda: engine.running, "the engine was not asked", 1)
        if stream:
            await reader.readuntil(b"thinks1")
        lock = sqlite3.connect(house.home / "ruminate.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        writer.close()
        await until(lambda: engine.running, "the engine goes on with what nobody waits for", 0, seconds=3.0)
        assert generations(house) == []
        lock.execute("ROLLBACK")
        lock.close()
        await until(lambda: len(generations(house)), "the turn was not recorded", 1)
        assert (generations(house)[0].ending, engine.cancelled) == ("interrupted", 1)


@alone
async def test_with_the_database_gone_chat_goes_on_and_every_turn_is_replayed_exactly_once(house: Running) -> None:
    assert (await house.chat("before")).status_code == 200
    path = house.home / "ruminate.db"
    kept = path.with_suffix(".kept")
    house.database.close()
    move(path, kept)
    path.mkdir()  # a folder where the database was: nothing can be opened
    answers = await asyncio.gather(*(house.chat(f"during {number}") for number in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert house.gateway.recorder.waiting == 10
    assert "spool" in (await house.http.get("/health")).json()["trouble"]
    path.rmdir()
    house.database.close()
    move(kept, path)
    await until(lambda: house.gateway.recorder.waiting, "turns still wait in the spool", 0)
    with house.database.reading() as session:
        asked = session.scalars(select(Message.content).where(Message.role == "user").order_by(Message.content)).all()
    assert asked == sorted(["before", *(f"during {number}" for number in range(10))])
    assert len(generations(house)) == 11
    assert (await house.http.get("/health")).json()["trouble"] is None


async def test_a_locked_database_delays_no_answer_for_long(house: Running) -> None:
    lock = sqlite3.connect(house.home / "ruminate.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(house.chat(f"locked {number}") for number in range(5)))
    await house.chat("locked later")
    assert {answer.status_code for answer in answers} == {200}
    assert asyncio.get_running_loop().time() - began < 3
    lock.execute("ROLLBACK")
    lock.close()
    await until(lambda: (len(generations(house)), house.gateway.recorder.waiting), "turns were not recorded", (6, 0))


@alone
async def test_what_one_thinks_of_an_answer_may_be_said_before_it_is_recorded(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with running_gateway(tmp_path, [engine.url], record_patience_seconds=0.1) as house:
        await house.until_ready()
        lock = sqlite3.connect(house.home / "ruminate.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        place = {"ruminate": {"conversation_id": "two of them"}}
        left, right = [(await house.chat("hello", **place)).headers["x-ruminate-generation"] for _ in range(2)]
        opinions = asyncio.gather(
            house.http.post(f"/api/generations/{left}/feedback", json={"rating": 1}),
            house.http.put(f"/api/generations/{left}/regression", json={"kind": "good"}),
            house.http.post("/api/comparisons", json={"left": left, "right": right, "choice": "left"}),
        )
        await asyncio.sleep(0.5)
        assert not opinions.done()
        assert house.gateway.recorder.waiting == 2
        lock.execute("ROLLBACK")
        lock.close()
        assert [answer.status_code for answer in await opinions] == [201, 200, 201]


async def test_an_answer_that_is_nobodys_is_not_waited_for(house: Running) -> None:
    began = asyncio.get_running_loop().time()
    old = "0190c0de-7f00-7000-8000-00000000000a"  # of the year 2024
    for unknown in ("nothing", old):
        assert (await house.http.post(f"/api/generations/{unknown}/feedback", json={"rating": 1})).status_code == 404
    assert asyncio.get_running_loop().time() - began < PATIENCE_SECONDS


async def test_a_crowd_is_spooled_and_recorded_afterwards(house: Running) -> None:
    house.gateway.recorder._busy_since = 0  # as if a commit hung: everything goes to the spool at once
    answers = await asyncio.gather(*(house.chat(f"crowd {number}") for number in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    house.gateway.recorder._busy_since = float("inf")
    await until(lambda: len(generations(house)), "turns were not recorded", 100, seconds=60)
    await until(lambda: house.gateway.recorder.waiting, "turns still wait in the spool", 0)


async def test_a_turn_that_was_spooled_and_recorded_counts_once(house: Running, tmp_path: Path) -> None:
    kept = []
    record = house.gateway.recorder._record

    def remember(records):  # type: ignore[no-untyped-def]
        kept.extend(records)
        record(records)

    house.gateway.recorder._record = remember  # type: ignore[method-assign]
    await house.chat("once")
    house.gateway.recorder._record = record  # type: ignore[method-assign]
    house.gateway.recorder._to_spool(kept)  # as when the commit outlived the patience of its answer
    assert house.gateway.recorder.waiting == 1
    await until(lambda: house.gateway.recorder.waiting, "turns still wait in the spool", 0)
    assert len(generations(house)) == 1


async def test_answers_that_a_killed_gateway_broke_off_are_called_interrupted(
    tmp_path: Path, engine: FakeEngine
) -> None:
    home = tmp_path / "home"
    async with running_gateway(home, [engine.url]) as house:
        await house.until_ready()
        await house.chat("finished")
        journal = home / "spool" / "gateway-8000" / "open.jsonl"
        engine.delay = 0.1
        running = asyncio.create_task(house.chat("broken off", stream=True))
        await until(lambda: journal.read_bytes(), "the turn is not in the journal", lambda has: b"broken off" in has)
        left_behind = journal.read_bytes()
        running.cancel()
        await until(lambda: len(generations(house)), "the turn was not recorded", 2)
        with house.database.transaction() as session:
            session.delete(generations(house)[-1])
    journal.write_bytes(left_behind + b'{"begin": {"request_id": "cut o')
    async with running_gateway(home, [engine.url]) as house:
        await until(lambda: len(generations(house)), "the turn was not recorded", 2)
        assert [one.ending for one in generations(house)] == ["complete", "interrupted"]


async def test_a_full_disk_and_no_database_still_answer_and_tell_the_operator(
    house: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(house.gateway.journal, "begin", full)
    monkeypatch.setattr(house.gateway.spool, "append", full)
    house.gateway.recorder._down_until = float("inf")
    assert (await house.chat()).status_code == 200
    assert "lost" in (await house.http.get("/health")).json()["trouble"]
