"""A gateway under load that is killed again and again: what its clients saw, held against what it recorded."""

import asyncio
import random
from collections import defaultdict
from itertools import count
from pathlib import Path

import httpx
import orjson
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.processes import Forked

from db.schema import Generation, Message
from db.session import Database

KILLS = 6
CLIENTS = 8
PATIENCE = ("1.0", "0.002")  # of an answer with the database: with the second one nearly all go to the spool first


class Client:
    """Asks one thing after the other, each in words of its own, until it is told to stop."""

    def __init__(self, url: str, name: int) -> None:
        self._url, self._name = url, name
        self.complete: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=30) as http:
            for number in count():
                if stop.is_set():
                    return
                try:
                    await self._ask(http, f"client {self._name} asks {number}", stream=number % 2 == 0)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def _ask(self, http: httpx.AsyncClient, text: str, stream: bool) -> None:
        wish = {"model": "ruminate", "messages": [{"role": "user", "content": text}], "stream": stream}
        async with http.stream("POST", "/v1/chat/completions", json=wish) as answer:
            said = await answer.aread()
        if answer.status_code == 200 and (b"data: [DONE]" in said if stream else orjson.loads(said)["choices"]):
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
    gateway, chance, stop = Forked(tmp_path / "home", [engine.url]), random.Random(7), asyncio.Event()
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
        async with asyncio.timeout(60):
            while list(spool.glob("*/turns-*")) or reached - recorded(database).keys():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
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
