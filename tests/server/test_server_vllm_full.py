"""Full weights on a real vLLM server on the CPU: reloaded in place, proven, never mixed, and given back."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import select
from support.engine import RealEngine, gateway_before
from support.gateways import Running
from support.greedy import ASKS as EVERY
from support.greedy import chat_without_pause, client_of, greedy
from support.tiny_adapters import publish_tiny, publish_tiny_full, tiny_probe, write_tiny_adapter, write_tiny_full

from db.schema import Generation
from server.engine import AS_STARTED, Engine
from server.full import FullWeights, name_of, prove, put_in_place
from server.probe import ProbeFailed, check

ASKS = EVERY[:4]  # each checkpoint writes each of them alone first


@pytest.fixture
async def house(real_engine: RealEngine, tmp_path: Path) -> AsyncIterator[Running]:
    """At its end the engine has its base again."""
    async with gateway_before(real_engine, tmp_path / "home") as running:
        yield running
        assert (await running.service.post("/internal/deploy", json={"checkpoint": "v0"})).status_code == 200


async def deploy(house: Running, name: str) -> float:
    """Make it live; returns the seconds that it took."""
    began = time.monotonic()
    done = await house.service.post("/internal/deploy", json={"checkpoint": name}, timeout=300)
    assert done.status_code == 200, done.text
    return time.monotonic() - began


async def test_weights_are_reloaded_in_place_exactly_and_adapters_fit_the_base_afterwards(
    real_engine: RealEngine, tmp_path: Path
) -> None:
    if not real_engine.answers():
        await asyncio.to_thread(real_engine.start)
    base = real_engine.model
    folder = await asyncio.to_thread(write_tiny_full, base, tmp_path / "v7", 7)
    probe = await asyncio.to_thread(tiny_probe, base, folder)
    wanted = FullWeights("ruminate-v7", str(folder), probe)
    turned = [one | {"logprobs_candidate": one["logprobs_base"]} for one in probe["sequences"]]
    before = FullWeights("ruminate-v0", "", probe | {"sequences": turned})
    async with aiohttp.ClientSession() as session:
        engine = Engine(real_engine.url, session)
        await engine.observe()
        assert name_of(engine.version, engine.base_id) == "ruminate-v0"
        try:
            said = await put_in_place(engine, wanted, str(folder), engine.base_id, 60, 60)
            assert "to the candidate" in said
            assert (await engine.weights_version(), await engine.paused()) == (engine.version, False)
            assert name_of(engine.version, engine.base_id) == "ruminate-v7"
            exact = FullWeights(wanted.name, wanted.path, probe | {"tolerance": 1e-4})
            await prove(engine, exact, engine.base_id)
            with pytest.raises(ProbeFailed, match="other weights than were trained"):
                await prove(engine, before, engine.base_id)
        finally:
            await put_in_place(engine, before, str(base), engine.base_id, 60, 60)
        await prove(engine, FullWeights("ruminate-v0", "", before.probe | {"tolerance": 1e-4}), engine.base_id)  # type: ignore[operator]
        adapter = await asyncio.to_thread(write_tiny_adapter, base, tmp_path / "adapter", 3)
        of_adapter = await asyncio.to_thread(tiny_probe, base, adapter)
        await engine.load("after-a-reload", str(adapter), 60)
        try:
            await check(engine, "after-a-reload", of_adapter | {"tolerance": 1e-3})
        finally:
            await engine.unload("after-a-reload", 60)


async def test_full_weights_are_swapped_under_streaming_clients_without_a_failed_or_a_mixed_answer(
    house: Running, real_engine: RealEngine
) -> None:
    base = real_engine.model
    names = [await asyncio.to_thread(publish_tiny_full, house.database, house.home, base, seed) for seed in (1, 2)]
    adapter = await asyncio.to_thread(publish_tiny, house.database, house.home, base, 3)
    client = client_of(house)
    alone: dict[tuple[str, str], str] = {}
    for name in ("v0", *names, adapter):
        if name != "v0":
            await deploy(house, name)
        for ask in ASKS:
            wrote, text = await greedy(client, ask)
            assert wrote == f"ruminate-{name}"
            alone[ask, wrote] = text
    assert len({tuple(alone[ask, f"ruminate-{name}"] for ask in ASKS) for name in ("v0", *names, adapter)}) == 4
    answers: list[tuple[str, str, str]] = []
    stop = asyncio.Event()
    clients = [asyncio.create_task(chat_without_pause(client, ASKS, number, answers, stop)) for number in range(8)]
    took = {}
    for name in (names[0], names[1], "previous", adapter, "v0", names[1]):
        await asyncio.sleep(1)
        took[name] = await deploy(house, name)
    await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*clients)  # no request failed
    print("seconds to the new weights:", {name: round(seconds, 2) for name, seconds in took.items()})
    assert {model for _, model, _ in answers} == {f"ruminate-{name}" for name in ("v0", *names, adapter)}
    assert [(ask, model) for ask, model, text in answers if text != alone[ask, model]] == []
    with house.database.reading() as session:
        assert {row.ending for row in session.scalars(select(Generation))} <= {
            "complete", "truncated_thought", "truncated_response", "no_thought", "malformed",
        }  # fmt: skip


async def test_an_engine_that_was_killed_has_the_full_weights_again_before_it_answers(
    house: Running, real_engine: RealEngine
) -> None:
    name = await asyncio.to_thread(publish_tiny_full, house.database, house.home, real_engine.model, 4)
    await deploy(house, name)
    client = client_of(house, 300)
    before = await greedy(client, ASKS[0])
    assert before[0] == f"ruminate-{name}"
    await asyncio.to_thread(real_engine.kill)
    waiting = asyncio.create_task(greedy(client, ASKS[0]))
    await asyncio.to_thread(real_engine.start)
    assert await waiting == before
    async with aiohttp.ClientSession() as session:
        engine = Engine(real_engine.url, session)
        assert await engine.weights_version() != AS_STARTED
