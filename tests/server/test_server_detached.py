"""Detached answers: they go on without their client, and their events can be had again from any point."""

import asyncio
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from support.detached import CHAT, DETACHED, HELLO, Away, code, events_of, leave_after, parsed, rows, words
from support.fake_engine import FakeEngine
from support.gateways import Running, http_to, running_gateway
from support.processes import Forked, gateway_process
from support.records import a_turn
from support.stores import alone
from support.waiting import until

from db.queries import users
from db.queries.forget import delete_user_data
from db.values import Completion, Turn
from server import feed
from server.feed import Feed, Feeds


async def test_a_detached_answer_goes_on_without_its_client_and_is_picked_up_where_it_was_left(
    house: Running, engine: FakeEngine
) -> None:
    engine.delay = 0.15
    generation, read = await leave_after(house.http, "thinks1")
    seen = [event for event in parsed(read) if event[0]]
    assert [event[0] for event in seen] == [str(number) for number in range(1, len(seen) + 1)]
    assert engine.cancelled == 0
    rest = await events_of(house.http, generation, len(seen))
    assert rest.headers["x-ruminate-events"] == "stream"
    events = parsed(rest.text)
    assert events[0][0] == str(len(seen) + 1)
    assert events[-1][1] == "[DONE]"
    assert words(seen + events) == engine.text("ruminate-v0")
    (row,) = rows(house)
    assert (row.ending, (row.reasoning, row.response)) == ("complete", engine.text("ruminate-v0"))
    assert house.gateway.pool.chats == 0


async def test_a_chat_without_the_flag_is_cancelled_when_its_client_leaves(house: Running, engine: FakeEngine) -> None:
    engine.delay = 0.3
    generation, _ = await leave_after(house.http, "thinks1", HELLO)
    await until(lambda: engine.cancelled, "the engine was not told to stop", 1)
    await until(lambda: len(rows(house)), "the answer was not recorded", 1)
    told = parsed((await events_of(house.http, generation)).text)
    assert code(told) == "interrupted"
    assert "ruminate-v0-thinks1" in words(told)[0]


async def test_openais_client_reads_a_detached_stream(house: Running, engine: FakeEngine) -> None:
    async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(
            model="ruminate", messages=[{"role": "user", "content": "hello"}], stream=True,
            extra_body={"ruminate": {"detached": True}},
        )  # fmt: skip
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert said == engine.text("ruminate-v0")[1]


async def test_any_point_can_be_had_while_it_runs_and_after_its_end_by_number_or_header(
    house: Running, engine: FakeEngine
) -> None:
    engine.delay = 0.05
    generation, _ = await leave_after(house.http, "thinks0")
    several = await asyncio.gather(*(events_of(house.http, generation, after) for after in (0, 2, 5)))
    whole = parsed(several[0].text)
    for answer, after in zip(several, (0, 2, 5), strict=True):
        assert parsed(answer.text) == whole[after:]
    again = await events_of(house.http, generation, 1, **{"Last-Event-ID": "4"})
    assert parsed(again.text) == whole[4:]
    assert parsed((await events_of(house.http, generation, len(whole))).text) == []
    assert (await events_of(house.http, generation, **{"Last-Event-ID": "four"})).status_code == 400


@alone
async def test_the_record_answers_once_the_events_are_gone(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "KEPT_SECONDS", 0.0)
    answer = await house.http.post(CHAT, json=DETACHED | {"reasoning": {"exclude": True}})
    generation = answer.headers["x-ruminate-generation"]
    await until(lambda: house.gateway.feeds.get(generation), "its events are still kept", None)
    told = await events_of(house.http, generation, 3)
    assert told.headers["x-ruminate-events"] == "record"
    events = parsed(told.text)
    assert [event[0] for event in events] == [f"record-{number}" for number in range(1, len(events) + 1)]
    assert words(events) == ("", engine.text("ruminate-v0")[1])  # a thought that was hidden stays hidden
    assert events[-1][1] == "[DONE]"
    assert parsed((await events_of(house.http, generation, **{"Last-Event-ID": "record-2"})).text) == events[2:]


