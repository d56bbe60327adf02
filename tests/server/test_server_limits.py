"""Limits by key: what is refused and how a client is told, and that losing Redis refuses nobody."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from limits import RateLimitItemPerMinute
from limits.aio.strategies import FixedWindowRateLimiter
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.waiting import until

from cli.profiles import TINY
from db.queries import users
from server import minutes
from server.errors import ApiError
from server.limiting import Caps, Limiter
from server.settings import ServerSettings


@asynccontextmanager
async def limited(tmp_path: Path, engine: FakeEngine, **caps: Any) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path / "home", [engine.url], **caps) as house:
        await house.until_ready()
        yield house


def key_of(house: Running, name: str) -> dict[str, str]:
    with house.database.transaction() as session:
        user = users.ensure_user(session, name)
        return {"Authorization": f"Bearer {users.create_key(session, user.id)[1]}"}


def refused(answer: httpx.Response, code: str) -> None:
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", code)
    assert 1 <= int(answer.headers["retry-after"]) <= 60


async def test_a_key_that_asked_too_often_is_told_when_to_come_back_and_another_key_is_not(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with limited(tmp_path, engine, requests_per_minute=2) as house:
        first = await house.chat()
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert (await house.chat(stream=True)).headers["x-ratelimit-remaining-requests"] == "0"
        third = await house.chat()
        refused(third, "rate_limit_exceeded")
        assert third.headers["x-ratelimit-remaining-requests"] == "0"
        assert len(engine.requests) == 2
        body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
        other = await house.http.post("/v1/chat/completions", json=body, headers=key_of(house, "ann"))
        assert other.status_code == 200


async def test_a_prompt_that_is_too_long_is_refused_before_it_is_answered(tmp_path: Path, engine: FakeEngine) -> None:
    async with limited(tmp_path, engine, max_prompt_tokens=100) as house:
        long = " ".join(["word"] * 101)
        assert (await house.chat("short")).status_code == 200
        assert [path for path, _ in engine.requests] == ["/v1/chat/completions"]  # surely short: not counted
        assert (await house.chat(" ".join(["word"] * 100))).status_code == 200
        engine.requests.clear()
        asks: list[tuple[str, dict[str, Any]]] = [
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": long}]}),
            ("/v1/completions", {"prompt": ["short", long]}),
            ("/v1/completions", {"prompt": [7] * 101}),
            ("/v1/responses", {"input": long}),
            ("/v1/messages", {"messages": [{"role": "user", "content": long}], "max_tokens": 5}),
        ]
        for path, body in asks:
            refused = await house.http.post(path, json={"model": "ruminate", **body})
            assert refused.status_code == 400, path
            said = refused.json()["error"]["message"]
            assert said == "the prompt has 101 tokens, its history included; at most 100 are taken here"
        assert {path for path, _ in engine.requests} == {"/tokenize"}
        assert not house.gateway.pool.chats


async def test_a_prompt_that_is_neither_text_nor_ids_is_refused_where_prompts_are_counted(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with limited(tmp_path, engine, max_prompt_tokens=100) as house:
        messages = [{"role": "user", "content": " ".join(["word"] * 100)}]
        for prompt in (5, True, ["a", None], [1, "a"], [[1], [True]], [{"messages": messages, "chat_template": "x"}]):
            refused = await house.http.post("/v1/completions", json={"model": "ruminate", "prompt": prompt})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt"), prompt
        assert engine.requests == []
        for prompt in ("a", ["a", "b"], [1, 2], [[1, 2], [3]]):
            answer = await house.http.post("/v1/completions", json={"model": "ruminate", "prompt": prompt})
            assert answer.status_code == 200, prompt


async def test_a_keys_own_limits_go_before_the_houses(
    tmp_path: Path, engine: FakeEngine, kind: str, store: str
) -> None:
    caps = {"requests_per_minute": 1, "key_refresh_seconds": 60.0}
    async with limited(tmp_path, engine, database_url=store, **caps) as house:
        body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
        await house.service.post("/api/admin/users", json={"name": "ann"})

        async def key_with(**limits: int | None) -> tuple[str, dict[str, str]]:
            made = await house.service.post("/api/admin/users/ann/keys", json=limits)
            assert made.status_code == 201, made.text
            expected = dict.fromkeys(users.LIMITS) | limits
            assert made.json()["limits"] == expected
            return made.json()["id"], {"Authorization": f"Bearer {made.json()['key']}"}

        async def ask(key: dict[str, str]) -> httpx.Response:
            return await house.http.post("/v1/chat/completions", json=body, headers=key)

        plain, few = await key_with(), await key_with(requests_per_minute=2)
        free, dear = await key_with(requests_per_minute=0), await key_with(requests_per_minute=0, tokens_per_minute=1)
        assert [(await ask(plain[1])).status_code for _ in range(2)] == [200, 429]
        assert [(await ask(few[1])).status_code for _ in range(3)] == [200, 200, 429]
        assert [(await ask(free[1])).status_code for _ in range(3)] == [200, 200, 200]
        assert "x-ratelimit-limit-requests" not in (await ask(free[1])).headers
        assert [(await ask(dear[1])).status_code for _ in range(2)] == [200, 429]
        changed = await house.service.patch(f"/api/admin/keys/{free[0]}", json={"concurrent_answers": 1})
        own = {"requests_per_minute": 0, "concurrent_answers": 1}
        assert changed.json()["limits"] == dict.fromkeys(users.LIMITS) | own
        engine.first_delay = 0.3
        at_once = await asyncio.gather(ask(free[1]), ask(free[1]))
        assert sorted(answer.status_code for answer in at_once) == [200, 429]
        wrong = await house.service.patch(f"/api/admin/keys/{free[0]}", json={"concurrent_answers": -1})
        assert wrong.status_code == 400
        assert (await house.service.patch("/api/admin/keys/none", json={})).status_code == 404
        assert (await house.http.get("/api/me", headers=few[1])).json()["key"]["limits"]["requests_per_minute"] == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_count_once_an_answer_has_ended(tmp_path: Path, engine: FakeEngine, stream: bool) -> None:
    async with limited(tmp_path, engine, tokens_per_minute=20) as house:  # an answer is 16 tokens with its prompt
        assert (await house.chat(stream=stream)).headers["x-ratelimit-remaining-tokens"] == "20"
        assert (await house.chat(stream=stream)).headers["x-ratelimit-remaining-tokens"] == "4"
        refused(await house.chat(stream=stream), "rate_limit_exceeded")


async def test_answers_at_once_are_capped_and_a_place_is_free_again_when_one_ends(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.first_delay = 0.5
    async with limited(tmp_path, engine, concurrent_answers=2) as house:
        running = [asyncio.create_task(house.chat(stream=True)) for _ in range(2)]
        await until(lambda: (house.gateway.pool.chats, len(engine.requests)), "two are not answered at once", (2, 2))
        refused(await house.chat(), "too_many_answers")
        assert [answer.status_code for answer in await asyncio.gather(*running)] == [200, 200]
        assert (await house.chat()).status_code == 200


async def test_too_many_choices_are_refused_by_name(tmp_path: Path, engine: FakeEngine) -> None:
    async with limited(tmp_path, engine, max_choices=2) as house:
        assert (await house.chat(n=2)).status_code == 200
        many = await house.chat(n=3)
        assert (many.status_code, many.json()["error"]["param"]) == (400, "n")
        texts = {"model": "ruminate", "prompt": ["a", "b", "c"]}
        assert (await house.http.post("/v1/completions", json=texts)).status_code == 400


async def test_losing_redis_refuses_nobody_and_is_said_in_the_health(tmp_path: Path, engine: FakeEngine) -> None:
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        async with limited(tmp_path, engine, requests_per_minute=1, tokens_per_minute=1, redis_url=url) as house:
            for _ in range(3):
                assert (await house.chat()).status_code == 200
            health = await house.http.get("/health")
            assert (health.status_code, health.json()["status"]) == (200, "ok")
            assert "Redis" in health.json()["trouble"]


async def test_limits_hold_again_once_counting_works() -> None:
    limiter = Limiter(Caps(requests=1))
    limiter._down(OSError("gone"))
    for _ in range(2):
        async with limiter.admit("key", 1):
            assert limiter.trouble
    limiter._down_until = 0.0
    async with limiter.admit("key", 1):
        assert limiter.trouble is None
    with pytest.raises(ApiError):
        async with limiter.admit("key", 1):
            pass


async def test_counts_of_one_gateway_end_with_their_window_and_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = 1000.0, 5000.0  # of the clock that nobody sets, and of the one that somebody may
    monkeypatch.setattr(minutes, "time", SimpleNamespace(monotonic=lambda: now, time=lambda: said))
    counted = minutes.Minutes()
    strategy, limit = FixedWindowRateLimiter(counted), RateLimitItemPerMinute(3)
    assert [await strategy.hit(limit, "ann") for _ in range(4)] == [True, True, True, False]
    assert await strategy.hit(limit, "ben")
    assert not await strategy.test(limit, "ann")
    stats = await strategy.get_window_stats(limit, "ben")
    assert (stats.remaining, stats.reset_time) == (2, 5060.0)
    now, said = 1060.0, 0.0
    assert await strategy.test(limit, "ann")
    assert (await strategy.get_window_stats(limit, "ann")).remaining == 3
    assert await strategy.hit(limit, "ann")
    for number in range(10 * minutes.TIDY_ABOVE):
        now += 1.0
        await strategy.hit(limit, str(number))
    assert await counted.reset() < 2 * minutes.TIDY_ABOVE


FORMS: dict[str, Any] = {
    "/v1/chat/completions": lambda words: {"messages": [{"role": "user", "content": words}]},
    "/v1/completions": lambda words: {"prompt": words},
    "/v1/responses": lambda words: {"input": words},
    "/v1/messages": lambda words: {"max_tokens": 9, "messages": [{"role": "user", "content": words}]},
}


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_body_may_be_as_large_as_the_house_says_and_no_larger_in_each_form(
    tmp_path: Path, engine: FakeEngine, in_pieces: bool
) -> None:
    """In pieces its length is not known before its end."""
    most = 2048
    async with limited(tmp_path, engine, max_body_bytes=most) as house:
        for path, form in FORMS.items():
            rest = len(json.dumps({"model": "ruminate", **form("")}))
            for size in (most, most + 1):
                raw = json.dumps({"model": "ruminate", **form("x" * (size - rest))}).encode()
                assert len(raw) == size
                pieces = _pieces(raw) if in_pieces else raw
                asked = len(engine.requests)
                answer = await house.http.post(path, content=pieces, headers={"Content-Type": "application/json"})
                if size == most:
                    assert (answer.status_code, len(engine.requests)) == (200, asked + 1), (path, answer.text)
                    continue
                assert (answer.status_code, len(engine.requests)) == (413, asked), (path, answer.text)
                error = answer.json()["error"]
                assert f"larger than {most} bytes" in error["message"]
                told = error["type"] if path == "/v1/messages" else error["code"]
                assert told == ("request_too_large" if path == "/v1/messages" else "body_too_large")


async def test_a_key_may_send_less_than_the_house_takes_and_never_more(tmp_path: Path, engine: FakeEngine) -> None:
    async with limited(tmp_path, engine, max_prompt_tokens=100, max_body_bytes=4096) as house:
        await house.service.post("/api/admin/users", json={"name": "ann"})

        async def key_with(**limits: int) -> dict[str, str]:
            made = await house.service.post("/api/admin/users/ann/keys", json=limits)
            assert made.json()["limits"] == dict.fromkeys(users.LIMITS) | limits
            return {"Authorization": f"Bearer {made.json()['key']}"}

        async def told(key: dict[str, str], path: str, words: str) -> tuple[int, str]:
            body = {"model": "ruminate", **FORMS[path](words)}
            answer = await house.http.post(path, json=body, headers=key)
            return answer.status_code, "" if answer.status_code == 200 else answer.json()["error"]["message"]

        def words(count: int) -> str:
            return " ".join(["word"] * count)

        for limits, most_tokens, most_bytes in (
            ({}, 100, 4096),
            ({"max_prompt_tokens": 10, "max_body_bytes": 1024}, 10, 1024),
            ({"max_prompt_tokens": 1000, "max_body_bytes": 100_000}, 100, 4096),
        ):
            key = await key_with(**limits)
            for path in FORMS:
                assert await told(key, path, words(most_tokens)) == (200, ""), (limits, path)
                status, said = await told(key, path, words(most_tokens + 1))
                assert (status, f"at most {most_tokens} are taken here" in said) == (400, True), (limits, path, said)
                status, said = await told(key, path, "x" * most_bytes)
                assert (status, f"larger than {most_bytes} bytes" in said) == (413, True), (limits, path, said)
            counted = await house.http.post("/tokenize", json={"prompt": "x" * most_bytes}, headers=key)
            assert counted.status_code == 413
        for wrong in ({"max_prompt_tokens": 0}, {"max_body_bytes": 1023}, {"max_body_bytes": 2**31}):
            assert (await house.service.post("/api/admin/users/ann/keys", json=wrong)).status_code == 400


async def _pieces(raw: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(raw), 1000):
        yield raw[begin : begin + 1000]


def test_limits_are_on_by_default_and_off_in_the_tiny_profile() -> None:
    names = ("requests_per_minute", "tokens_per_minute", "concurrent_answers", "max_choices")
    assert all(getattr(ServerSettings(), name) > 0 for name in names)
    tiny = ServerSettings(**{name: TINY.server[name.upper()] for name in names})
    assert not any(getattr(tiny, name) for name in names)
