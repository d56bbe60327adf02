"""Back to the previous checkpoint: at once, whatever else goes on, and from what was live when it was asked for."""

import asyncio
import time
from pathlib import Path

import pytest
from support.adapters import add_candidates, add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import Running
from support.swaps import deploy, two_engines
from support.trials import newest, record
from support.waiting import until

SECONDS = 2.0  # that a rollback may take, to the first answer


def other_weights(detail: str) -> bool:
    """Whether an engine's probe is said to have failed."""
    return "other weights" in detail


async def v2_live(house: Running, more: int = 0) -> None:
    """v1, then v2 live, and so many candidates beside them."""
    add_candidates(house.database, house.home, 2 + more)
    for name in ("v1", "v2"):
        assert (await deploy(house, name))[0] == 200


async def publishing(house: Running, engine: FakeEngine, seconds: float) -> asyncio.Task[tuple[int, dict]]:
    """v3 is asked for, and the engine is loading it, which takes so long."""
    engine.load_delay = seconds
    task = asyncio.create_task(deploy(house, "v3"))
    await until(lambda: engine.loading, "the engine was not told to load the third", 3)
    return task


async def test_a_rollback_waits_for_no_deployment_which_then_finds_the_row_changed(
    house: Running, engine: FakeEngine
) -> None:
    await v2_live(house, more=1)
    asked = await publishing(house, engine, seconds=4.0)
    began = time.monotonic()
    assert await deploy(house, "previous") == (200, {"live": "v1", "previous": "v2"})
    assert (await house.chat()).json()["model"] == "ruminate-v1"
    assert time.monotonic() - began < SECONDS
    status, body = await asked
    assert (status, body["error"]["code"]) == (409, "deployment_changed")
    row, states = newest(house)
    assert (row.live_checkpoint_id, states["v2"], states["v3"]) == (1, "retired", "candidate")


async def test_a_rollback_that_has_to_wait_takes_back_nothing_but_what_was_live_when_it_was_asked_for(
    house: Running, engine: FakeEngine
) -> None:
    await v2_live(house, more=1)
    asked = await publishing(house, engine, seconds=0.5)
    del house.gateway.pool.engines[0].loaded["ruminate-v1"]  # so that it is not at hand
    status, body = await deploy(house, "previous")
    assert (status, body["error"]["code"]) == (409, "deployment_changed"), body
    assert (await asked)[0] == 200
    assert newest(house)[0].live_checkpoint_id == 3


async def test_a_rollback_reads_no_files_of_what_is_resident(house: Running) -> None:
    await v2_live(house)
    (house.home / "checkpoints" / "v1" / "adapter_model.safetensors").write_bytes(b"cut off")
    assert await deploy(house, "previous") == (200, {"live": "v1", "previous": "v2"})
    assert (await house.chat()).json()["model"] == "ruminate-v1"


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("how", ["by hand", "by the watch"])
async def test_an_engine_that_refuses_what_is_gone_back_to_is_left_out_and_keeps_nothing_bad_live(
    tmp_path: Path, engine: FakeEngine, how: str, resident: bool
) -> None:
    async with two_engines(tmp_path / "home", engine, judge_seconds=3600.0) as (house, other):
        await v2_live(house)
        keeper = house.gateway.swap.keepers[1]
        other.ignores_adapters = True
        del other.adapters["ruminate-v1"]  # it is loaded again, and its probe fails; v2 was proven before
        await until(lambda: keeper.engine.detail, "its probe did not fail", other_weights)
        if not resident:
            engine.load_delay = 0.3
            del engine.adapters["ruminate-v1"]
            await until(lambda: engine.loading, "the engine was not told to load the third", 3)
        before = other.served.total()
        if how == "by hand":
            assert (await deploy(house, "previous"))[0] == 200
        else:
            record(house.database, 2, [f"bad {number}" for number in range(60)], ending="error")
            await house.gateway.watcher.look()
        assert newest(house)[0].live_checkpoint_id == 1
        answers = [(await house.chat(f"hello {number}")).json()["model"] for number in range(10)]
        assert set(answers) == {"ruminate-v1"}
        assert other.served.total() == before