async def test_the_record_tells_the_thought_under_its_older_name_too_where_answers_do(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "KEPT_SECONDS", 0.0)
    async with running_gateway(tmp_path / "home", [engine.url], mirror_reasoning_content=True) as house:
        await house.until_ready()
        answer = await house.http.post(CHAT, json=DETACHED)
        generation = answer.headers["x-ruminate-generation"]
        await until(lambda: house.gateway.feeds.get(generation), "its events are still kept", None)
        told = await events_of(house.http, generation)
        assert told.headers["x-ruminate-events"] == "record"
        for name in ("reasoning", "reasoning_content"):
            assert f'"{name}":"{engine.text("ruminate-v0")[0]}"' in told.text


@alone
@pytest.mark.parametrize("gone", [False, True])
async def test_the_events_of_an_answer_that_waits_in_the_spool_can_be_had(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """The database is locked, and can be read or not."""
    async with running_gateway(tmp_path / "home", [engine.url], record_patience_seconds=0.2) as house:
        await house.until_ready()
        lock = sqlite3.connect(house.home / "ruminate.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        answer = await house.http.post(CHAT, json=DETACHED)
        generation = answer.headers["x-ruminate-generation"]
        assert house.gateway.recorder.waiting == 1
        if gone:
            monkeypatch.setattr(house.gateway.pickup, "_lookups", Away())
        told = await events_of(house.http, generation, 2)
        assert (told.status_code, told.headers.get("x-ruminate-events")) == (200, "stream"), told.text
        assert parsed(told.text) == [event for event in parsed(answer.text) if event[0]][2:]
        monkeypatch.undo()
        lock.execute("ROLLBACK")
        lock.close()
        await until(lambda: (len(rows(house)), house.gateway.recorder.waiting), "the answer was not recorded", (1, 0))
        assert (await events_of(house.http, generation)).status_code == 200
        await until(lambda: house.gateway.trouble, "the gateway still tells of trouble", None)
        with house.database.transaction() as session:  # as another gateway would, which does not reach this memory
            delete_user_data(session, rows(house)[0].user_id)
        assert (await events_of(house.http, generation)).status_code == 404


async def test_nobody_else_gets_the_events_and_what_is_deleted_is_gone(house: Running, engine: FakeEngine) -> None:
    engine.delay = 0.1
    with house.database.transaction() as session:
        key = users.create_key(session, users.ensure_user(session, "ann", "user", "train").id)[1]
    generation, _ = await leave_after(house.http, "thinks0")
    hers = {"Authorization": f"Bearer {key}"}
    assert (await events_of(house.http, generation, **hers)).status_code == 404
    assert (await events_of(house.http, "no-such-generation")).status_code == 404
    await events_of(house.http, generation)
    assert (await events_of(house.http, generation, **hers)).status_code == 404
    await house.http.delete("/api/me/data")
    assert (await events_of(house.http, generation)).status_code == 404


async def test_what_is_not_to_be_kept_can_be_picked_up_from_memory_only(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "KEPT_SECONDS", 0.5)
    engine.delay = 0.05
    generation, _ = await leave_after(house.http, "thinks0", DETACHED | {"store": False})
    assert words(parsed((await events_of(house.http, generation)).text)) == engine.text("ruminate-v0")
    await until(lambda: house.gateway.feeds.get(generation), "its events are still kept", None)
    gone = await events_of(house.http, generation)
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "not_kept")


async def test_what_cannot_be_detached_is_refused_and_refusals_keep_their_form(
    house: Running, engine: FakeEngine
) -> None:
    for wrong in (
        DETACHED | {"stream": False},
        DETACHED | {"n": 2},
        DETACHED | {"ruminate": {"detached": "yes"}},
    ):
        refused = await house.http.post(CHAT, json=wrong)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "ruminate.detached")
    response = {"model": "ruminate", "input": "hello", "stream": True, "ruminate": {"detached": True}}
    refused = await house.http.post("/v1/responses", json=response)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "ruminate.detached")
    long = await house.http.post(CHAT, json=DETACHED | {"max_tokens": 100_000})
    assert long.status_code == 400
    assert "maximum context length" in long.json()["error"]["message"]
    engine.die_after = 5
    broken = parsed((await house.http.post(CHAT, json=DETACHED)).text)
    assert code(broken) == "engine_lost"
    assert broken[-1][0] == "6"


