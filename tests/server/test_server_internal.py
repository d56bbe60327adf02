"""The trainer's API: exact tokens, a cap that yields to people, adapters of a round that survive restarts."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import func, select
from support.adapters import add_candidates, write_adapter
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.waiting import until

from cli.profiles import PROFILES
from db.queries import checkpoints
from db.schema import Generation
from server.wanting import MAX_ADAPTERS


async def load(house: Running, folder: Path, name: str) -> int:
    answer = await house.service.post("/internal/adapters", json={"name": name, "path": str(folder)})
    return answer.status_code


async def test_samples_are_by_temperature_alone_with_the_lowest_priority_and_never_recorded(
    house: Running, engine: FakeEngine
) -> None:
    wish = {"model": "ruminate-v0", "prompts": [[1, 2], [3]], "n": 3, "max_tokens": 5, "temperature": 0.7, "seed": 9}
    answer = await house.service.post("/internal/sample", json=wish)
    samples = answer.json()["samples"]
    assert [(one["prompt"], one["sample"]) for one in samples] == [(p, s) for p in range(2) for s in range(3)]
    assert samples[1] == {"prompt": 0, "sample": 1, "token_ids": [5, 6, 7], "logprobs": [-1.0] * 3,
                          "finish_reason": "stop"}  # fmt: skip
    sent = [body for path, body in engine.requests if path == "/v1/completions"]
    assert [body["prompt"] for body in sent] == [[1, 2]] * 3 + [[3]] * 3
    assert all((b["top_p"], b["top_k"], b["min_p"], b["temperature"]) == (1.0, 0, 0.0, 0.7) for b in sent)
    assert all(body["priority"] > 0 for body in sent)
    # vLLM's own seeds for three samples of a request with the seed 9, and for those of the next prompt
    assert [body["seed"] for body in sent] == [9, 10, 11, 1_000_012, 1_000_013, 1_000_014]
    assert "stop" not in sent[0]
    with house.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Generation)) == 0


async def test_a_stream_has_each_sample_when_it_has_ended(tmp_path: Path, engine: FakeEngine) -> None:
    caps = {"rollout_sequences": 1, "rollout_sequences_while_chatting": 1}
    async with running_gateway(tmp_path / "home", [engine.url], **caps) as house:
        await house.until_ready()
        engine.first_delay = 0.1
        wish = {"model": "ruminate-v0", "prompts": [[1, 2], [3]], "n": 4, "max_tokens": 5, "stop": ["</x>"]}
        whole = (await house.service.post("/internal/sample", json=wish)).json()["samples"]
        before, lines = sum(engine.served.values()), []
        async with house.service.stream("POST", "/internal/sample", json=wish | {"stream": True}) as answer:
            assert answer.headers["content-type"] == "application/x-ndjson"
            async for line in answer.aiter_lines():
                lines.append(json.loads(line))
                if len(lines) == 1:
                    assert sum(engine.served.values()) - before < 8, "the first line came with the last sample"
        assert sorted(lines, key=lambda one: (one["prompt"], one["sample"])) == whole
        assert all(body["stop"] == ["</x>"] for path, body in engine.requests if path == "/v1/completions")
        assert house.gateway.rollouts.running == 0


async def test_a_stream_is_refused_with_its_status_and_broken_with_a_last_line(
    house: Running, engine: FakeEngine
) -> None:
    wish = {"model": "nobody", "prompts": [[1, 2]], "n": 4, "max_tokens": 5, "stream": True}
    assert (await house.service.post("/internal/sample", json=wish)).status_code == 404
    engine.garbles = b"[]"
    wish |= {"model": "ruminate-v0"}
    assert (await house.service.post("/internal/sample", json=wish)).status_code == 502
    engine.garbles = None
    engine.first_delay = 0.05
    lines = []
    async with house.service.stream("POST", "/internal/sample", json=wish | {"n": 200}) as answer:
        async for line in answer.aiter_lines():
            lines.append(json.loads(line))
            engine.garbles = b"[]"
    assert lines[0]["token_ids"] == [5, 6, 7]
    assert lines[-1]["status"] == 502
    assert "is not what vLLM answers" in lines[-1]["error"]["message"]
    assert house.gateway.rollouts.running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_sample_that_a_stopping_engine_breaks_off_is_none_and_is_to_be_asked_for_again(
    house: Running, engine: FakeEngine, stream: bool
) -> None:
    wish = {"model": "ruminate-v0", "prompts": [[1, 2]], "n": 1, "max_tokens": 5, "stream": stream}
    engine.aborts = 1
    answer = await house.service.post("/internal/sample", json=wish)
    assert answer.status_code == 503, answer.text
    assert "broke a sample off" in answer.json()["error"]["message"]
    assert (await house.service.post("/internal/sample", json=wish)).status_code == 200


async def test_the_engines_log_probabilities_are_those_of_the_completion_tokens(house: Running) -> None:
    sequences = [{"prompt_ids": [1, 2, 3], "completion_ids": [4, 5]}, {"prompt_ids": [1], "completion_ids": [2, 3, 4]}]
    answer = await house.service.post("/internal/logprobs", json={"model": "ruminate-v0", "sequences": sequences})
    assert answer.json() == {"logprobs": [[-1.0, -1.0], [-1.0, -1.0, -1.0]]}


async def test_rollouts_are_capped_and_more_so_while_people_chat(tmp_path: Path, engine: FakeEngine) -> None:
    caps = {"rollout_sequences": 8, "rollout_sequences_while_chatting": 2}
    async with running_gateway(tmp_path / "home", [engine.url], **caps) as house:
        await house.until_ready()
        engine.first_delay = 0.05
        wish = {"model": "ruminate-v0", "prompts": [[1, 2]] * 16, "n": 2, "max_tokens": 5}
        assert (await house.service.post("/internal/sample", json=wish)).status_code == 200
        assert engine.most_running == 8
        engine.most_running, engine.delay = 0, 0.2
        chat = asyncio.create_task(house.chat(stream=True))
        await asyncio.sleep(0.2)
        status = (await house.http.get("/api/status")).json()["rollouts"]
        assert (status["limit"], "people" in status["reason"]) == (2, True)
        assert (await house.service.post("/internal/sample", json=wish | {"prompts": [[1, 2]] * 3})).status_code == 200
        assert engine.most_running <= 2 + 1, "two rollouts beside one chat"
        await chat


async def test_adapters_of_a_round_come_and_go_and_their_names_are_never_reused(
    house: Running, engine: FakeEngine, tmp_path: Path
) -> None:
    folders = [write_adapter(tmp_path / str(step)) for step in range(5)]
    for step, folder in enumerate(folders):
        assert await load(house, folder, f"round-1-step-{step}") == 200
    assert await load(house, folders[4], "round-1-step-4") == 200
    assert await load(house, folders[3], "round-1-step-4") == 409
    assert await load(house, folders[3], "ruminate-v7") == 400
    assert await load(house, tmp_path / "nowhere", "round-1-step-9") == 422
    wish = {"model": "round-1-step-4", "prompts": [[1]], "max_tokens": 1}
    assert (await house.service.post("/internal/sample", json=wish)).status_code == 200
    assert (await house.service.delete("/internal/adapters/round-1-step-4")).status_code == 204
    assert set(engine.adapters) == {"round-1-step-3"}
    assert (await house.service.delete("/internal/adapters/round-1-step-4")).status_code == 404
    assert (await house.service.post("/internal/sample", json=wish)).status_code == 404


async def test_who_takes_an_adapter_back_may_delete_its_files_then(
    house: Running, engine: FakeEngine, tmp_path: Path
) -> None:
    """The engine takes its time to forget it, and a sample is still being written by it."""
    assert await load(house, write_adapter(tmp_path / "step"), "round-1-step-1") == 200
    engine.first_delay = engine.unload_delay = 0.5
    wish = {"model": "round-1-step-1", "prompts": [[1]], "max_tokens": 1}
    sampling = asyncio.create_task(house.service.post("/internal/sample", json=wish))
    await until(lambda: engine.running, "the sample was not asked for")
    assert (await house.service.delete("/internal/adapters/round-1-step-1")).status_code == 204
    assert engine.adapters == {}
    assert sampling.done()
    assert (await sampling).status_code == 200


async def test_an_adapter_that_an_engine_does_not_let_go_is_told_and_may_be_taken_back_again(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], load_seconds=0.5) as house:
        await house.until_ready()
        assert await load(house, write_adapter(tmp_path / "step"), "round-1-step-1") == 200
        engine.unload_delay = 30.0
        refused = await house.service.delete("/internal/adapters/round-1-step-1")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_unavailable")
        assert f"{engine.url} still has round-1-step-1" in refused.json()["error"]["message"]
        engine.unload_delay = 0.0

        async def again() -> int:
            return (await house.service.delete("/internal/adapters/round-1-step-1")).status_code

        await until(again, "the engine does not let it go", lambda status: status in (204, 404))
        assert engine.adapters == {}


async def test_a_round_goes_on_after_the_engine_or_the_gateway_restarted(tmp_path: Path, engine: FakeEngine) -> None:
    folder = write_adapter(tmp_path / "step")
    wish = {"model": "round-1-step-1", "prompts": [[1]], "max_tokens": 1}
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        assert await load(house, folder, "round-1-step-1") == 200
        await engine.stop()
        asked = asyncio.create_task(house.service.post("/internal/sample", json=wish))
        await asyncio.sleep(0.2)
        await engine.start()
        assert (await asked).status_code in (200, 503)  # 503 asks the trainer to try again
        await house.until_ready()
        await asyncio.sleep(0.2)
        assert (await house.service.post("/internal/sample", json=wish)).status_code == 200
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        assert (await house.service.post("/internal/sample", json=wish)).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_work_for_a_trainer_that_went_away_is_stopped(house: Running, engine: FakeEngine, stream: bool) -> None:
    engine.first_delay = 30.0
    wish = {"model": "ruminate-v0", "prompts": [[1, 2]], "n": 1, "max_tokens": 5, "stream": stream}
    asked = asyncio.create_task(house.service.post("/internal/sample", json=wish))
    await until(lambda: house.gateway.rollouts.running, "the sample was not asked for", 1)
    asked.cancel()
    await until(lambda: house.gateway.rollouts.running, "the work goes on", 0)


async def test_a_step_whose_files_are_gone_is_let_go(house: Running, engine: FakeEngine, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "step")
    wish = {"name": "round-1-step-1", "path": str(folder)}
    assert (await house.service.post("/internal/adapters", json=wish)).status_code == 200
    shutil.rmtree(folder)
    await until(lambda: engine.adapters, "the step was not unloaded", {})
    assert house.gateway.catalog.wishes == ()


async def test_an_engine_is_never_asked_to_hold_more_adapters_than_it_was_started_for(
    tmp_path: Path, engine: FakeEngine
) -> None:
    """Live, previous, canary, candidate, two of a round and one guest; what is wished beside these waits."""
    assert {profile.engine.max_cpu_loras for profile in PROFILES.values()} == {MAX_ADAPTERS}
    async with running_gateway(tmp_path / "home", [engine.url], judge_seconds=3600.0) as house:
        await house.until_ready()
        names = add_candidates(house.database, tmp_path, 6)
        for name in names[:2]:
            wish = {"checkpoint": name}
            assert (await house.http.post("/api/deployments", json=wish)).status_code == 200
        on_trial = {"checkpoint": names[2], "canary_share": 0.1}
        assert (await house.http.post("/api/deployments", json=on_trial)).status_code == 200
        with house.database.transaction() as session:
            checkpoints.set_state(session, 4, "published")
        await house.gateway.catalog.refresh()
        assert (await house.chat(model="ruminate-v4")).status_code == 200  # a guest
        for step in range(3):
            folder = write_adapter(tmp_path / f"step-{step}")
            assert await load(house, folder, f"round-1-step-{step}") == 200
        wanting = house.gateway.swap._wanting
        five, six = (house.gateway.catalog.known(name) for name in names[4:])
        async with wanting.candidate(five):
            held = [adapter.name for adapter in house.gateway.swap.wanted()]
            assert len(held) == MAX_ADAPTERS
            assert set(held) == {
                "ruminate-v2", "ruminate-v1", "ruminate-v3", "ruminate-v5",
                "round-1-step-1", "round-1-step-2", "ruminate-v4",
            }  # fmt: skip
            async with wanting.candidate(six):  # another gateway deploys at the same time
                held = [adapter.name for adapter in house.gateway.swap.wanted()]
                assert len(held) == MAX_ADAPTERS
                assert held[3:5] == ["ruminate-v5", "ruminate-v6"]
