"""What is killed under load (a gateway, its engines, its PostgreSQL): what clients saw, held against the record."""

import asyncio
import os
import random
import re
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import httpx
import orjson
from sqlalchemy import select
from support.databases import own_postgresql
from support.fake_engine import FakeEngine
from support.gateways import running_gateway
from support.processes import Forked, engine_process, gateway_process
from support.swaps import two_engines
from support.waiting import until

from db.schema import Generation, Message
from db.session import Database

KILLS = 6
CLIENTS = 8
ENDED = (0, -signal.SIGTERM)  # once all is written, uvicorn hands the signal on
LONG = 60.0  # seconds: what is killed has to start again, and a crowd asks meanwhile
PATIENCE = ("1.0", "0.002")  # of an answer with the database: with the second one nearly all go to the spool first


class Client:
    """Asks one thing after the other, each in words of its own, until it is told to stop."""

    def __init__(self, url: str, name: int, always_streams: bool = False) -> None:
        self._url, self._name, self._always_streams = url, name, always_streams
        self.complete: list[str] = []
        self.broken: dict[str, str] = {}  # by what was asked, the code of the error that was told

    async def run(self, stop: asyncio.Event) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=30, verify=False) as http:
            for number in count():
                if stop.is_set():
                    return
                try:
                    await self._ask(http, f"client {self._name} asks {number}", self._always_streams or number % 2 == 0)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def _ask(self, http: httpx.AsyncClient, text: str, stream: bool) -> None:
        wish = {"model": "ruminate", "messages": [{"role": "user", "content": text}], "stream": stream}
        async with http.stream("POST", "/v1/chat/completions", json=wish) as answer:
            said = await answer.aread()
        errors = [orjson.loads(line.removeprefix(b"data: ")) for line in said.splitlines() if b'{"error":' in line]
        if errors:
            self.broken[text] = errors[0]["error"]["code"]
        elif answer.status_code == 200 and (b"data: [DONE]" in said if stream else orjson.loads(said)["choices"]):
            self.complete.append(text)


def recorded(database: Database) -> dict[str, list[tuple[str | None, str | None]]]:
    """How the answers ended that were given to each thing that was asked, and what they said."""
    found = defaultdict(list)
    asked = select(Message.content, Generation.ending, Generation.response)
    with database.reading() as session:
        for text, *answer in session.execute(asked.join(Message, Message.id == Generation.prompt_message_id)):
            found[text].append(tuple(answer))
    return found


async def test_no_kill_loses_or_doubles_an_answer_and_those_that_it_broke_off_are_called_interrupted(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.delay = 0.02
    gateway = Forked(tmp_path / "home", [engine.url], WATCH_SECONDS="0.05")
    chance, stop = random.Random(7), asyncio.Event()
    clients = [Client(gateway.url, name) for name in range(CLIENTS)]
    await gateway.start()
    running = [asyncio.create_task(client.run(stop)) for client in clients]
    try:
        for kill in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 0.7))
            gateway.kill()
            await gateway.start(RECORD_PATIENCE_SECONDS=PATIENCE[(kill + 1) % len(PATIENCE)])
        stop.set()
        await asyncio.gather(*running)
        reached = {
            body["messages"][0]["content"] for path, body in engine.requests if path.endswith("chat/completions")
        }
        complete = {text for client in clients for text in client.complete}
        database = Database(f"sqlite:///{tmp_path}/home/ruminate.db")
        spool = tmp_path / "home" / "spool"
        await until(lambda: list(spool.glob("*/turns-*")), "turns still wait in the spool", [], LONG)
        await until(lambda: reached - recorded(database).keys(), "turns were not recorded", set(), LONG)
    finally:
        stop.set()
        gateway.kill()
        await asyncio.gather(*running, return_exceptions=True)
    answers = recorded(database)
    database.close()
    _, whole = engine.text("ruminate-v0")
    assert {text: given for text, given in answers.items() if len(given) != 1} == {}
    assert {text: answers[text] for text in complete if answers[text] != [("complete", whole)]} == {}
    broken_off = {text: answers[text][0] for text in answers.keys() - complete}
    assert {ending for ending, _ in broken_off.values()} <= {"interrupted", "complete"}  # killed before its last byte
    assert all(said == whole for ending, said in broken_off.values() if ending == "complete")
    assert len(complete) > KILLS
    assert sum(ending == "interrupted" for ending, _ in broken_off.values()) >= KILLS


@asynccontextmanager
async def crowd(url: str, size: int, always_streams: bool = False) -> AsyncIterator[list[Client]]:
    """Clients that ask until the end of the block, which waits for their last answers."""
    clients, stop = [Client(url, name, always_streams) for name in range(size)], asyncio.Event()
    running = [asyncio.create_task(client.run(stop)) for client in clients]
    try:
        yield clients
    finally:
        stop.set()
        await asyncio.gather(*running)


def answered(clients: list[Client]) -> int:
    return sum(len(client.complete) for client in clients)


async def more_answers(clients: list[Client], count: int) -> None:
    """Wait until the crowd has so many answers more."""
    goal = answered(clients) + count
    await until(lambda: answered(clients), f"the crowd has no {goal} answers", lambda has: has >= goal, LONG)


async def two_streams_of(engine: FakeEngine) -> None:
    """Wait until the engine writes two answers at once."""
    await until(lambda: engine.running, "the engine has no two streams", lambda has: has >= 2, LONG)


