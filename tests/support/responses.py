"""OpenAI's Responses API as its official client has it, and the record behind it."""

from typing import Any

import openai
from openai.types.responses import Response
from sqlalchemy import select
from support.gateways import Running

from db.schema import Generation

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}


CLIENTS: list[openai.AsyncOpenAI] = []


def client_of(house: Running, key: str = "none") -> openai.AsyncOpenAI:
    plain = openai.DefaultAsyncHttpxClient(verify=False)  # certificates take longer to read than most tests ask for
    CLIENTS.append(openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key=key, max_retries=0, http_client=plain))
    return CLIENTS[-1]


def recorded(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation).order_by(Generation.id)))


async def streamed(client: openai.AsyncOpenAI, **wish: Any) -> tuple[list[Any], Response]:
    """All events as the client reads them, and the answer that the last one carries."""
    stream = await client.responses.create(model="ruminate", stream=True, **wish)
    events = [event async for event in stream]
    return events, events[-1].response
