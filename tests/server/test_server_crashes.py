"""Whatever dies at whatever point of a swap (an engine, the gateway that was asked, the trainer that asked): within
seconds there is one live checkpoint, every engine has it, and the next swap works. The lease's holder is in
test_server_killed.py.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from support.adapters import add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.processes import gateway_process
from support.waiting import until

from db.queries import checkpoints, deployments

CONVERGED_SECONDS = 5.0
POINTS = ("load", "loaded", "probe", "probed", "unload", "unloaded")
UNTIL_LIVE = POINTS[:4]


@pytest.fixture
async def other() -> AsyncIterator[FakeEngine]:
    fake = FakeEngine()
    await fake.start()
    yield fake
    await fake.stop()


async def two_live(house: Running, folder: Path) -> list[str]:
    """v2 is live, v1 before it, and v3 waits."""
    names = [add_checkpoint(house.database, folder, -2.0 - number / 10) for number in range(3)]
    for name in names[:2]:
        assert (await deploy(house.http, name)).status_code == 200
    return names


async def deploy(http: httpx.AsyncClient, name: str) -> httpx.Response:
    return await http.post("/api/deployments", json={"checkpoint": name, "reason": "a test"})


def rows(house: Running) -> tuple[str, str]:
    """What the newest row wants live, and what before it."""
    with house.database.reading() as session:
        row = deployments.current(session)
        assert row is not None
        assert row.previous_checkpoint_id is not None
        live, previous = (
            checkpoints.get_checkpoint(session, one).name
            for one in (row.live_checkpoint_id, row.previous_checkpoint_id)
        )
        return live, previous


async def agree(house: Running, engines: list[FakeEngine]) -> str:
    """Wait until every engine has what the row wants and nothing else, and answers as it; gives what is live."""
    live, previous = rows(house)
    has = {f"ruminate-{live}", f"ruminate-{previous}"}
    keepers = house.gateway.swap.keepers
    await until(
        lambda: [set(one.adapters) for one in engines], "an engine has others", [has] * len(engines), CONVERGED_SECONDS
    )
    await until(
        lambda: [keeper.engine.serves(f"ruminate-{live}") for keeper in keepers],
        f"{live} is not served",
        all,
        CONVERGED_SECONDS,
    )
    told = {(await house.chat(f"number {number}")).json()["model"] for number in range(8)}
    assert told == {f"ruminate-{live}"}
    assert rows(house) == (live, previous)
    return live


@pytest.mark.parametrize("point", POINTS)
async def test_an_engine_that_dies_at_any_point_of_a_swap_leaves_one_live_checkpoint(
    tmp_path: Path, engine: FakeEngine, other: FakeEngine, point: str
) -> None:
    async with running_gateway(
        tmp_path / "home", [engine.url, other.url], engine_wait_seconds=10.0, lease_seconds=30.0
    ) as house:
        await house.until_ready()
        await house.until_all_up()
        names = await two_live(house, tmp_path)
        await agree(house, [engine, other])
        died: list[str] = []

        def die() -> None:
            died.append(point)
            engine.die(0.2)

        engine.at, engine.then = point, die
        answer = await deploy(house.http, names[2])
        await until(lambda: died, f"the engine did not come to {point}", [point])
        live = await agree(house, [engine, other])
        assert (live == names[2]) == (answer.status_code == 200), answer.text
        if live != names[2]:
            assert (await deploy(house.http, names[2])).status_code == 200
            assert await agree(house, [engine, other]) == names[2]


@pytest.mark.parametrize("point", UNTIL_LIVE)
async def test_a_follower_that_dies_at_any_point_of_the_swap_it_was_asked_for_leaves_one_live_checkpoint(
    tmp_path: Path, engine: FakeEngine, point: str
) -> None:
    """Later on the swap is done, and it is the holder of the lease that cleans up."""
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    async with running_gateway(tmp_path / "holder", [engine.url], database_url=shared, lease_seconds=30.0) as house:
        await house.until_ready()
        names = await two_live(house, tmp_path)
        await agree(house, [engine])
        settings = {"RUMINATE_DATABASE_URL": shared}
        async with gateway_process(tmp_path / "follower", [engine.url], **settings) as follower:
            await follower.until_ready()
            assert house.gateway.lease.role == "holds"
            engine.at, engine.then = point, follower.kill
            swap = asyncio.create_task(deploy(follower.http, names[2]))
            with pytest.raises(httpx.TransportError):
                await swap
        assert engine.at == ""
        assert rows(house) == (names[1], names[0])
        assert (await house.chat()).json()["model"] == f"ruminate-{names[1]}"
        assert (await deploy(house.http, names[2])).status_code == 200  # nothing that it began is in the way
        assert rows(house) == (names[2], names[1])
        assert (await house.chat()).json()["model"] == f"ruminate-{names[2]}"


@pytest.mark.parametrize("point", UNTIL_LIVE)
async def test_a_trainer_that_dies_at_any_point_of_its_swap_finds_it_done_when_it_asks_again(
    tmp_path: Path, engine: FakeEngine, point: str
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], lease_seconds=30.0) as house:
        await house.until_ready()
        names = await two_live(house, tmp_path)
        await agree(house, [engine])
        wish = {"checkpoint": names[2], "expected_live": names[1], "by": "round 1", "reason": "it wins"}
        asked = asyncio.create_task(house.service.post("/internal/deploy", json=wish))
        engine.at, engine.then = point, asked.cancel
        with pytest.raises(asyncio.CancelledError):
            await asked
        await until(lambda: rows(house), "the swap was not done", (names[2], names[1]), CONVERGED_SECONDS)
        assert await agree(house, [engine]) == names[2]
        again = await house.service.post("/internal/deploy", json=wish)
        assert (again.status_code, again.json()) == (200, {"live": names[2], "previous": names[1]})
        assert rows(house) == (names[2], names[1])
