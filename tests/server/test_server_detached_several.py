"""Detached answers between gateways: their events are had at another one, over Redis while they come, else recorded."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.detached import DETACHED, Away, code, events_of, leave_after, parsed, rows, words
from support.fake_engine import FakeEngine
from support.gateways import Running, two_gateways
from support.redis_server import RedisServer
from support.waiting import until

from db.ids import new_id
from db.queries import turns
from server import pickup, streams
from server.streams import Streams


@asynccontextmanager
async def house_of_two(
    tmp_path: Path, engine: FakeEngine, database_url: str, **settings: Any
) -> AsyncIterator[tuple[Running, Running]]:
    shared = {"database_url": database_url} | settings
    async with two_gateways(tmp_path, [engine.url], **shared) as both:
        yield both


async def test_another_gateway_gives_the_events_over_redis_while_they_come(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer, database_url: str
) -> None:
    engine.delay = 0.15
    async with house_of_two(tmp_path, engine, database_url, redis_url=redis.url) as (one, two):
        generation, read = await leave_after(one.http, "thinks1")
        seen = [event for event in parsed(read) if event[0]]
        await until(lambda: len(rows(two)), "the beginning was not recorded", 1)
        rest = await events_of(two.http, generation, len(seen))
        assert rest.headers["x-ruminate-events"] == "stream"
        assert rows(two)[0].ending == "complete"
        events = parsed(rest.text)
        assert words(seen + events) == engine.text("ruminate-v0")
        assert events[-1][1] == "[DONE]"
        assert parsed((await events_of(two.http, generation)).text) == seen + events
        secret, _ = await leave_after(one.http, "thinks0", DETACHED | {"store": False})
        await until(lambda: len(rows(two)), "the beginning was not recorded", 2)
        assert (await events_of(two.http, secret)).status_code == 409
        assert b"0" in await redis.command("EXISTS", f"ruminate:events:{secret}")


@pytest.mark.parametrize("ended", [False, True])
async def test_of_a_deleted_answer_no_event_is_left_in_redis(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer, database_url: str, ended: bool
) -> None:
    engine.delay = 0.3
    async with house_of_two(tmp_path, engine, database_url, redis_url=redis.url) as (one, two):
        generation, _ = await leave_after(one.http, "thinks1")
        key = f"ruminate:events:{generation}"
        if ended:
            engine.delay = 0.0
        await until(lambda: [row.ended_at is not None for row in rows(two)], "its row is not as far", [ended])
        await asyncio.sleep(0.5)  # for the last events to be carried
        assert b"1" in await redis.command("EXISTS", key)
        place = rows(two)[0].conversation_id
        assert (await one.http.delete(f"/api/conversations/{place}")).status_code == 200
        gone, seconds = b":0\r\n", 2 * streams.BEAT_SECONDS
        await until(lambda: redis.command("EXISTS", key), "its events are still in Redis", gone, seconds)
        # what is said after it is carried no more
        await until(lambda: engine.running, "the engine goes on with what nobody waits for", 0)
        await asyncio.sleep(0.5)
        assert b"0" in await redis.command("EXISTS", key)


@pytest.mark.parametrize("late", ["row", "stream"])
async def test_another_gateway_waits_for_an_answer_that_has_hardly_begun(
    tmp_path: Path,
    engine: FakeEngine,
    redis: RedisServer,
    database_url: str,
    late: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its client has the first event before anything of it can be seen elsewhere, and may turn up there at once."""
    begin, share = turns.begin_turn, Streams.share

    def begin_late(*given: Any) -> None:
        time.sleep(0.5)  # on the recorder's thread
        begin(*given)

    def share_late(streams: Streams, *given: Any) -> None:
        asyncio.get_running_loop().call_later(0.5, share, streams, *given)

    if late == "row":
        monkeypatch.setattr(turns, "begin_turn", begin_late)
    else:
        monkeypatch.setattr(Streams, "share", share_late)
    engine.delay = 0.1
    async with house_of_two(tmp_path, engine, database_url, redis_url=redis.url) as (one, two):
        generation, _ = await leave_after(one.http, "data:")
        told = await events_of(two.http, generation)
        assert (told.status_code, told.headers.get("x-ruminate-events")) == (200, "stream"), told.text
        assert words(parsed(told.text)) == engine.text("ruminate-v0")
        monkeypatch.setattr(pickup, "YOUNG_SECONDS", 0.2)
        assert (await events_of(two.http, new_id())).status_code == 404


async def test_without_redis_another_gateway_says_who_has_them_and_tells_the_record_at_the_end(
    tmp_path: Path, engine: FakeEngine, database_url: str
) -> None:
    engine.delay = 0.2
    async with house_of_two(tmp_path, engine, database_url) as (one, two):
        generation, _ = await leave_after(one.http, "thinks0")
        await until(lambda: len(rows(two)), "the beginning was not recorded", 1)
        elsewhere = await events_of(two.http, generation)
        assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (409, "answered_elsewhere")
        assert elsewhere.headers["retry-after"]
        await until(lambda: rows(two)[0].ended_at, "the end was not recorded")
        told = await events_of(two.http, generation)
        assert told.headers["x-ruminate-events"] == "record"
        assert words(parsed(told.text)) == engine.text("ruminate-v0")


async def test_losing_redis_in_the_middle_is_said_and_loses_nothing(
    tmp_path: Path, engine: FakeEngine, redis: RedisServer, database_url: str
) -> None:
    engine.delay = 0.4
    async with house_of_two(tmp_path, engine, database_url, redis_url=redis.url) as (one, two):
        generation, _ = await leave_after(one.http, "thinks0")
        await until(lambda: len(rows(two)), "the beginning was not recorded", 1)
        reading = asyncio.create_task(events_of(two.http, generation))
        await asyncio.sleep(0.5)
        await redis.kill()
        assert code(parsed((await reading).text)) == "gateway_lost"
        engine.delay = 0.0
        assert words(parsed((await events_of(one.http, generation)).text)) == engine.text("ruminate-v0")
        assert words(parsed((await events_of(two.http, generation)).text)) == engine.text("ruminate-v0")


@pytest.mark.parametrize("redis_too", [False, True])
async def test_events_followed_elsewhere_go_on_without_the_database_and_end_with_an_error_where_redis_is_gone_too(
    tmp_path: Path,
    engine: FakeEngine,
    redis: RedisServer,
    database_url: str,
    redis_too: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine.delay = 1.2  # so that the record would be asked between two events
    engine.words = 2
    async with house_of_two(tmp_path, engine, database_url, redis_url=redis.url) as (one, two):
        generation, _ = await leave_after(one.http, "thinks0")
        await until(lambda: len(rows(two)), "the beginning was not recorded", 1)
        reading = asyncio.create_task(events_of(two.http, generation))
        await asyncio.sleep(0.5)
        away = Away()
        monkeypatch.setattr(two.gateway.pickup, "_lookups", away)
        if redis_too:
            await redis.kill()
            assert code(parsed((await reading).text)) == "database_unavailable"
        else:
            await until(lambda: away.asked, "the record was not asked")
            engine.delay = 0.0
            assert words(parsed((await reading).text)) == engine.text("ruminate-v0")