async def test_a_rollback_waits_for_one_engine_where_none_has_what_is_gone_back_to(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with two_engines(tmp_path / "home", engine) as (house, other):
        await v2_live(house)
        other.load_delay, engine.load_delay = 4.0, 0.2
        for one in (engine, other):
            del one.adapters["ruminate-v1"]
        await until(lambda: (engine.loading, other.loading), "an engine was not told to load v1 again", (3, 3))
        began = time.monotonic()
        assert (await deploy(house, "previous"))[0] == 200
        assert (await house.chat()).json()["model"] == "ruminate-v1"
        assert time.monotonic() - began < SECONDS


async def test_what_no_engine_takes_is_nothing_to_go_back_to(house: Running, engine: FakeEngine) -> None:
    await v2_live(house)
    engine.ignores_adapters = True
    del engine.adapters["ruminate-v1"]
    await until(lambda: house.gateway.pool.engines[0].detail, "its probe did not fail", other_weights)
    status, body = await deploy(house, "previous")
    assert (status, body["error"]["code"]) == (422, "adapter_refused")
    assert newest(house)[0].live_checkpoint_id == 2


async def test_a_promotion_needs_every_healthy_engine(tmp_path: Path, engine: FakeEngine) -> None:
    async with two_engines(tmp_path / "home", engine) as (house, other):
        name = add_checkpoint(house.database, house.home)
        other.ignores_adapters = True
        status, body = await deploy(house, name)
        assert (status, body["error"]["code"]) == (422, "adapter_refused")
        assert other.url in body["error"]["message"]
        assert newest(house)[0].live_checkpoint_id == 0
        assert (await house.chat()).json()["model"] == "ruminate-v0"


async def test_a_promotion_outlasts_the_slowest_healthy_engine(tmp_path: Path, engine: FakeEngine) -> None:
    async with two_engines(tmp_path / "home", engine) as (house, other):
        name = add_checkpoint(house.database, house.home)
        other.load_delay = 1.5
        began = time.monotonic()
        deploying = asyncio.create_task(deploy(house, name))
        await until(lambda: house.gateway.pool.engines[0].serves("ruminate-v1"), "the engine does not serve v1")
        assert (await house.chat()).json()["model"] == "ruminate-v0"
        assert (await deploying)[0] == 200
        assert time.monotonic() - began > other.load_delay
        assert all(one.serves("ruminate-v1") for one in house.gateway.pool.engines)


async def test_an_engine_that_comes_back_late_is_asked_nothing_before_its_probe_has_passed(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with two_engines(tmp_path / "home", engine) as (house, late):
        await late.stop()
        await until(lambda: house.gateway.pool.engines[1].healthy, "the engine does not count as down", False)
        assert (await deploy(house, add_checkpoint(house.database, house.home)))[0] == 200
        late.requests.clear()
        late.ignores_adapters = True  # it lists the adapter, and serves the base
        await late.start()
        await until(lambda: house.gateway.pool.engines[1].detail, "its probe did not fail", other_weights)
        for number in range(10):
            assert (await house.chat(f"hello {number}")).json()["model"] == "ruminate-v1"
        assert [path for path, _ in late.requests if path == "/v1/chat/completions"] == []
        await late.stop()
        await until(lambda: house.gateway.pool.engines[1].healthy, "the engine does not count as down", False)
        late.ignores_adapters = False
        await late.start()
        await until(lambda: house.gateway.pool.engines[1].serves("ruminate-v1"), "the engine does not serve v1")
        probed = len(late.requests)
        for number in range(20):
            assert (await house.chat(f"hello {number}")).json()["model"] == "ruminate-v1"
        asked = [path for path, _ in late.requests]
        assert "/v1/chat/completions" in asked[probed:]
        assert "/v1/chat/completions" not in asked[:probed]
