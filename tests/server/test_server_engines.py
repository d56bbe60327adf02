"""Engines that are added and removed while people chat."""

import asyncio
from pathlib import Path

import httpx
import pytest
from support.adapters import add_checkpoint, add_full
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.swaps import deploy, running_engine
from support.waiting import until

from server import engine as engines
from server.tracing import CURRENT, Trace

ENGINES = "/api/admin/engines"


async def add(house: Running, url: str) -> httpx.Response:
    return await house.http.post(ENGINES, json={"url": url})


async def remove(house: Running, url: str) -> httpx.Response:
    return await house.http.delete(ENGINES, params={"url": url})


async def test_no_answer_fails_while_one_engine_takes_the_place_of_running_engine(
    house: Running, engine: FakeEngine, tmp_path: Path
) -> None:
    name = add_checkpoint(house.database, tmp_path)
    assert (await house.http.post("/api/deployments", json={"checkpoint": name})).status_code == 200
    engine.delay = 0.05
    async with running_engine() as second:
        long = asyncio.create_task(house.chat(stream=True))
        await until(lambda: engine.running, "the engine was not asked", 1)
        added = await add(house, second.url)
        assert (added.status_code, added.json()["url"]) == (201, second.url)
        # it gets what is live, probed, before anything is asked of it
        await until(lambda: second.adapters, "the new engine was given nothing")
        assert (await remove(house, engine.url)).status_code == 204
        assert [one["url"] for one in (await house.http.get(ENGINES)).json()["data"]] == [second.url]
        await until(lambda: house.gateway.ready, "the gateway is not ready")
        answers = await asyncio.gather(*(house.chat(f"number {number}") for number in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["model"] for answer in answers} == {f"ruminate-{name}"}
        assert sum(path == "/v1/chat/completions" for path, _ in second.requests) == 8
        done = await long
        assert done.text.endswith("data: [DONE]\n\n")  # what the removed engine had begun went on to its end
        audit = (await house.http.get("/api/admin/audit")).json()["data"]
        assert [(row["action"], row["detail"]["url"]) for row in audit[:2]] == [
            ("engine.remove", engine.url), ("engine.add", second.url)
        ]  # fmt: skip


async def test_every_gateway_follows_and_so_does_one_that_starts_later(
    tmp_path: Path, database_url: str, engine: FakeEngine
) -> None:
    async with running_engine() as second:
        shared = {"database_url": database_url}
        async with (
            running_gateway(tmp_path / "one", [engine.url], **shared) as one,
            running_gateway(tmp_path / "two", [engine.url], **shared) as two,
        ):
            await one.until_ready()
            await two.until_ready()
            assert (await add(two, second.url)).status_code == 201
            both = (one.gateway, two.gateway)
            await until(lambda: [len(one.pool.engines) for one in both], "the engine was not added", [2, 2])
            assert (await remove(one, engine.url)).status_code == 204
            await until(lambda: [len(one.pool.engines) for one in both], "the engine was not removed", [1, 1])
            await until(lambda: [one.ready for one in both], "a gateway is not ready", all)
            for house in (one, two):
                assert (await house.chat()).status_code == 200
            assert engine.served.total() == 0
            assert second.served.total() >= 2
        async with running_gateway(tmp_path / "three", [engine.url], **shared) as three:
            await three.until_ready()
            assert [one.url for one in three.gateway.pool.engines] == [second.url]
            assert (await add(three, engine.url)).status_code == 201  # and back
            assert {one.url for one in three.gateway.pool.engines} == {engine.url, second.url}


async def test_what_does_not_fit_is_refused_in_words(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "CONNECT_SECONDS", 1.0)
    async with running_engine(base="other-v0") as stranger:
        asked = {
            "http://127.0.0.1:9": (422, "engine_unfit"),
            stranger.url: (422, "engine_unfit"),
            engine.url: (409, "engine_exists"),
            "ftp://nowhere": (400, "invalid_value"),
        }
        for url, expected in asked.items():
            refused = await add(house, url)
            assert (refused.status_code, refused.json()["error"]["code"]) == expected, refused.text
        assert "other-v0" in (await add(house, stranger.url)).json()["error"]["message"]
    assert (await remove(house, "http://127.0.0.1:9")).status_code == 404
    last = await remove(house, engine.url)
    assert (last.status_code, last.json()["error"]["code"]) == (409, "engine_needed")
    assert (await house.chat()).status_code == 200


async def test_a_deployment_does_not_wait_for_an_engine_that_is_removed(
    house: Running, engine: FakeEngine, tmp_path: Path
) -> None:
    name = add_checkpoint(house.database, tmp_path)
    async with running_engine() as second:
        assert (await add(house, second.url)).status_code == 201
        await house.until_all_up()
        second.load_delay = 60.0
        deploying = asyncio.create_task(house.http.post("/api/deployments", json={"checkpoint": name}))
        await until(lambda: second.loading, "the engine was not told to load", 1)
        assert (await remove(house, second.url)).status_code == 204
        async with asyncio.timeout(20):
            done = await deploying
        assert done.json() == {"live": name, "previous": "v0"}


async def test_an_engine_that_is_added_and_not_seen_yet_is_said_so(
    house: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows can't be read again, or another gateway removes it in the same moment."""

    async def refresh() -> bool:
        return False

    async with running_engine() as second:
        monkeypatch.setattr(house.gateway.catalog, "refresh", refresh)
        answer = await add(house, second.url)
        assert (answer.status_code, second.url in answer.text) == (503, True)
        monkeypatch.undo()


def model_in(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    (folder / name / "config.json").write_text(f'{{"model_type": "{name}"}}')
    return str(folder / name)


async def test_an_engine_that_comes_back_with_another_base_model_answers_nothing(
    tmp_path: Path, engine: FakeEngine
) -> None:
    """Under the name that the house's has. Also where the gateway does not see that it was gone."""
    ours, other = model_in(tmp_path, "ours"), model_in(tmp_path, "other")
    engine.root = ours
    settings = {"base_model": ours, "engine_wait_seconds": 0.2}
    async with running_gateway(tmp_path / "home", [engine.url], **settings) as house:
        await house.until_ready()
        keeper = house.gateway.swap.keepers[0]
        for seen in (True, False):
            if seen:
                await engine.stop()
                await until(lambda: house.gateway.pool.engines[0].healthy, "the engine does not count as down", False)
            engine.root = other
            if seen:
                await engine.start()
            await keeper.next_look()
            await keeper.next_look()
            asked = len(engine.requests)
            assert (await house.chat()).status_code == 503
            assert len(engine.requests) == asked
            (told,) = (await house.http.get("/health")).json()["engines"]
            assert other in told["detail"]
            engine.root = ours
            await house.until_ready()
            assert (await house.chat()).status_code == 200
        engine.root = "/not/on/this/machine"  # nothing is known of it
        await keeper.next_look()
        await keeper.next_look()
        assert (await house.chat()).status_code == 200


async def test_a_base_that_may_not_be_looked_at_counts_as_one_on_another_machine(
    tmp_path: Path, engine: FakeEngine
) -> None:
    """As one in a folder of the user that the engine runs as. Here the system refuses a name that is too long."""
    async with running_engine() as other:
        engine.root = other.root = "/" + "x" * 300
        async with running_gateway(tmp_path / "home", [engine.url]) as house:
            await house.until_ready()
            await deploy(house, add_checkpoint(house.database, tmp_path))
            assert (await add(house, other.url)).status_code == 201
            await house.until_all_up()
            assert (await house.chat()).json()["model"] == "ruminate-v1"


async def test_an_engine_of_the_settings_with_another_base_model_is_left_out_once_the_base_is_learnt(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.root = model_in(tmp_path, "ours")
    async with running_engine() as second:
        second.root = model_in(tmp_path, "other")
        async with running_gateway(tmp_path / "home", [engine.url, second.url]) as house:
            await house.until_ready()
            engines = house.gateway.pool.engines
            await until(
                lambda: [one.healthy for one in engines], "not one of the two is left out", lambda up: sum(up) == 1
            )
            (left,) = [one for one in engines if not one.healthy]
            assert "is not the one that v0 is" in left.detail


@pytest.mark.parametrize("had", ["an adapter", "nothing", "full weights"])
async def test_what_a_probe_refused_is_tried_anew_on_an_engine_that_restarted_between_two_looks(
    house: Running, engine: FakeEngine, tmp_path: Path, had: str
) -> None:
    async def deploy(name: str) -> int:
        return (await house.http.post("/api/deployments", json={"checkpoint": name})).status_code

    engine.tells_start = had == "nothing"  # else it is seen by what it had
    if had == "an adapter":
        assert await deploy(add_checkpoint(house.database, tmp_path)) == 200
    engine.ignores_adapters = engine.ignores_reloads = True
    name = (add_full if had == "full weights" else add_checkpoint)(house.database, tmp_path, -2.5)
    assert await deploy(name) == 422
    await until(
        lambda: engine.version,
        "the base's weights are not back",
        lambda seen: seen == "default" or seen.startswith("ruminate-v0"),
    )
    loads = engine.loads
    assert await deploy(name) == 422
    assert engine.loads == loads  # it said so for good
    engine.forget()
    engine.ignores_adapters = engine.ignores_reloads = False
    assert await deploy(name) == 200
    assert (await house.chat()).json()["model"] == f"ruminate-{name}"


async def test_only_an_administrator_changes_engines(tmp_path: Path, engine: FakeEngine) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], loopback_without_key=False) as house:
        assert (await add(house, "http://127.0.0.1:9")).status_code == 401
        assert (await remove(house, engine.url)).status_code == 401
        assert (await house.http.get(ENGINES)).status_code == 401


async def test_who_looks_after_an_engine_works_for_no_request(house: Running) -> None:
    seen: list[Trace | None] = []

    async def look() -> None:
        seen.append(CURRENT.get())

    token = CURRENT.set(Trace("of who added it", False))
    await house.gateway._go(look(), "keeper", endless=False)
    CURRENT.reset(token)
    assert seen == [None]
