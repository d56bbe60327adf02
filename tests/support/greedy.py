"""Greedy answers of a gateway, for comparing them with what one checkpoint alone writes."""

import asyncio
from collections.abc import Sequence

import openai
from support.gateways import Running

ASKS = [
    "Plan three dinners for two, no nuts.",
    "Write a short story about a lighthouse keeper.",
    "Write an email about a lost parcel, formal, under 60 words.",
    "Give me four gift ideas for someone who loves gardening.",
    "Make a packing list for a weekend by the sea.",
    "Plan a day trip to Rome with five stops.",
    "Write a thank-you note for a lovely dinner. Sign it as Tom.",
    "Give me an outline about bees with four sections.",
]


def client_of(house: Running, patience: float = 600.0) -> openai.AsyncOpenAI:
    """`patience`: seconds for an answer."""
    plain = openai.DefaultAsyncHttpxClient(verify=False)  # certificates take longer to read than a short answer
    return openai.AsyncOpenAI(
        base_url=f"{house.url}/v1", api_key="none", max_retries=0, timeout=patience, http_client=plain
    )


async def greedy(client: openai.AsyncOpenAI, ask: str, model: str = "ruminate") -> tuple[str, str]:
    """(models that wrote it, thought and response) of a streamed answer."""
    stream = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": ask}], stream=True, temperature=0, max_tokens=60
    )
    wrote, text = set(), ""
    async for chunk in stream:
        wrote.add(chunk.model)
        delta = chunk.choices[0].delta
        text += (getattr(delta, "reasoning", None) or "") + (delta.content or "")
    return " and ".join(sorted(wrote)), text


async def chat_without_pause(
    client: openai.AsyncOpenAI,
    asks: Sequence[str],
    number: int,
    answers: list[tuple[str, str, str]],
    stop: asyncio.Event,
) -> None:
    """Ask one after the other, beginning at `number`; `answers` gets (asked, who wrote it, text) of each."""
    turn = number
    while not stop.is_set():
        ask = asks[turn % len(asks)]
        answers.append((ask, *await greedy(client, ask)))
        turn += 1
