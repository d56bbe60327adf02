"""No route reads the body of somebody unknown, nor one without end, as ASGI shows; and slow reads don't pile up."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route
from support.fake_engine import FakeEngine
from support.gateways import SERVICE_KEY, Running, http_to, running_gateway
from support.waiting import until

from db.queries import conversations, users
from server import guarding

MOST, PIECE = 4096, 1024
ANTHROPIC = "/v1/messages"


def routes_of(house: Running) -> Iterator[tuple[str, str]]:
    """Method and path of every route that a body can be sent to."""
    app: Any = house.server.config.app
    for route in app.routes:
        if isinstance(route, (Route, APIRoute)):
            path = route.path.replace("{", "").replace("}", "")
            yield from ((method, path) for method in (route.methods or ()) if method not in ("GET", "HEAD", "OPTIONS"))


async def send(house: Running, method: str, path: str, key: str, told: bool) -> tuple[int, int]:
    """The answer's status and how many bytes were read of a body that never ends. `told`: its head says a length, one
    byte too long."""
    read, status = 0, 0
    headers = [(b"host", b"gateway"), (b"content-type", b"application/json")]
    headers.append((b"content-length", b"%d" % (MOST + 1)) if told else (b"transfer-encoding", b"chunked"))
    if key:
        headers.append((b"authorization", b"Bearer " + key.encode()))
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "path": path, "query_string": b"", "root_path": "",
        "scheme": "http", "headers": headers, "client": ("203.0.113.5", 5000), "server": ("gateway", 80),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += PIECE
        assert read <= 100 * MOST, f"{method} {path} reads on and on"
        return {"type": "http.request", "body": b"x" * PIECE, "more_body": True}

    async def note(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    app: Any = house.server.config.app
    await app(scope, receive, note)
    return status, read


@pytest.mark.parametrize("told", [True, False])
async def test_no_route_reads_a_body_without_a_key_nor_one_that_is_too_long(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(guarding, "INTERNAL_BYTES", MOST)
    keyed = {"loopback_without_key": False, "max_body_bytes": MOST, "default_consent": "none"}
    async with running_gateway(tmp_path / "home", [engine.url], **keyed) as house:
        with house.database.transaction() as session:
            user = users.ensure_user(session, "ann", "admin")
            key = users.create_key(session, user.id)[1]
        routes = set(routes_of(house))
        assert {("POST", ANTHROPIC), ("POST", "/api/comparisons"), ("POST", "/internal/sample")} <= routes
        assert len(routes) > 30
        for method, path in sorted(routes):
            assert await send(house, method, path, "", told) == (401, 0), (method, path)
            assert await send(house, method, path, "rk-unknown", told) == (401, 0), (method, path)
            internal = path.startswith("/internal/")
            if internal:
                assert await send(house, method, path, key, told) == (401, 0), (method, path)
            status, read = await send(house, method, path, SERVICE_KEY if internal else key, told)
            assert (status, read) == (413, 0 if told else MOST + PIECE), (method, path)


async def test_a_key_that_may_send_less_may_send_less_everywhere(tmp_path: Path, engine: FakeEngine) -> None:
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.service.post("/api/admin/users", json={"name": "ann"})
        made = await house.service.post("/api/admin/users/ann/keys", json={"max_body_bytes": 1024})
        asked = {"Authorization": f"Bearer {made.json()['key']}"}
        wish = {"left": "x" * 1024, "right": "b", "choice": "left"}
        answer = await house.http.post("/api/comparisons", json=wish, headers=asked)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        wish["left"] = "a"
        assert (await house.http.post("/api/comparisons", json=wish, headers=asked)).status_code == 404


@pytest.mark.parametrize("value", ['"\\ud83d"', "NaN", "Infinity"])
async def test_what_is_no_json_is_refused_before_it_could_be_kept_and_not_be_told_again(
    house: Running, value: str
) -> None:
    """Half of a character, as of an emoji that a program cut in two, and numbers that are none."""
    said = await house.chat()
    answer, conversation = (said.headers[f"x-ruminate-{name}"] for name in ("generation", "conversation"))
    opinion = f"/api/generations/{answer}/feedback"
    wishes = [
        (opinion, f'{{"rating": 1, "tags": [{value}]}}'),
        (opinion, f'{{"rating": 1, "shown": {{"how": {value}}}}}'),
        ("/api/rounds", f'{{"config": {{"learning_rate": {value}}}}}'),
        ("/api/admin/engines", f'{{"url": {value}}}'),
    ]
    for path, body in wishes:
        refused = await house.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert refused.status_code == 400, (path, body)
    for path in (f"/api/conversations/{conversation}", "/api/me/data", "/api/rounds"):
        assert (await house.http.get(path)).status_code == 200, path


async def test_slow_reads_of_the_app_are_bounded_and_keep_neither_chats_nor_metrics_waiting(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than there are threads, none of which comes to its end."""
    go_on = threading.Event()

    def slow(*_: Any) -> list[Any]:
        assert go_on.wait(60)
        return []

    async with running_gateway(tmp_path / "home", [engine.url], app_requests=50) as house:
        await house.until_ready()
        monkeypatch.setattr(conversations, "list_conversations", slow)
        try:
            reads = [asyncio.create_task(house.http.get("/api/conversations")) for _ in range(55)]
            await until(lambda: sum(read.done() for read in reads), "none was refused", lambda done: done >= 5)
            refused = [await read for read in reads if read.done()]
            assert {answer.status_code for answer in refused} == {503}
            assert refused[0].json()["error"]["code"] == "overloaded"
            assert int(refused[0].headers["retry-after"]) > 0
            async with http_to(house.url) as other:
                assert (await other.get("/metrics")).status_code == 200
                assert (await other.get("/health")).status_code == 200
            assert (await house.chat()).status_code == 200
            assert sum(read.done() for read in reads) == 5
        finally:
            go_on.set()
        assert sorted(answer.status_code for answer in await asyncio.gather(*reads)) == [200] * 50 + [503] * 5
        assert (await house.http.get("/api/conversations")).status_code == 200
