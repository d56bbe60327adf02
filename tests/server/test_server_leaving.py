"""Clients that leave, or delete all of theirs, in the moment in which an answer is recorded."""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.records import a_turn, its_end
from support.waiting import until

from db.queries import forget
from db.schema import Generation, Message
from server import serving
from server.outcome import Outcome, Times, read_timed


def recorded(house: Running) -> list[tuple[str | None, str | None]]:
    with house.database.reading() as session:
        return [(row.ending, row.response) for row in session.scalars(select(Generation))]


async def ask(house: Running, ahead: int = 1 << 24) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    wish = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    data = json.dumps(wish).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]), limit=ahead)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(data) + data)  # fmt: skip
    return reader, writer


async def test_a_long_answer_whose_client_leaves_at_its_end_is_kept(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.words = 2500
    reading, go_on = threading.Event(), threading.Event()

    def slow(said: Sequence[bytes], came: Sequence[float], first_at: datetime) -> tuple[Outcome, Times]:
        reading.set()
        assert go_on.wait(20)
        return read_timed(said, came, first_at)

    monkeypatch.setattr(serving, "read_timed", slow)
    _, writer = await ask(house)
    await until(reading.is_set, "the answer is not read")
    writer.close()
    await until(lambda: house.gateway.pool.chats, "the chat still counts", 0)
    go_on.set()
    await until(lambda: recorded(house), "the turn was not recorded")
    assert recorded(house) == [("complete", engine.text("ruminate-v0")[1])]


async def test_a_client_that_takes_nothing_more_of_its_answer_counts_as_gone_after_a_while(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.words = 150_000  # more than the system takes of it
    async with running_gateway(tmp_path / "home", [engine.url], client_silence_seconds=1.0) as house:
        await house.until_ready()
        _, writer = await ask(house)
        limits = house.gateway.pool
        await until(lambda: limits.chats, "the chat does not count", 1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: limits.chats, "who takes nothing more does not count as gone", 0, seconds=60)
        assert [ending for ending, _ in recorded(house)] == ["interrupted"]
        assert limits.engines[0].in_flight == engine.running == 0
        assert (await house.chat()).status_code == 200  # others are answered
        writer.close()


async def test_a_client_that_is_slow_and_reads_gets_all_of_its_answer(tmp_path: Path, engine: FakeEngine) -> None:
    engine.words = 50_000
    async with running_gateway(tmp_path / "home", [engine.url], client_silence_seconds=1.0) as house:
        await house.until_ready()
        reader, writer = await ask(house, ahead=1 << 15)
        read = b""
        while b"data: [DONE]" not in read:
            await asyncio.sleep(0.01)
            read = read[-20:] + await reader.read(1 << 15)
        writer.close()
        assert [ending for ending, _ in recorded(house)] == ["complete"]


async def test_a_long_answer_whose_client_leaves_in_the_middle_is_read_off_the_event_loop(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.words, engine.delay = 600, 0.1
    read_by: list[int] = []

    def read(said: Sequence[bytes], came: Sequence[float], first_at: datetime) -> tuple[Outcome, Times]:
        read_by.append(threading.get_ident())
        return read_timed(said, came, first_at)

    monkeypatch.setattr(serving, "read_timed", read)
    monkeypatch.setattr(serving, "INLINE_BYTES", 0)
    reader, writer = await ask(house)
    await reader.readuntil(b"says1")
    writer.close()
    await until(lambda: recorded(house), "the turn was not recorded")
    ((ending, response),) = recorded(house)
    assert ending == "interrupted"
    assert engine.text("ruminate-v0")[1].startswith(response or "nothing")
    assert len(read_by) == 1
    assert read_by != [threading.get_ident()]


async def test_all_choices_of_a_client_that_leaves_at_the_end_are_kept(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather = asyncio.gather

    def left(*works: Any, **more: Any) -> Any:
        if getattr(works[0], "__qualname__", "") == "Recorder.complete":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return gather(*works, **more)

    monkeypatch.setattr(asyncio, "gather", left)
    with pytest.raises(Exception):  # noqa: B017, PT011  however the connection ends
        (await house.chat(n=3)).raise_for_status()
    monkeypatch.undo()
    await until(lambda: len(recorded(house)), "not every choice was recorded", 3)
    assert recorded(house) == [("complete", engine.text("ruminate-v0")[1])] * 3


async def test_what_is_spooled_while_its_user_deletes_everything_does_not_come_back(
    house: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = (await house.http.get("/api/me")).json()["id"]
    known = {"conversation_id": "my-place"}
    assert (await house.chat("first", ruminate=known)).status_code == 200
    assert (await house.chat("again", ruminate=known)).status_code == 200
    recorder, delete = house.gateway.recorder, forget.delete_user_data
    recorder._down_until = float("inf")

    def meanwhile(session: Any, user_id: str) -> Any:
        late = a_turn(user_id, [{"role": "user", "content": "a secret"}])
        recorder._to_spool([(late, its_end(late))])
        return delete(session, user_id)

    monkeypatch.setattr(forget, "delete_user_data", meanwhile)
    deleted = (await house.http.delete("/api/me/data")).json()["deleted"]
    assert (deleted["generations"], deleted["spooled"]) == (2, 1), me
    assert recorder.waiting == 0
    recorder._down_until = 0.0
    gone = await house.chat("on and on", ruminate=known)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")
    assert (await house.chat("new")).status_code == 200
    await until(lambda: recorder.trouble, "the recorder still tells of trouble", None)
    with house.database.reading() as session:
        words = session.scalars(select(Message.content).where(Message.role == "user")).all()
        assert words == ["new"]
        assert session.scalar(select(func.count()).select_from(Generation)) == 1


async def test_a_turn_on_its_way_to_the_spool_arrives_when_its_client_leaves(house: Running) -> None:
    recorder, go_on = house.gateway.recorder, threading.Event()
    busy = [asyncio.create_task(recorder.aside(go_on.wait, 20)) for _ in range(2)]  # all of its threads
    recorder._down_until, recorder._busy_since = float("inf"), 0.0  # as if a commit hung
    turn = a_turn((await house.http.get("/api/me")).json()["id"], [{"role": "user", "content": "hello"}])
    leaving = asyncio.create_task(recorder.complete(turn, its_end(turn)))
    await asyncio.sleep(0.05)
    leaving.cancel()
    go_on.set()
    await asyncio.gather(*busy)
    await until(lambda: recorder.waiting, "the turn did not come to the spool", 1)
    recorder._down_until, recorder._busy_since = 0.0, float("inf")
    await until(lambda: recorded(house), "the turn was not recorded", [("complete", "Hello.")])


@pytest.mark.parametrize("form", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a_stream_that_its_gateway_does_not_live_to_end_ends_with_an_error(
    tmp_path: Path, engine: FakeEngine, form: str
) -> None:
    engine.delay = 0.3
    engine.words = 100
    said = {"input": "hello"} if form == "/v1/responses" else {"messages": [{"role": "user", "content": "hello"}]}
    wish = {"model": "ruminate", "stream": True, "max_tokens": 9, **said}
    if form == "/v1/responses":
        del wish["max_tokens"]
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        read = ""
        async with house.http.stream("POST", form, json=wish) as answer:
            async for text in answer.aiter_text():
                read += text
                if "thinks1" in read:
                    house.server.should_exit = True
        assert "the gateway that wrote it ended" in read.rsplit("\n\n", 2)[-2]
        assert recorded(house)[0][0] == "interrupted"


async def test_what_was_said_is_recorded_also_where_a_gateway_ends_while_that_is_read(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.delay, engine.words = 0.1, 100
    monkeypatch.setattr(serving, "INLINE_BYTES", 0)

    def slow(said: Sequence[bytes], came: Sequence[float], first_at: datetime) -> tuple[Outcome, Times]:
        time.sleep(0.3)
        return read_timed(said, came, first_at)

    monkeypatch.setattr(serving, "read_timed", slow)
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        house.server.config.timeout_graceful_shutdown = 0.05  # type: ignore[assignment]
        reader, writer = await ask(house)
        await reader.readuntil(b"says1")
        house.server.should_exit = True
    assert recorded(house)[0][0] == "interrupted"
    assert "says1" in str(recorded(house)[0][1])
    writer.close()
