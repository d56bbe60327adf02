"""A PostgreSQL server that hangs: it refuses nothing, it only gives no answer any more."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import make_url, select
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.waiting import until

from db.schema import Generation, Message

CHATS = 24
KEYS = 3


@pytest.fixture(params=["postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def hanging(url: str) -> Iterator[None]:
    """SIGSTOP for the server and all that it has started, until the end of the block."""
    folder = make_url(url).query["host"]
    assert isinstance(folder, str)
    server = psutil.Process(int((Path(folder) / "postmaster.pid").read_text().split()[0]))
    server.suspend()
    stopped = [server, *server.children(recursive=True)]
    try:
        for one in stopped[1:]:
            one.suspend()
        yield
    finally:
        for one in reversed(stopped):
            one.resume()


async def a_key(house: Running, name: str) -> dict[str, str]:
    await house.service.post("/api/admin/users", json={"name": name})
    made = await house.service.post(f"/api/admin/users/{name}/keys", json={})
    return {"Authorization": f"Bearer {made.json()['key']}"}


async def test_chats_go_on_while_postgresql_hangs_and_all_turns_are_recorded_once(
    tmp_path: Path, engine: FakeEngine, database_url: str
) -> None:
    settings = {"lookup_seconds": 0.5, "record_patience_seconds": 0.5, "key_refresh_seconds": 0.0}
    async with running_gateway(tmp_path / "home", [engine.url], database_url=database_url, **settings) as house:
        await house.until_ready()
        keys = [await a_key(house, f"user{number}") for number in range(KEYS)]

        async def chat(number: int, text: str) -> httpx.Response:
            said = [{"role": "user", "content": text}]
            if number % 2:  # a history, which is looked for in the database
                said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hm"}, *said]
            wish = {"model": "ruminate", "messages": said, "stream": number % 3 == 0}
            if number % 4 == 0:
                wish["ruminate"] = {"conversation_id": f"place-{number}"}
            return await house.http.post("/v1/chat/completions", json=wish, headers=keys[number % KEYS])

        for number in range(KEYS):
            assert (await chat(number, f"before {number}")).status_code == 200
        with hanging(database_url):
            async with asyncio.timeout(40):
                answers = await asyncio.gather(*(chat(number, f"during {number}") for number in range(CHATS)))
                later = await chat(1, "during it, later")
            assert {answer.status_code for answer in (*answers, later)} == {200}
            assert house.gateway.recorder.waiting == CHATS + 1
            unknown = await house.http.get("/v1/models", headers={"Authorization": "Bearer rk-never-seen"})
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (503, "database_unavailable")
            assert house.gateway.pool.engines[0].healthy
        await until(lambda: house.gateway.recorder.waiting, "turns still wait in the spool", 0, seconds=40.0)
        with house.database.reading() as session:
            recorded = session.scalars(select(Generation.ending)).all()
            asked = Counter(session.scalars(select(Message.content).where(Message.role == "user")))
        assert recorded == ["complete"] * (KEYS + CHATS + 1)
        wanted = [f"before {number}" for number in range(KEYS)] + [f"during {number}" for number in range(CHATS)]
        assert {text: asked[text] for text in (*wanted, "during it, later")} == dict.fromkeys(
            (*wanted, "during it, later"), 1
        )

        async def models() -> int:
            return (await house.http.get("/v1/models", headers=keys[0])).status_code

        await until(models, "who has a key is not let in again", 200)
        assert house.gateway.trouble is None
