"""Every response names its request, and the log has a line for each that names it too, without what was said."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running

from db.queries import users
from db.schema import Generation
from server.logs import ForPeople, ForPrograms

CHAT = {"model": "ruminate", "messages": [{"role": "user", "content": "a secret"}]}
MESSAGES = CHAT | {"max_tokens": 64}


@contextmanager
def logged(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    """What the gateway logs meanwhile, as `formatter` writes it."""
    stream = io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger("server")
    handler.setFormatter(formatter)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_every_response_carries_its_requests_name(house: Running) -> None:
    asked = [
        ("POST", "/v1/chat/completions", CHAT, 200),
        ("POST", "/v1/chat/completions", CHAT | {"stream": True}, 200),
        ("POST", "/v1/chat/completions", CHAT | {"n": "2"}, 400),
        ("POST", "/v1/messages", MESSAGES, 200),
        ("POST", "/v1/messages", {"model": "ruminate"}, 400),
        ("POST", "/v1/responses", {"model": "ruminate", "input": "hello"}, 200),
        ("GET", "/v1/models", None, 200),
        ("GET", "/api/conversations", None, 200),
        ("GET", "/api/conversations/nobody", None, 404),
        ("GET", "/nowhere", None, 404),
        ("GET", "/internal/guests", None, 401),
        ("GET", "/health", None, 200),
    ]
    for method, path, body, status in asked:
        own = await house.http.request(method, path, json=body)
        assert own.headers.get_list("x-request-id")[1:] == [], path
        assert len(own.headers["x-request-id"]) == 36, path
        given = await house.http.request(method, path, json=body, headers={"X-Request-Id": "client-7.a"})
        assert given.headers.get_list("x-request-id") == ["client-7.a"], path
        if path == "/v1/messages":
            assert given.headers["request-id"] == "client-7.a"
        if path != "/internal/guests":
            assert given.status_code == status, (path, given.text)
    for bad in ("x" * 65, "two words", "<script>", "ä".encode(), ""):
        answer = await house.http.get("/health", headers={"X-Request-Id": bad})
        assert len(answer.headers["x-request-id"]) == 36


async def test_a_defect_names_its_request_too(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("server.api.conversations.conversations.list_conversations", fails)
    with logged(ForPrograms()) as stream:
        answer = await house.http.get("/api/conversations", headers={"X-Request-Id": "broken"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "broken")
    found = [line for line in lines(stream) if line.get("error")]
    assert found[0]["request_id"] == "broken"
    assert "on purpose" in found[0]["error"]


async def test_the_name_is_the_records_unless_the_client_gave_one(house: Running) -> None:
    own = await house.http.post("/v1/chat/completions", json=CHAT)
    for _ in range(2):
        same = await house.http.post("/v1/chat/completions", json=CHAT, headers={"X-Request-Id": "mine"})
        assert same.headers["x-request-id"] == "mine"
    with house.database.reading() as session:
        ids = session.scalars(select(Generation.request_id).order_by(Generation.started_at)).all()
    assert ids[0] == own.headers["x-request-id"]
    assert len(set(ids)) == 3
    assert "mine" not in ids


async def test_a_line_for_each_request_says_what_is_needed_and_no_words(house: Running, engine: FakeEngine) -> None:
    with house.database.transaction() as session:
        key, plaintext = users.create_key(session, users.ensure_user(session, "ann").id)
    ann = {"Authorization": f"Bearer {plaintext}", "X-Request-Id": "first"}
    with logged(ForPrograms()) as stream:
        answer = await house.http.post("/v1/chat/completions", json=CHAT | {"stream": True}, headers=ann)
        await house.http.post("/v1/chat/completions", json=CHAT | {"model": "gpt-4"}, headers=ann)
        await house.http.get("/api/conversations?search=a+secret%0A", headers=ann)
        await house.service.get("/api/admin/users")
        await house.http.get("/health")
    chat, unknown, listing, admin = [line for line in lines(stream) if line["logger"] == "server.access"]
    assert {name: chat[name] for name in ("level", "request_id", "method", "path", "status", "key", "model")} == {
        "level": "info", "request_id": "first", "method": "POST", "path": "/v1/chat/completions", "status": 200,
        "key": key.id, "model": "ruminate-v0",
    }  # fmt: skip
    assert chat["generation"] == answer.headers["x-ruminate-generation"]
    assert chat["seconds"] >= 0
    assert (unknown["status"], unknown["model"], unknown["generation"]) == (404, "gpt-4", None)
    assert (listing["path"], listing["key"], listing["model"]) == ("/api/conversations", key.id, None)
    assert (admin["key"], admin["user"]) == ("service", None)
    assert "secret" not in stream.getvalue()
    assert plaintext not in stream.getvalue()


async def test_lines_for_people_end_with_the_requests_name(house: Running, engine: FakeEngine) -> None:
    with logged(ForPeople()) as stream:
        await house.http.post("/v1/chat/completions", json=CHAT, headers={"X-Request-Id": "one"})
        engine.fail_next = 1
        await house.http.post("/v1/chat/completions", json=CHAT, headers={"X-Request-Id": "two"})
        await house.http.get("/a%0Ab")
    said = stream.getvalue().splitlines()
    assert any("INFO server.access: POST /v1/chat/completions 200 in" in line for line in said)
    assert any(line.endswith("request=one]") and "model='ruminate-v0'" in line for line in said)
    assert any("the request is sent again [request=two]" in line for line in said)
    assert any("GET /a%0Ab 404" in line for line in said), "a path can't begin a line of its own"
