"""Full weights: put in the place of an engine's own without a failed or a mixed answer; what does not go with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import httpx
import pytest
from sqlalchemy import delete, select
from support.adapters import add_candidates, add_checkpoint, add_full, write_adapter
from support.fake_engine import BASE, FakeEngine
from support.gateways import Running, running_gateway, two_gateways
from support.swaps import deploy
from support.waiting import until

from db.errors import DatabaseUnavailable
from db.schema import EngineState, Generation
from server.observed import Verdict


@asynccontextmanager
async def chatting(house: Running, clients: int = 8) -> AsyncIterator[list[tuple[str, str]]]:
    """People who chat without a pause, half of them streamed: (the model that is named, what it said) of each."""
    answers: list[tuple[str, str]] = []
    stop = asyncio.Event()

    async def one(stream: bool) -> None:
        while not stop.is_set():
            answer = await house.chat(stream=stream)
            assert answer.status_code == 200, answer.text
            if stream:
                assert answer.text.endswith("data: [DONE]\n\n")
                named = {part.split('"')[0] for part in answer.text.split('"model":"')[1:]}
                said = "".join(part.split('"}')[0] for part in answer.text.split('"content":"')[1:])
                answers.append((" and ".join(sorted(named)), said))
            else:
                answers.append(named_and_said(answer))

    tasks = [asyncio.create_task(one(number % 2 == 0)) for number in range(clients)]
    try:
        yield answers
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def named_and_said(answer: httpx.Response) -> tuple[str, str]:
    return answer.json()["model"], answer.json()["choices"][0]["message"]["content"]


def words(engine: FakeEngine, model: str) -> str:
    return " ".join(f"{model}-says{number}" for number in range(engine.words))


async def test_full_weights_take_the_place_of_the_engines_own_and_are_named_rightly(
    house: Running, engine: FakeEngine
) -> None:
    adapter = add_checkpoint(house.database, house.home)
    assert (await deploy(house, adapter))[0] == 200
    full = add_full(house.database, house.home, -3.0)
    assert await deploy(house, full) == (200, {"live": full, "previous": adapter})
    assert (engine.adapters, engine.paused, engine.pauses, engine.reloads) == ({}, False, 1, 1)
    assert named_and_said(await house.chat()) == ("ruminate-v2", words(engine, "ruminate-v2"))
    streamed = (await house.chat(stream=True)).text
    assert '"model":"ruminate-v2"' in streamed
    assert BASE not in streamed
    assert (await house.chat(model="ruminate-v2")).json()["model"] == "ruminate-v2"
    said = {"messages": [{"role": "user", "content": "four words it is"}]}
    assert (await house.http.post("/tokenize", json=said)).json()["count"] == 4
    claude = {"model": "ruminate", "max_tokens": 9, **said}
    assert (await house.http.post("/v1/messages", json=claude)).json()["model"] == "ruminate-v2"
    response = (await house.http.post("/v1/responses", json={"model": "ruminate", "input": "hello"})).json()
    assert response["model"] == "ruminate-v2"
    with house.database.reading() as session:
        assert set(session.scalars(select(Generation.model))) == {"ruminate-v2"}
    assert await deploy(house, "previous") == (200, {"live": adapter, "previous": full})
    assert (await house.chat()).json()["model"] == "ruminate-v1"
    assert await deploy(house, "v0") == (200, {"live": "v0", "previous": adapter})
    assert (await house.chat()).json()["choices"][0]["message"]["content"] == words(engine, BASE)


async def test_no_request_fails_and_no_answer_mixes_while_one_engine_changes_its_weights(
    house: Running, engine: FakeEngine
) -> None:
    engine.delay, engine.reload_delay = 0.002, 0.1
    names = add_candidates(house.database, house.home, 3, add_full)
    adapter = add_checkpoint(house.database, house.home, -4.0)
    order = [*names, "previous", adapter, names[0], "v0"]
    async with chatting(house) as answers:
        for name in order:
            await asyncio.sleep(0.1)
            assert (await deploy(house, name))[0] == 200
            assert (await house.chat()).status_code == 200
        await asyncio.sleep(0.1)
    assert {model for model, _ in answers} == {f"ruminate-{name}" for name in ("v0", adapter, *names)}
    assert [(model, said) for model, said in answers if said != words(engine, model)] == []
    assert engine.mixed == 0
    assert not engine.paused


async def test_requests_wait_longer_than_their_time_for_weights_that_take_longer(
    engine: FakeEngine, tmp_path: Path
) -> None:
    engine.reload_delay = 1.0
    async with running_gateway(tmp_path / "home", [engine.url], engine_wait_seconds=0.2) as house:
        await house.until_ready()
        full = add_full(house.database, house.home)
        deploying = asyncio.create_task(deploy(house, full))
        await until(lambda: engine.paused, "the engine was not paused")
        waited = await asyncio.gather(*(house.chat() for _ in range(4)))
        assert [answer.status_code for answer in waited] == [200] * 4
        assert {answer.json()["model"] for answer in waited} == {"ruminate-v1"}
        assert (await deploying)[0] == 200


async def test_several_engines_change_one_after_another_and_somebody_always_answers(tmp_path: Path) -> None:
    engines = [FakeEngine() for _ in range(3)]
    for engine in engines:
        await engine.start()
        engine.delay, engine.reload_delay = 0.001, 1.0
    try:
        async with running_gateway(tmp_path / "home", [engine.url for engine in engines]) as house:
            await house.until_ready()
            await house.until_all_up()
            full = add_full(house.database, house.home)
            async with chatting(house) as answers:
                await asyncio.sleep(0.2)
                assert (await deploy(house, full))[0] == 200
                most, took = 0, []
                while any(engine.reloads == 0 for engine in engines):
                    most = max(most, sum(engine.paused for engine in engines))
                    began = asyncio.get_running_loop().time()
                    assert (await house.chat()).json()["model"] == f"ruminate-{full}"
                    took.append(asyncio.get_running_loop().time() - began)
                await asyncio.sleep(0.2)
            assert median(took) < 0.8, f"answers waited for weights to be reloaded: {took}"
            assert most == 1
            assert {engine.mixed for engine in engines} == {0}
            assert [(model, said) for model, said in answers if said != words(engines[0], model)] == []
            assert {engine.in_place for engine in house.gateway.pool.engines} == {f"ruminate-{full}"}
    finally:
        for engine in engines:
            await engine.stop()


async def test_weights_that_an_engine_does_not_take_never_go_live_and_nobody_is_turned_away(
    house: Running, engine: FakeEngine
) -> None:
    engine.ignores_reloads = True
    full = add_full(house.database, house.home)
    async with chatting(house, 4) as answers:
        status, body = await deploy(house, full)
        assert (status, body["error"]["code"]) == (422, "weights_refused")
        assert "other weights than were trained" in body["error"]["message"]
        engine.ignores_reloads = False
        await asyncio.sleep(0.3)
    assert {model for model, _ in answers} == {BASE}
    assert [(model, said) for model, said in answers if said != words(engine, model)] == []
    assert (await house.http.get("/api/status")).json()["live"]["name"] == "v0"


async def test_the_way_back_to_the_base_is_proven_too(house: Running, engine: FakeEngine) -> None:
    full = add_full(house.database, house.home)
    assert (await deploy(house, full))[0] == 200
    engine.ignores_reloads = True
    status, body = await deploy(house, "previous")
    assert (status, body["error"]["code"]) == (422, "weights_refused")
    assert named_and_said(await house.chat()) == (f"ruminate-{full}", words(engine, f"ruminate-{full}"))


async def test_an_answer_that_does_not_end_in_time_puts_the_swap_off(engine: FakeEngine, tmp_path: Path) -> None:
    engine.delay = 0.2  # two seconds and more for an answer
    async with running_gateway(tmp_path / "home", [engine.url], drain_seconds=0.5) as house:
        await house.until_ready()
        full = add_full(house.database, house.home)
        slow = asyncio.create_task(house.chat(stream=True))
        await until(lambda: engine.running, "the engine was not asked", 1)
        status, body = await deploy(house, full)
        assert (status, body["error"]["code"]) == (422, "weights_refused")
        assert "/pause?mode=wait gave no answer within 0.5 s" in body["error"]["message"]
        assert (engine.reloads, engine.paused) == (0, False)
        assert "ruminate-v0-says5" in (await slow).text
        engine.delay = 0
        assert (await house.chat()).json()["model"] == BASE


async def test_an_engine_that_was_left_paused_goes_on(house: Running, engine: FakeEngine) -> None:
    assert (await deploy(house, add_full(house.database, house.home)))[0] == 200
    engine.paused = True
    assert (await house.chat()).status_code == 200
    assert not engine.paused


async def test_an_engine_that_restarted_answers_as_nobody_until_it_has_the_weights_again(
    house: Running, engine: FakeEngine
) -> None:
    full = add_full(house.database, house.home)
    assert (await deploy(house, full))[0] == 200
    for _ in range(5):
        engine.forget()  # and nobody has looked yet: it answers as the base that it was started with
        assert named_and_said(await house.chat()) == (f"ruminate-{full}", words(engine, f"ruminate-{full}"))


async def test_an_engine_whose_reload_was_broken_off_is_loaded_again(house: Running, engine: FakeEngine) -> None:
    full = add_full(house.database, house.home)
    assert (await deploy(house, full))[0] == 200
    engine.version, engine.weights, engine.paused = "in-change", "", True
    assert (await house.chat()).json()["choices"][0]["message"]["content"] == words(engine, f"ruminate-{full}")
    assert (engine.reloads, engine.paused) == (2, False)


@pytest.mark.parametrize("there", [True, False], ids=["what it was", "the name alone"])
async def test_a_gateway_that_comes_back_proves_what_is_there_and_loads_only_what_is_not(
    engine: FakeEngine, tmp_path: Path, there: bool
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        full = add_full(house.database, house.home)
        assert (await deploy(house, full))[0] == 200
        with house.database.transaction() as session:
            session.execute(delete(EngineState))  # the gateway died after it had named them, and before their probe
    if not there:
        engine.weights = ""
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        assert named_and_said(await house.chat()) == (f"ruminate-{full}", words(engine, f"ruminate-{full}"))
        assert engine.reloads == (1 if there else 2)


async def test_a_second_gateway_never_passes_on_what_other_weights_wrote(engine: FakeEngine, tmp_path: Path) -> None:
    shared = f"sqlite:///{tmp_path / 'both.db'}"
    async with (
        running_gateway(tmp_path / "one", [engine.url], database_url=shared) as first,
        running_gateway(tmp_path / "two", [engine.url], database_url=shared, watch_seconds=0.5) as second,
    ):
        await first.until_ready()
        await second.until_ready()
        engine.delay, engine.reload_delay = 0.002, 0.1
        names = add_candidates(first.database, first.home, 3, add_full)
        await asyncio.sleep(0.6)
        async with chatting(second, 6) as answers:
            for name in (*names, "v0"):
                assert (await deploy(first, name))[0] == 200
                await asyncio.sleep(0.6)
        assert (await deploy(second, names[0]))[0] == 200
        assert {model for model, _ in answers} >= {f"ruminate-{name}" for name in names}
        assert [(model, said) for model, said in answers if said != words(engine, model)] == []


async def test_a_gateway_that_cannot_read_the_rows_never_passes_on_what_other_weights_wrote(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"database_url": f"sqlite:///{tmp_path / 'both.db'}", "lease_seconds": 30.0}
    async with two_gateways(tmp_path, [engine.url], **shared) as (first, second):
        names = [add_full(first.database, first.home, -2.0 - number / 10) for number in range(2)]
        assert (await deploy(first, names[0]))[0] == 200
        known = second.gateway.pool.engines[0]
        await until(lambda: known.in_place, "the first weights are not in place", f"ruminate-{names[0]}")

        def gone(*_: object) -> None:
            raise DatabaseUnavailable("postgresql://…", "no route to host", "Wait.")

        with monkeypatch.context() as cut:
            cut.setattr(second.gateway.catalog, "_read", gone)
            cut.setattr(second.gateway.swap._shared, "_read", gone)
            assert (await deploy(first, names[1]))[0] == 200
            await until(lambda: known.version, "the new version is not seen", engine.version)
            assert second.gateway.lease.role == "follows"
            assert not known.serves(f"ruminate-{names[0]}")
            answer = asyncio.create_task(second.chat())
        assert named_and_said(await answer) == (f"ruminate-{names[1]}", words(engine, f"ruminate-{names[1]}"))


async def test_weights_that_another_gateway_replaced_meanwhile_are_not_taken_for_those_before(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the database does not answer and two gateways look after the engine for a moment."""
    full = add_full(house.database, house.home)
    shared = house.gateway.swap._shared
    read = shared.read

    async def late(url: str) -> dict[str, Verdict]:
        found = await read(url)
        if house.gateway.catalog.wishes:
            engine.weights, engine.version = str(house.home / "checkpoints" / full), f"ruminate-{full}#of-another"
        return found

    monkeypatch.setattr(shared, "read", late)
    assert (await deploy(house, full))[0] == 200
    assert engine.reloads == 0