async def test_a_gateway_that_was_killed_says_that_the_answer_was_interrupted(
    tmp_path: Path, database_url: str, engine: FakeEngine
) -> None:
    engine.delay = 0.3
    home = tmp_path / "one"
    async with gateway_process(home, [engine.url], RUMINATE_DATABASE_URL=database_url) as one:
        await one.until_ready()
        generation, _ = await leave_after(one.http, "thinks1")
        one.kill()
    async with gateway_process(home, [engine.url], RUMINATE_DATABASE_URL=database_url) as again:

        async def status() -> int:
            return (await events_of(again.http, generation)).status_code

        await until(status, "the answer is still said to be written", lambda code: code != 409)
        answer = await events_of(again.http, generation)
        assert answer.headers["x-ruminate-events"] == "record"
        assert code(parsed(answer.text)) == "interrupted"


async def test_a_gateway_that_ends_records_what_was_said_until_then(tmp_path: Path, engine: FakeEngine) -> None:
    engine.delay = 0.3
    home = tmp_path / "home"
    async with running_gateway(home, [engine.url]) as house:
        await house.until_ready()
        generation, _ = await leave_after(house.http, "thinks1")
    async with running_gateway(home, [engine.url]) as house:
        told = parsed((await events_of(house.http, generation)).text)
        assert code(told) == "interrupted"
        assert "ruminate-v0-thinks1" in words(told)[0]


async def test_a_gateway_that_is_told_to_end_lets_answers_that_nobody_listens_to_come_to_their_end(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.delay = 0.1
    gateway = Forked(tmp_path / "home", [engine.url])
    try:
        await gateway.start()
        async with http_to(gateway.url) as http:
            generation, _ = await leave_after(http, "thinks1")
        assert await gateway.end_in_order() == 0
        assert engine.cancelled == 0
        await gateway.start()
        async with http_to(gateway.url) as http:
            assert words(parsed((await events_of(http, generation)).text)) == engine.text("ruminate-v0")
    finally:
        gateway.end()


async def test_detached_answers_that_do_not_end_in_time_are_broken_off_and_what_is_over_is_not_waited_for() -> None:
    feeds = Feeds(lambda turn: None, lambda turn, feed: None, lambda turn: None)
    ended: list[str] = []

    async def answer(away: object, name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            ended.append(name)
        except asyncio.CancelledError:
            ended.append(f"{name}, broken off")
            raise

    for name, seconds in (("short", 0.05), ("long", 60.0)):
        feeds.start(partial(answer, name=name, seconds=seconds))
    feeds._opened(a_turn("ann", []), over := Feed())  # its events are kept for a while
    over.end()
    await feeds.stop(0.5)
    assert ended == ["short", "long, broken off"]
    async with asyncio.timeout(10):
        await feeds.stop(60.0)


@pytest.mark.parametrize("body", [HELLO, DETACHED])
async def test_consent_that_is_withdrawn_while_an_answer_is_written_holds_for_it(
    house: Running, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    """Also where it is given again before the answer has ended."""
    complete = house.gateway.recorder.complete

    async def later(turn: Turn, completion: Completion) -> None:
        for consent in ("history", "train"):
            assert (await house.http.put("/api/me/consent", json={"consent": consent})).status_code == 200
        await complete(turn, completion)

    monkeypatch.setattr(house.gateway.recorder, "complete", later)
    assert (await house.http.post(CHAT, json=body)).status_code == 200
    await until(lambda: len([row for row in rows(house) if row.ended_at]), "it was not recorded", 1)
    assert [(row.consent, row.ending) for row in rows(house)] == [("history", "complete")]