async def test_engines_that_are_killed_under_streams_break_off_with_an_error_and_each_turn_is_recorded_once(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with two_engines(tmp_path / "home", engine) as (house, other):
        engine.delay = other.delay = 0.02
        async with crowd(house.url, CLIENTS, always_streams=True) as clients:
            for kill in range(10):
                await house.until_all_up(LONG)
                victim = (engine, other)[kill % 2]
                await two_streams_of(victim)
                await asyncio.sleep(0.1)
                victim.die(0.1)
                await more_answers(clients, CLIENTS)
                if kill >= 3 and any(client.broken for client in clients):
                    break
            await house.until_all_up(LONG)
        complete = {text for client in clients for text in client.complete}
        broken = {text: code for client in clients for text, code in client.broken.items()}
        await until(
            lambda: (complete | broken.keys()) - recorded(house.database).keys(), "turns were not recorded", set(), LONG
        )
        answers = recorded(house.database)
    _, whole = engine.text("ruminate-v0")
    assert {text: given for text, given in answers.items() if len(given) != 1} == {}
    assert answers.keys() == complete | broken.keys()  # each got the one or the other
    assert {text: answers[text] for text in complete if answers[text] != [("complete", whole)]} == {}
    assert set(broken.values()) == {"engine_lost"}
    assert {answers[text][0][0] for text in broken} == {"error"}


async def test_an_engine_that_is_stopped_under_streams_costs_those_that_it_wrote_and_each_turn_is_recorded_once(
    tmp_path: Path, engine: FakeEngine
) -> None:
    """Its connections stay open and nothing comes, as of a machine that swaps or a driver that hangs."""
    engine.delay = 0.02
    with engine_process(delay=0.02) as (url, pid):
        settings = {"engine_silence_seconds": 0.5, "engine_wait_seconds": 60.0}
        async with running_gateway(tmp_path / "home", [engine.url, url], **settings) as house:
            await house.until_ready()
            engines = house.gateway.pool.engines
            await house.until_all_up(LONG)
            stopped = next(one for one in engines if one.url == url)
            async with crowd(house.url, CLIENTS, always_streams=True) as clients:
                await more_answers(clients, CLIENTS)
                await until(lambda: stopped.in_flight, "the engine has no two streams", lambda has: has >= 2, LONG)
                os.kill(pid, signal.SIGSTOP)
                await until(lambda: stopped.healthy, "the stopped engine does not count as down", False, LONG)
                await more_answers(clients, CLIENTS)
                os.kill(pid, signal.SIGCONT)
                await until(lambda: stopped.healthy, "the engine that goes on still counts as down", True, LONG)
            complete = {text for client in clients for text in client.complete}
            broken = {text: code for client in clients for text, code in client.broken.items()}
            await until(
                lambda: (complete | broken.keys()) - recorded(house.database).keys(),
                "turns were not recorded",
                set(),
                LONG,
            )
            answers = recorded(house.database)
    _, whole = engine.text("ruminate-v0")
    assert {text: given for text, given in answers.items() if len(given) != 1} == {}
    assert answers.keys() == complete | broken.keys()
    assert {text: answers[text] for text in complete if answers[text] != [("complete", whole)]} == {}
    assert set(broken.values()) == {"engine_lost"}
    assert {answers[text][0][0] for text in broken} == {"error"}


async def test_a_gateway_that_is_ended_under_load_breaks_nothing_off_and_each_turn_is_recorded_once(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.delay = 0.02
    gateway = Forked(tmp_path / "home", [engine.url], WATCH_SECONDS="0.05")
    await gateway.start()
    try:
        async with crowd(gateway.url, CLIENTS) as clients:
            for _ in range(3):
                await more_answers(clients, CLIENTS)
                assert await gateway.end_in_order() in ENDED
                await gateway.start()
            await more_answers(clients, CLIENTS)
        assert await gateway.end_in_order() in ENDED
    finally:
        gateway.kill()
    assert list((tmp_path / "home" / "spool").glob("*/turns-*")) == []
    database = Database(f"sqlite:///{tmp_path}/home/ruminate.db")
    answers = recorded(database)
    database.close()
    _, whole = engine.text("ruminate-v0")
    refused = {code for client in clients for code in client.broken.values()}
    assert refused <= {"engine_starting"}  # before a new one has seen its engine
    assert {text: given for text, given in answers.items() if given != [("complete", whole)]} == {}
    assert {text for client in clients for text in client.complete} <= answers.keys()


async def test_postgresql_that_is_killed_under_load_costs_no_answer_and_each_turn_is_in_it_once_afterwards(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.delay = 0.02
    with own_postgresql() as server:
        async with running_gateway(tmp_path / "home", [engine.url], database_url=server.url) as house:
            await house.until_ready()
            async with crowd(house.url, 4) as clients:
                await more_answers(clients, 8)
                await asyncio.to_thread(server.kill)
                await more_answers(clients, 12)
                assert house.gateway.recorder.waiting > 0
                await asyncio.to_thread(server.start)
                await more_answers(clients, 8)
                await until(lambda: house.gateway.recorder.waiting, "turns still wait in the spool", 0, LONG)
            await until(lambda: house.gateway.recorder.waiting, "turns still wait in the spool", 0, LONG)
            answers = recorded(house.database)
            assert house.gateway.recorder.spooled > 0
    _, whole = engine.text("ruminate-v0")
    assert [client.broken for client in clients] == [{}] * 4
    assert answers == {text: [("complete", whole)] for client in clients for text in client.complete}


async def test_a_connection_that_was_idle_is_still_there_for_the_next_request(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with gateway_process(tmp_path / "home", [engine.url]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rsplit(":", 1)[1]))
        for idle in (6.0, 0.0):  # clients keep one for 5 s, as most do, and may use it at their end
            writer.write(b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
            await asyncio.sleep(idle)
        writer.close()
