"""Deployments: checked, loaded, probed and flipped, or refused with a reason; and what engines keep and forget."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from support.adapters import add_candidates, add_checkpoint, fake_probe, write_adapter, write_manifest
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.swaps import deploy, two_engines
from support.waiting import until

from db.queries import checkpoints, deployments
from db.schema import Audit, Checkpoint
from db.session import Database
from server.catalog import Catalog
from server.wanting import adapter_of


async def test_a_deployment_answers_from_the_new_checkpoint_and_rolls_back(house: Running, engine: FakeEngine) -> None:
    name = add_checkpoint(house.database, house.home)
    assert await deploy(house, name) == (200, {"live": "v1", "previous": "v0"})
    assert (await house.chat()).json()["model"] == "ruminate-v1"
    assert (await house.chat(model="ruminate-v0")).json()["model"] == "ruminate-v0"
    assert await deploy(house, "previous") == (200, {"live": "v0", "previous": "v1"})
    assert (await house.chat()).json()["model"] == "ruminate-v0"
    assert "ruminate-v1" in engine.adapters, "the previous checkpoint must stay resident"
    with house.database.reading() as session:
        assert [row.action for row in session.scalars(select(Audit))] == ["deploy", "deploy"]


async def test_a_slow_look_at_the_rows_never_brings_the_old_checkpoint_back(house: Running) -> None:
    catalog = house.gateway.catalog
    name = add_checkpoint(house.database, house.home)
    read, began = catalog._read, asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow() -> Any:
        loop.call_soon_threadsafe(began.set)
        found = read()
        time.sleep(0.5)
        return found

    catalog._read = slow  # type: ignore[method-assign]
    await began.wait()
    catalog._read = read  # type: ignore[method-assign]
    assert (await deploy(house, name))[0] == 200
    for _ in range(20):
        assert (await house.chat()).json()["model"] == "ruminate-v1"


async def test_a_look_at_the_rows_that_nobody_waits_for_any_more_brings_no_old_state_back(database: Database) -> None:
    """As of a request whose client left."""
    is_slow, began, go_on, ended = True, threading.Event(), threading.Event(), threading.Event()

    @contextmanager
    def reading() -> Iterator[Session]:
        slow = is_slow
        with database.reading() as session:
            yield session
        if slow:
            began.set()
            go_on.wait(10)

    catalog = Catalog(SimpleNamespace(reading=reading))  # type: ignore[arg-type]
    read = catalog._read

    def noted() -> Any:
        try:
            return read()
        finally:
            ended.set()

    catalog._read = noted  # type: ignore[method-assign]
    left = asyncio.create_task(catalog.refresh())
    await asyncio.to_thread(began.wait, 10)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    catalog._read, is_slow = read, False  # type: ignore[method-assign]
    with database.transaction() as session:
        checkpoints.ensure_base(session, "a base", {})
    await catalog.refresh()
    go_on.set()
    await asyncio.to_thread(ended.wait, 10)
    assert catalog.known("v0") is not None


async def test_no_request_fails_and_no_answer_mixes_while_checkpoints_are_swapped(
    house: Running, engine: FakeEngine
) -> None:
    engine.delay = 0.002
    names = add_candidates(house.database, house.home, 4)
    stop = asyncio.Event()
    answers: list[tuple[str, str]] = []

    async def chat_without_pause() -> None:
        while not stop.is_set():
            answer = await house.chat()
            assert answer.status_code == 200, answer.text
            answers.append((answer.json()["model"], answer.json()["choices"][0]["message"]["content"]))

    clients = [asyncio.create_task(chat_without_pause()) for _ in range(8)]
    for name in names:
        await asyncio.sleep(0.1)
        assert (await deploy(house, name))[0] == 200
    await asyncio.sleep(0.1)
    stop.set()
    await asyncio.gather(*clients)
    assert {model for model, _ in answers} == {f"ruminate-{name}" for name in ("v0", *names)}
    assert all(text == engine.text(model)[1] for model, text in answers)
    await until(
        lambda: set(engine.adapters), "older ones were not unloaded", {f"ruminate-{name}" for name in names[-2:]}
    )


async def test_a_stream_ends_on_the_weights_it_began_with_and_its_name_stays_until_then(
    house: Running, engine: FakeEngine
) -> None:
    names = add_candidates(house.database, house.home, 3)
    await deploy(house, names[0])
    engine.delay = 0.05
    slow = asyncio.create_task(house.chat(stream=True))
    await until(lambda: engine.running, "the engine was not asked", 1)
    engine.delay = 0
    for name in names[1:]:
        assert (await deploy(house, name))[0] == 200
    await asyncio.sleep(0.2)
    if not slow.done():
        assert "ruminate-v1" in engine.adapters
    assert "ruminate-v1-says5" in (await slow).text
    await until(lambda: set(engine.adapters), "v1 was not unloaded", lambda has: "ruminate-v1" not in has)


async def test_users_cannot_reach_candidates_or_adapters_of_a_round(house: Running, tmp_path: Path) -> None:
    name = add_checkpoint(house.database, house.home)
    folder = write_adapter(tmp_path / "step")
    loaded = await house.service.post("/internal/adapters", json={"name": "round-1-step-1", "path": str(folder)})
    assert loaded.status_code == 200
    for model in (f"ruminate-{name}", "round-1-step-1", "ruminate-v99", "v0", "", 7):
        refused = await house.chat(model=model)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found"), model


async def test_a_deployment_judged_against_another_live_checkpoint_is_refused(house: Running) -> None:
    name = add_checkpoint(house.database, house.home)
    status, body = await deploy(house, name, expected_live="v7")
    assert (status, body["error"]["code"]) == (409, "deployment_changed")
    assert (await deploy(house, "v12"))[0] == 404
    assert (await deploy(house, "previous"))[0] == 404


async def test_an_adapter_that_the_engine_ignores_never_goes_live(house: Running, engine: FakeEngine) -> None:
    engine.ignores_adapters = True
    name = add_checkpoint(house.database, house.home)
    status, body = await deploy(house, name)
    assert (status, body["error"]["code"]) == (422, "adapter_refused")
    assert "other weights" in body["error"]["message"]
    assert (await house.chat()).json()["model"] == "ruminate-v0"
    await until(lambda: engine.adapters, "the adapter was not unloaded", {})
    with house.database.reading() as session:
        row = checkpoints.find_checkpoint(session, name)
        assert row is not None
        assert row.state == "candidate"
        assert deployments.current(session).live_checkpoint_id == 0  # type: ignore[union-attr]


async def test_who_waits_for_an_adapter_waits_for_no_look_after_the_one_that_loaded_it(
    house: Running, engine: FakeEngine
) -> None:
    name, swap, catalog = add_checkpoint(house.database, house.home), house.gateway.swap, house.gateway.catalog
    await catalog.refresh()
    target, keeper = catalog.known(name), swap.keepers[0]
    assert target is not None
    engine.load_delay = 0.2
    engine.at, engine.then = "probed", lambda: setattr(engine, "unhealthy", True)  # so that the next look finds it down
    async with swap._wanting.candidate(target):
        await until(lambda: engine.loading, "the engine was not told to load")  # a look is under way
        await keeper.next_look(adapter_of(target))
        verdict = keeper.verdict(adapter_of(target))
    assert verdict is not None
    assert verdict.ok


UNFIT = {
    "a truncated file": (lambda f: (f / "adapter_model.safetensors").write_bytes(b"12345"), "altered or cut off"),
    "an altered file": (lambda f: _flip(f / "adapter_model.safetensors"), "altered or cut off"),
    "a missing file": (lambda f: (f / "adapter_config.json").unlink(), "not readable"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "not readable"),
    "a manifest of another checkpoint": (lambda f: _edit(f, name="v9"), "names 'v9'"),
    "a path outside": (lambda f: _edit(f, files={"../x": "0", **_files(f)}), "outside of its folder"),
    "no probe": (lambda f: _edit(f, probe=None), "no probe"),
}


@pytest.mark.parametrize("what", UNFIT)
async def test_an_unfit_checkpoint_is_refused_before_any_engine_sees_it(
    house: Running, engine: FakeEngine, what: str
) -> None:
    spoil, reason = UNFIT[what]
    name = add_checkpoint(house.database, house.home)
    spoil(house.home / "checkpoints" / name)
    status, body = await deploy(house, name)
    assert (status, body["error"]["code"]) == (422, "checkpoint_unfit")
    assert reason in body["error"]["message"]
    assert engine.adapters == {}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"r": 32}, "rank"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
async def test_an_adapter_that_cannot_be_swapped_is_refused(house: Running, config: dict, reason: str) -> None:
    name = add_checkpoint(house.database, house.home, **config)
    status, body = await deploy(house, name)
    assert status == 422
    assert reason in body["error"]["message"]


@pytest.mark.parametrize(("scale", "reason"), [(float("nan"), "NaN"), (0.0, "zero")])
async def test_an_adapter_of_nan_or_without_effect_is_refused(house: Running, scale: float, reason: str) -> None:
    with house.database.transaction() as session:
        row = checkpoints.reserve_checkpoint(session, 0)
    folder = write_adapter(house.home / "checkpoints" / row.name, scale=scale)
    manifest = write_manifest(folder, row.name, fake_probe())
    with house.database.transaction() as session:
        checkpoints.complete_checkpoint(session, row.id, str(folder), manifest)
    status, body = await deploy(house, row.name)
    assert status == 422
    assert reason in body["error"]["message"]


async def test_an_engine_that_restarts_serves_nothing_until_it_has_the_live_checkpoint_again(
    house: Running, engine: FakeEngine
) -> None:
    names = add_candidates(house.database, house.home, 2)
    for name in names:
        await deploy(house, name)
    await engine.stop()
    asked = asyncio.create_task(house.chat())
    await asyncio.sleep(0.3)
    assert (await house.http.get("/health")).status_code == 503
    await engine.start()
    answer = await asked
    assert (answer.status_code, answer.json()["model"]) == (200, "ruminate-v2")
    await until(lambda: set(engine.adapters), "the engine was not given what it had", {"ruminate-v1", "ruminate-v2"})


async def test_an_engine_that_restarts_is_not_given_files_that_were_altered_since(
    house: Running, engine: FakeEngine
) -> None:
    name = add_checkpoint(house.database, house.home)
    assert (await deploy(house, name))[0] == 200
    weights = house.home / "checkpoints" / name / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    await engine.stop()
    await engine.start()
    keeper = house.gateway.swap.keepers[0]
    await until(lambda: keeper.engine.detail, "the files were not refused", lambda said: "altered or cut off" in said)
    assert engine.adapters == {}
    weights.write_bytes(whole)
    await until(lambda: set(engine.adapters), "v1 was not loaded", lambda has: "ruminate-v1" in has)


async def test_a_first_start_waits_for_no_second_look_at_its_engine(tmp_path: Path, engine: FakeEngine) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], watch_seconds=3600.0) as house:
        await house.until_ready(10)
        assert (await house.chat()).status_code == 200


async def test_an_engine_that_restarted_between_two_looks_costs_nobody_an_answer(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], watch_seconds=30.0) as house:
        await house.until_ready()
        await deploy(house, add_checkpoint(house.database, house.home))
        engine.adapters.clear()
        answer = await house.chat()
        assert (answer.status_code, answer.json()["model"]) == (200, "ruminate-v1")


async def test_a_gateway_that_restarts_finds_the_live_checkpoint_in_the_rows(
    tmp_path: Path, engine: FakeEngine
) -> None:
    home = tmp_path / "home"
    async with running_gateway(home, [engine.url]) as house:
        await house.until_ready()
        await deploy(house, add_checkpoint(house.database, home))
    engine.adapters.clear()
    async with running_gateway(home, [engine.url]) as house:
        await house.until_ready()
        assert (await house.chat()).json()["model"] == "ruminate-v1"


async def test_a_dead_engine_does_not_block_a_deployment_and_catches_up(tmp_path: Path, engine: FakeEngine) -> None:
    async with two_engines(tmp_path / "home", engine) as (house, late):
        await late.stop()
        await until(lambda: house.gateway.pool.engines[1].healthy, "the engine does not count as down", False)
        assert (await deploy(house, add_checkpoint(house.database, house.home)))[0] == 200
        await late.start()
        answers = [(await house.chat()).json()["model"] for _ in range(20)]
        assert set(answers) == {"ruminate-v1"}
        await until(lambda: set(late.adapters), "it was not given v1", lambda has: "ruminate-v1" in has)


async def test_a_pinned_checkpoint_is_loaded_as_a_guest(house: Running, engine: FakeEngine) -> None:
    names = add_candidates(house.database, house.home, 4)
    for name in names:
        await deploy(house, name)
    await until(lambda: set(engine.adapters), "older ones were not unloaded", {"ruminate-v3", "ruminate-v4"})
    assert (await house.chat(model="ruminate-v1")).json()["model"] == "ruminate-v1"
    assert (await house.chat(model="ruminate-v2")).json()["model"] == "ruminate-v2"
    await until(lambda: set(engine.adapters), "v2 is not the one guest", {"ruminate-v2", "ruminate-v3", "ruminate-v4"})


async def test_another_process_can_change_what_is_live_by_its_row(house: Running) -> None:
    add_checkpoint(house.database, house.home)
    with house.database.transaction() as session:
        row = session.get(Checkpoint, 1)
        assert row is not None
        row.state = "published"
        newest = deployments.current(session)
        assert newest is not None
        deployments.propose(session, 1, "another gateway", "", newest.id)

    async def model() -> str:
        return (await house.chat()).json()["model"]

    await until(model, "the row changed nothing", "ruminate-v1")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _files(folder: Path) -> dict[str, str]:
    return json.loads((folder / "manifest.json").read_text())["files"]


def _edit(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