async def test_what_stands_on_other_weights_than_live_is_refused_in_words(house: Running, tmp_path: Path) -> None:
    adapter = add_checkpoint(house.database, house.home)
    full = add_full(house.database, house.home, -3.0)
    assert (await deploy(house, adapter))[0] == 200
    status, body = await deploy(house, full, canary_share=0.1)
    assert (status, body["error"]["code"]) == (422, "no_canary")
    assert (await deploy(house, full))[0] == 200
    for model in ("ruminate-v0", "ruminate-v1"):
        refused = await house.chat(model=model)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "weights_not_in_place")
    listed = [one["id"] for one in (await house.http.get("/v1/models")).json()["data"]]
    assert listed == ["ruminate", "ruminate-v2"]
    folder = write_adapter(tmp_path / "step")
    step = await house.service.post("/internal/adapters", json={"name": "round-1-step-1", "path": str(folder)})
    wish = {"model": "ruminate-v0", "prompts": [[1, 2]], "max_tokens": 3}
    sample = await house.service.post("/internal/sample", json=wish)
    for answer in (step, sample):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "full_weights")
    assert (await house.http.post("/api/prune", json={"keep": 1})).json() == {"pruned": []}


async def test_the_trainer_s_full_weights_go_live_without_a_trial(engine: FakeEngine, tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], canary_share=0.2) as house:
        await house.until_ready()
        full = add_full(house.database, house.home)
        done = await house.service.post("/internal/deploy", json={"checkpoint": full, "expected_live": "v0"})
        assert done.json() == {"live": full, "previous": "v0"}
        status = (await house.http.get("/api/status")).json()
        assert (status["canary"], status["engines"][0]["weights"]) == (None, f"ruminate-{full}")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"12345"), "altered or cut off"),
        (lambda folder: (folder / "other.safetensors").write_bytes(b"12345"), "of which the manifest says nothing"),
        (lambda folder: (folder / "config.json").unlink(), "not readable"),
    ],
)
async def test_unfit_full_weights_never_reach_an_engine(house: Running, engine: FakeEngine, spoil, reason) -> None:  # type: ignore[no-untyped-def]
    full = add_full(house.database, house.home)
    spoil(house.home / "checkpoints" / full)
    status, body = await deploy(house, full)
    assert (status, body["error"]["code"]) == (422, "checkpoint_unfit")
    assert reason in body["error"]["message"]
    assert engine.pauses == 0
