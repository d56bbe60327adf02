"""Detached answers as a client has them: asked for, left in the middle, and their events had again."""

import json
from typing import Any

import httpx
from sqlalchemy import select
from support.gateways import Running

from db.errors import DatabaseUnavailable
from db.schema import Generation

HELLO = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}], "stream": True}
DETACHED = HELLO | {"ruminate": {"detached": True}}
CHAT = "/v1/chat/completions"


def rows(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation).order_by(Generation.id)))


def parsed(text: str) -> list[tuple[str, str]]:
    """(id, data) of each event; comments are left out."""
    events = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if lines:
            events.append((lines.get("id", ""), lines["data"]))
    return events


def words(events: list[tuple[str, str]]) -> tuple[str, str]:
    """(reasoning, response) that the events tell."""
    told = {"reasoning": "", "content": ""}
    for _, data in events:
        if data.startswith("{") and (choices := json.loads(data).get("choices")):
            for part in told:
                told[part] += choices[0]["delta"].get(part) or ""
    return told["reasoning"], told["content"]


def code(events: list[tuple[str, str]]) -> str:
    return str(json.loads(events[-1][1])["error"]["code"])


async def events_of(http: httpx.AsyncClient, generation: str, after: int = 0, **headers: str) -> httpx.Response:
    return await http.get(f"{CHAT}/{generation}/events", params={"after": after}, headers=headers)


async def leave_after(http: httpx.AsyncClient, marker: str, body: dict[str, Any] = DETACHED) -> tuple[str, str]:
    """Ask, read until `marker` has come, and go away. Returns the generation and what was read."""
    read = ""
    async with http.stream("POST", CHAT, json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for text in answer.aiter_text():
            read += text
            if marker in read:
                break
        return answer.headers["x-ruminate-generation"], read


class Away:
    """Lookups of a database that is gone. `asked`: how often it was tried."""

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, *_: Any) -> Any:
        self.asked += 1
        raise DatabaseUnavailable("sqlite://", "it is gone", "Wait.")
