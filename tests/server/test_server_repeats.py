"""Requests sent again under one Idempotency-Key: one turn, and the same answer where there is one to give."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running
from support.waiting import until

from db.queries import users
from db.schema import Generation
from server.repeats import Repeats

pytestmark = pytest.mark.usefixtures("kind")  # on SQLite and on PostgreSQL


async def ask(
    house: Running, key: str = "k1", text: str = "hello", patience: float = 60, **body: Any
) -> httpx.Response:
    headers = {"Idempotency-Key": key} | body.pop("headers", {})
    wish = {"model": "ruminate", "messages": [{"role": "user", "content": text}]} | body
    return await house.http.post("/v1/chat/completions", json=wish, headers=headers, timeout=patience)


def turns(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation)))


def asked(engine: FakeEngine) -> int:
    return sum(path == "/v1/chat/completions" for path, _ in engine.requests)


def conflict(answer: httpx.Response, code: str) -> None:
    assert answer.status_code == 409, answer.text
    assert answer.json()["error"]["code"] == f"idempotency_{code}"


async def test_a_repeat_after_the_end_gets_the_stored_answer_and_makes_no_second_turn(
    house: Running, engine: FakeEngine
) -> None:
    first, again = await ask(house), await ask(house)
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    for name in ("x-request-id", "x-ruminate-generation", "x-ruminate-checkpoint", "x-ruminate-conversation"):
        assert again.headers[name] == first.headers[name]
    for name in ("model", "usage", "object"):
        assert again.json()[name] == first.json()[name]
    assert again.json()["choices"] == first.json()["choices"]
    assert (asked(engine), len(turns(house))) == (1, 1)
    hidden = await ask(house, include_reasoning=False)
    conflict(hidden, "key_reused")


async def test_a_repeat_while_the_first_runs_waits_for_the_same_answer(house: Running, engine: FakeEngine) -> None:
    engine.first_delay = 0.3
    answers = await asyncio.gather(*(ask(house) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-ruminate-generation"] for answer in answers}) == 1
    assert len({json.dumps(answer.json()["choices"], sort_keys=True) for answer in answers}) == 1
    assert (asked(engine), len(turns(house))) == (1, 1)


async def test_a_client_that_lost_its_connection_finds_the_answer_when_it_comes_back(
    house: Running, engine: FakeEngine
) -> None:
    engine.first_delay = 0.5
    with pytest.raises(httpx.ReadTimeout):
        await ask(house, patience=0.2)
    again = await ask(house)
    assert again.json()["choices"][0]["message"]["content"] == engine.text("ruminate-v0")[1]
    assert asked(engine) == 1
    assert [turn.ending for turn in turns(house)] == ["complete"]


async def test_a_repeat_says_at_which_text_the_answer_stopped(house: Running, engine: FakeEngine) -> None:
    engine.finish = ("stop", "END")
    first, again = [await ask(house, stop=["END"]) for _ in range(2)]
    assert again.json()["choices"] == first.json()["choices"]
    wish = {
        "model": "ruminate",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": "hello"}],
        "stop_sequences": ["END"],
    }
    for _ in range(2):
        answer = (await house.http.post("/v1/messages", json=wish, headers={"Idempotency-Key": "m1"})).json()
        assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")
    assert asked(engine) == 2


async def test_keys_of_different_users_never_meet(house: Running, engine: FakeEngine) -> None:
    with house.database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train")
        _, key = users.create_key(session, user.id)
    await ask(house)
    hers = await ask(house, headers={"Authorization": f"Bearer {key}"})
    assert hers.status_code == 200
    assert "idempotent-replayed" not in hers.headers
    assert asked(engine) == len(turns(house)) == 2


async def test_a_stream_is_one_turn_and_its_repeat_is_told_where_the_answer_is(
    house: Running, engine: FakeEngine
) -> None:
    engine.first_delay = 0.3
    first = asyncio.create_task(ask(house, stream=True))
    await until(lambda: asked(engine), "the engine was not asked")
    conflict(await ask(house, stream=True), "in_progress")
    assert (await first).status_code == 200
    after = await ask(house, stream=True)
    conflict(after, "not_replayable")
    assert after.json()["error"]["generation_id"] == (await first).headers["x-ruminate-generation"]
    assert (asked(engine), len(turns(house))) == (1, 1)


async def test_a_repeat_that_comes_while_the_key_is_let_go_is_told_where_the_answer_is(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = house.gateway.holding
    let_go = holding.let_go

    async def slowly(name: str, late: bool) -> None:
        await asyncio.sleep(0.5)
        await let_go(name, late)

    monkeypatch.setattr(holding, "let_go", slowly)
    assert (await ask(house, stream=True)).status_code == 200
    conflict(await ask(house, stream=True), "not_replayable")
    assert asked(engine) == 1


async def test_what_the_record_does_not_hold_is_not_replayed(house: Running, engine: FakeEngine) -> None:
    for key, more, code in (
        ("several", {"n": 2}, "not_replayable"),
        ("tools", {"tools": [{"type": "function"}]}, "not_replayable"),
        ("logprobs", {"logprobs": True}, "not_replayable"),
        ("secret", {"store": False}, "not_kept"),
    ):
        assert (await ask(house, key, **more)).status_code == 200
        before = len(turns(house))
        conflict(await ask(house, key, **more), code)
        assert len(turns(house)) == before
    assert asked(engine) == 4


async def test_a_key_belongs_to_one_request(house: Running, engine: FakeEngine) -> None:
    await ask(house)
    conflict(await ask(house, text="something else"), "key_reused")
    assert (await ask(house, "k2", "something else")).status_code == 200
    assert (await ask(house, "x" * 256)).status_code == 400
    assert asked(engine) == 2


async def test_a_request_that_was_refused_leaves_its_key_free(house: Running, engine: FakeEngine) -> None:
    assert (await ask(house, max_tokens=100_000)).status_code == 400
    assert (await ask(house)).status_code == 200
    assert len(turns(house)) == 1


async def test_a_stream_that_was_broken_off_is_not_given_as_an_answer(house: Running, engine: FakeEngine) -> None:
    engine.die_after = 3
    broken = await ask(house, stream=True)
    assert "engine_lost" in broken.text
    engine.die_after = None
    conflict(await ask(house, stream=True), "broken_off")
    assert len(turns(house)) == 1


async def test_a_turn_that_waits_in_the_spool_is_not_made_twice(house: Running, engine: FakeEngine) -> None:
    house.gateway.recorder._down_until = float("inf")  # as if the database took nothing
    assert (await ask(house)).status_code == 200
    conflict(await ask(house), "pending")
    house.gateway.recorder._down_until = 0.0
    await until(lambda: turns(house), "the turn was not recorded")
    assert (await ask(house)).headers["idempotent-replayed"] == "true"
    assert (asked(engine), len(turns(house))) == (1, 1)


async def test_a_client_that_left_before_anything_was_asked_has_its_key_free_also_while_turns_wait(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Repeats._look

    def slowly(*given: Any) -> Any:
        time.sleep(1.0)
        return look(*given)

    house.gateway.recorder._kept_out = "turns go to the spool"  # as of a database that is slow
    with monkeypatch.context() as patched:
        patched.setattr(Repeats, "_look", slowly)
        with pytest.raises(httpx.ReadTimeout):
            await ask(house, patience=0.3, stream=True)
        await until(lambda: house.gateway.pool.chats, "the chat still counts", 0)
    assert (await ask(house, stream=True)).status_code == 200
    assert asked(engine) == 1


async def test_deleted_words_are_not_replayed(house: Running, tmp_path: Path) -> None:
    await ask(house)
    await house.http.delete("/api/me/data")
    again = await ask(house)
    assert "idempotent-replayed" not in again.headers
