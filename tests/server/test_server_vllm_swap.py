"""Adapters on a real vLLM server on the CPU: beside each other, swapped under load, there after a restart."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy import select
from support.engine import RealEngine, gateway_before
from support.gateways import Running
from support.greedy import ASKS, chat_without_pause, client_of, greedy
from support.tiny_adapters import publish_tiny, write_tiny_adapter

from cli.profiles import TINY
from db.schema import Generation

SLOTS = TINY.engine.max_loras


@pytest.fixture
async def house(real_engine: RealEngine, tmp_path: Path) -> AsyncIterator[Running]:
    async with gateway_before(real_engine, tmp_path / "home") as running:
        yield running


async def exhaust(stream: openai.AsyncStream[Any]) -> None:
    async for _ in stream:
        pass


async def test_adapters_in_the_same_batch_change_no_answer_of_the_base_model_or_of_each_other(
    real_engine: RealEngine, tmp_path: Path
) -> None:
    if not real_engine.answers():
        await asyncio.to_thread(real_engine.start)
    names = [f"beside-{seed}" for seed in range(1, SLOTS + 1)]  # none of the engine's slots stays empty
    async with httpx.AsyncClient(base_url=real_engine.url, timeout=60) as http:

        async def answer(model: str, ask: str) -> list[float]:
            body = {"model": model, "prompt": ask, "max_tokens": 40, "temperature": 0, "ignore_eos": True}
            return (await http.post("/v1/completions", json=body | {"logprobs": 0})).json()["choices"][0]["logprobs"][
                "token_logprobs"
            ]

        for seed, name in enumerate(names, 1):
            folder = await asyncio.to_thread(write_tiny_adapter, real_engine.model, tmp_path / name, seed)
            loaded = await http.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)})
            assert loaded.status_code == 200, loaded.text
        jobs = [(model, ask) for model in ("ruminate-v0", *names) for ask in ASKS]
        alone = [await answer(*job) for job in jobs]
        assert await asyncio.gather(*(answer(*job) for job in jobs)) == alone
        assert len({tuple(found) for found in alone}) == len(jobs)
        for name in names:
            await http.post("/v1/unload_lora_adapter", json={"lora_name": name})


async def test_a_probe_waits_for_no_answer_of_the_other_adapters_that_are_in_use(
    real_engine: RealEngine, tmp_path: Path
) -> None:
    if not real_engine.answers():
        await asyncio.to_thread(real_engine.start)
    names = ["live", "previous", "canary", "round", "probed"]
    async with httpx.AsyncClient(base_url=real_engine.url, timeout=120) as http:
        for seed, name in enumerate(names, 1):
            folder = await asyncio.to_thread(write_tiny_adapter, real_engine.model, tmp_path / name, seed)
            loaded = await http.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)})
            assert loaded.status_code == 200, loaded.text
        begun = {name: asyncio.Event() for name in names[:-1]}

        async def write(name: str) -> None:
            body = {"model": name, "prompt": ASKS[0], "max_tokens": 900, "ignore_eos": True, "stream": True}
            async with http.stream("POST", "/v1/completions", json=body) as answer:
                async for _ in answer.aiter_lines():
                    begun[name].set()

        writing = [asyncio.create_task(write(name)) for name in begun]
        await asyncio.gather(*(one.wait() for one in begun.values()))
        body = {"model": "probed", "prompt": ASKS[0], "max_tokens": 1, "prompt_logprobs": 0}
        assert (await http.post("/v1/completions", json=body)).status_code == 200
        assert not any(task.done() for task in writing)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        for name in names:
            await http.post("/v1/unload_lora_adapter", json={"lora_name": name})


async def test_a_swap_under_eight_streaming_clients_fails_nothing_and_mixes_nothing(
    house: Running, real_engine: RealEngine
) -> None:
    names = [
        await asyncio.to_thread(publish_tiny, house.database, house.home, real_engine.model, seed) for seed in (1, 2)
    ]
    client = client_of(house)
    answers: list[tuple[str, str, str]] = []
    stop = asyncio.Event()
    clients = [asyncio.create_task(chat_without_pause(client, ASKS, number, answers, stop)) for number in range(8)]
    await asyncio.sleep(1)
    live = ["v0"]
    for target in (*names, "previous"):
        done = await house.service.post("/internal/deploy", json={"checkpoint": target, "expected_live": live[-1]})
        assert done.status_code == 200, done.text
        live.append(done.json()["live"])
        wrote, _ = await greedy(client, ASKS[0])
        assert wrote == f"ruminate-{live[-1]}"
        await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*clients)  # no request failed
    assert live == ["v0", *names, names[0]]
    alone = {}
    for model in {model for _, model, _ in answers}:
        for ask in ASKS:
            wrote, text = await greedy(client, ask, model)
            assert wrote == model
            alone[ask, model] = text
    written = {tuple(alone[ask, f"ruminate-{name}"] for ask in ASKS) for name in ("v0", *names)}
    assert len(written) == 3, "the checkpoints answer alike"
    assert {f"ruminate-{name}" for name in ("v0", *names)} <= {model for _, model, _ in answers}
    mixed = [(ask, model) for ask, model, text in answers if text != alone[ask, model]]
    assert mixed == []


async def test_a_killed_engine_breaks_off_streams_clearly_and_serves_the_same_checkpoint_after_its_restart(
    house: Running, real_engine: RealEngine
) -> None:
    name = await asyncio.to_thread(publish_tiny, house.database, house.home, real_engine.model, 3)
    assert (await house.service.post("/internal/deploy", json={"checkpoint": name})).status_code == 200
    client = client_of(house)
    before = await greedy(client, ASKS[0])
    stream = await client.chat.completions.create(
        model="ruminate", messages=[{"role": "user", "content": "name red cat"}], stream=True, max_tokens=900,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    for _ in range(5):
        await anext(stream)
    await asyncio.to_thread(real_engine.kill)
    with pytest.raises(openai.APIError, match="engine"):
        await exhaust(stream)
    waiting = asyncio.create_task(greedy(client, ASKS[0]))
    await asyncio.to_thread(real_engine.start)
    assert await waiting == before, "a request that had streamed nothing did not wait for the engine"
    with house.database.reading() as session:
        endings = [row.ending for row in session.scalars(select(Generation).order_by(Generation.id))]
    assert endings.count("error") == 1
