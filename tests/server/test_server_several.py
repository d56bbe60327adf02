"""Several gateways on one database: one looks after the engines, all of them answer from the same checkpoint."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select
from support.adapters import add_candidates, add_checkpoint, write_adapter
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.waiting import until

from db.errors import DatabaseUnavailable
from db.queries import deployments, wishes
from db.schema import Message
from db.session import Database
from server.claim import Claim


@asynccontextmanager
async def two_gateways(
    tmp_path: Path, database_url: str, engines: list[str], **settings: object
) -> AsyncIterator[tuple[Running, Running]]:
    """The first one holds the lease, for so long that a crowded machine does not take it away."""
    shared = {"database_url": database_url, "lease_seconds": 30.0} | settings
    async with (
        running_gateway(tmp_path / "one", engines, **shared) as one,
        running_gateway(tmp_path / "two", engines, **shared) as two,
    ):
        await one.until_ready()
        await two.until_ready()
        if two.gateway.lease.role == "holds":
            one, two = two, one
        assert (one.gateway.lease.role, two.gateway.lease.role) == ("holds", "follows")
        yield one, two


async def deploy(http: httpx.AsyncClient, name: str) -> httpx.Response:
    return await http.post("/api/deployments", json={"checkpoint": name, "reason": "a test"})


async def model_of(house: Running) -> str:
    answer = await house.chat()
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model"])


@pytest.mark.parametrize("asked", [0, 1])
async def test_a_swap_by_either_gateway_is_seen_by_both_and_neither_unloads_the_others(
    tmp_path: Path, database_url: str, engine: FakeEngine, asked: int
) -> None:
    async with two_gateways(tmp_path, database_url, [engine.url]) as houses:
        names = add_candidates(houses[0].database, tmp_path, 3)
        for name in names:
            done = await deploy(houses[asked].http, name)
            assert done.status_code == 200, done.text
            assert await model_of(houses[asked]) == f"ruminate-{name}"
            await until(lambda: [h.live for h in houses], "a gateway has another one live", [name] * 2)
            assert await model_of(houses[1 - asked]) == f"ruminate-{name}"
        await until(lambda: set(engine.adapters), "v1 was not unloaded", {"ruminate-v2", "ruminate-v3"})
        await asyncio.sleep(0.5)  # ten looks of each
        assert (engine.loads, engine.unloads) == (3, 1)
        back = await deploy(houses[1 - asked].http, "previous")
        assert back.json() == {"live": "v2", "previous": "v3"}
        assert engine.loads == 3


async def test_no_request_at_any_gateway_fails_while_checkpoints_are_swapped(
    tmp_path: Path, database_url: str, engine: FakeEngine
) -> None:
    """The second gateway reads the rows so rarely that it learns of swaps by asking for what is gone."""
    engine.delay = 0.002
    async with two_gateways(tmp_path, database_url, [engine.url]) as (one, two):
        names = add_candidates(one.database, tmp_path, 6)
        assert (await deploy(one.http, names.pop(0))).status_code == 200
        await until(lambda: two.live, "the other gateway has another one live", "v1")
        two.gateway.swap._interval = 60.0
        two.gateway.swap.hurry()
        stop = asyncio.Event()
        models: dict[str, set[str]] = {one.url: set(), two.url: set()}

        async def chat_without_pause(house: Running) -> None:
            while not stop.is_set():
                answer = (await house.chat()).json()
                models[house.url].add(answer["model"])
                assert answer["choices"][0]["message"]["content"] == engine.text(answer["model"])[1]

        clients = [asyncio.create_task(chat_without_pause(house)) for house in (one, two) for _ in range(4)]
        for name in names:
            await asyncio.sleep(0.1)
            assert (await deploy(one.http, name)).status_code == 200
        await until(lambda: models[one.url], "v6 never answered", lambda told: "ruminate-v6" in told, seconds=5.0)
        await until(
            lambda: models[two.url],
            "it learnt of no swap",
            lambda told: told & {"ruminate-v5", "ruminate-v6"},
            seconds=5.0,
        )
        stop.set()
        await asyncio.gather(*clients)
        await until(lambda: set(engine.adapters), "the older ones were not unloaded", {"ruminate-v5", "ruminate-v6"})


async def test_steps_of_a_round_and_pinned_versions_asked_of_one_gateway_are_had_at_both(
    tmp_path: Path, database_url: str, engine: FakeEngine
) -> None:
    async with two_gateways(tmp_path, database_url, [engine.url]) as (one, two):
        for name in add_candidates(one.database, tmp_path, 3):
            await deploy(one.http, name)
        await until(lambda: set(engine.adapters), "v1 was not unloaded", lambda has: "ruminate-v1" not in has)
        folder = write_adapter(tmp_path / "step")
        wish = {"name": "round-1-step-1", "path": str(folder)}
        assert (await two.service.post("/internal/adapters", json=wish)).status_code == 200
        pinned = await two.chat(model="ruminate-v1")
        assert pinned.json()["model"] == "ruminate-v1"
        await until(
            lambda: one.gateway.swap.is_wanted("round-1-step-1"), "the step is not wanted where the lease is held"
        )
        sampled = {"model": "round-1-step-1", "prompts": [[1]], "max_tokens": 1}
        assert (await one.service.post("/internal/sample", json=sampled)).status_code == 200
        await asyncio.sleep(0.3)
        assert {"round-1-step-1", "ruminate-v1", "ruminate-v2", "ruminate-v3"} == set(engine.adapters)
        assert (await one.service.delete("/internal/adapters/round-1-step-1")).status_code == 204
        await until(lambda: set(engine.adapters), "the step was not unloaded", lambda has: "round-1-step-1" not in has)


async def test_a_gateway_that_follows_sends_nothing_to_what_was_not_probed(
    tmp_path: Path, database_url: str, engine: FakeEngine
) -> None:
    async with two_gateways(tmp_path, database_url, [engine.url]) as (one, two):
        name = add_checkpoint(one.database, tmp_path)
        assert (await deploy(two.http, name)).status_code == 200
        with two.database.transaction() as session:
            deployments.unobserve(session, engine.url, f"ruminate-{name}")
        one.gateway.lease._held_until = 0.0  # so that it does not write the row again at once
        one.gateway.lease._heard_until = float("inf")
        keeper = two.gateway.swap.keepers[0]
        await keeper.next_look()
        assert f"ruminate-{name}" in engine.adapters
        assert not keeper.engine.serves(f"ruminate-{name}")
        one.gateway.lease._heard_until = 0.0
        await one.gateway.lease.beat()
        await until(lambda: keeper.engine.serves(f"ruminate-{name}"), "the row was not written again")


async def test_an_adapter_that_the_engine_ignores_is_refused_at_a_gateway_that_follows(
    tmp_path: Path, database_url: str, engine: FakeEngine
) -> None:
    async with two_gateways(tmp_path, database_url, [engine.url]) as (one, two):
        engine.ignores_adapters = True
        name = add_checkpoint(one.database, tmp_path)
        refused = await deploy(two.http, name)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "adapter_refused")
        await until(lambda: engine.adapters, "the adapter was not unloaded", {})
        assert await model_of(one) == await model_of(two) == "ruminate-v0"


async def test_a_gateway_that_was_cut_off_from_the_database_unloads_nothing_and_learns_from_the_row(
    tmp_path: Path, database_url: str, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.lease.LOCAL_SECONDS", 2.0)  # on one machine a holder that hangs is waited for longer
    async with two_gateways(tmp_path, database_url, [engine.url], lease_seconds=2.0) as (one, two):
        names = add_candidates(one.database, tmp_path, 2)
        assert (await deploy(one.http, names[0])).status_code == 200

        def gone(*_: object) -> None:
            raise DatabaseUnavailable("postgresql://…", "no route to host", "Wait.")

        with monkeypatch.context() as cut:
            for part, call in (
                (one.gateway.lease, "_take"),
                (one.gateway.lease, "_take_locally"),
                (one.gateway.catalog, "_read"),
                (one.gateway.swap._shared, "_read"),
            ):
                cut.setattr(part, call, gone)
            await until(lambda: two.gateway.lease.role, "the lease was not taken over", "holds", seconds=10)
            assert one.gateway.lease.role == "alone"
            unloads = engine.unloads
            assert (await deploy(two.http, names[1])).status_code == 200
            assert await model_of(two) == "ruminate-v2"
            assert await model_of(one) == "ruminate-v1"  # it can't know better, and answers
            assert engine.unloads == unloads
        await until(lambda: one.live, "it did not learn from the row", "v2")
        assert await model_of(one) == "ruminate-v2"
        await until(lambda: one.gateway.lease.role, "it does not follow", "follows")


async def test_a_gateway_that_ends_hands_the_engines_over_at_once(
    tmp_path: Path, database_url: str, engine: FakeEngine
) -> None:
    shared = {"database_url": database_url, "lease_seconds": 30.0}
    async with running_gateway(tmp_path / "two", [engine.url], **shared) as two:
        await two.until_ready()
        await two.gateway.lease.release()
        async with running_gateway(tmp_path / "one", [engine.url], **shared) as one:
            assert one.gateway.lease.role == "holds"
        await two.gateway.lease.beat()
        assert two.gateway.lease.role == "holds"


@pytest.mark.parametrize("who", ["itself", "another that ended", "another that lives"])
async def test_what_a_gateway_that_ended_was_about_to_make_live_is_loaded_by_nobody(
    tmp_path: Path, engine: FakeEngine, who: str
) -> None:
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    async with running_gateway(tmp_path / "home", [engine.url], database_url=shared) as house:
        await house.until_ready()
        name = add_checkpoint(house.database, tmp_path)
        itself = house.gateway.lease.holder
        other = Claim(tmp_path / "other" / "spool" / "gateway-8000")
        path = str(tmp_path / "checkpoints" / name)
    assert other.take()
    if who != "another that lives":
        other.release()
    database = Database(shared)
    with database.transaction() as session:
        wishes.wish(session, wishes.CANDIDATE, f"ruminate-{name}", path, itself if who == "itself" else other.name, 60)
    database.close()
    async with running_gateway(tmp_path / "home", [engine.url], database_url=shared) as house:
        await house.until_ready()
        if who == "another that lives":
            await until(lambda: engine.adapters, "the adapter was not loaded", lambda has: f"ruminate-{name}" in has)
            other.release()
        await until(lambda: house.gateway.catalog.wishes, "the wish stands", ())
        await until(lambda: engine.adapters, "an adapter was loaded", {})
    assert engine.loads == (1 if who == "another that lives" else 0)


async def test_gateways_that_share_a_home_and_a_port_as_in_containers_keep_their_turns_apart(
    tmp_path: Path, engine: FakeEngine
) -> None:
    home = tmp_path / "home"
    async with (
        running_gateway(home, [engine.url], lease_seconds=30.0) as one,
        running_gateway(home, [engine.url], lease_seconds=30.0) as two,
    ):
        await one.until_ready()
        await two.until_ready()
        assert (one.gateway.lease.role, two.gateway.lease.role) == ("holds", "follows")
        assert {path.name for path in (home / "spool").iterdir()} == {"gateway-8000", "gateway-8000-2"}
        for house in (one, two):
            house.gateway.recorder._down_until = float("inf")  # as if the database took nothing
            assert (await house.chat(f"of {house.url}")).status_code == 200
            assert house.gateway.recorder.waiting == 1
    async with running_gateway(home, [engine.url]) as again:
        await until(lambda: again.gateway.recorder.waiting, "turns still wait in the spool", 0)
        with again.database.reading() as session:
            said = session.scalars(select(Message.content).where(Message.role == "user")).all()
        assert set(said) == {f"of {one.url}", f"of {two.url}"}
