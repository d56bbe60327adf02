"""Keys, the keyless local admin, and that nobody reaches what is another's."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from db.queries import users
from server.auth import service_key


def make_user(house: Running, name: str, role: str = "user", consent: str = "train") -> tuple[str, dict[str, str]]:
    with house.database.transaction() as session:
        user = users.ensure_user(session, name, role, consent)
        _, plaintext = users.create_key(session, user.id)
        return user.id, {"Authorization": f"Bearer {plaintext}"}


async def test_a_key_opens_chat_and_a_wrong_or_revoked_one_does_not(tmp_path: Path, engine: FakeEngine) -> None:
    settings = {"loopback_without_key": False, "key_refresh_seconds": 0.0}
    async with running_gateway(tmp_path / "home", [engine.url], **settings) as house:
        await house.until_ready()
        _, key = make_user(house, "ann")
        body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
        path = "/v1/chat/completions"
        assert (await house.http.post(path, json=body, headers=key)).status_code == 200
        assert (
            await house.http.post(path, json=body, headers={"x-api-key": key["Authorization"][7:]})
        ).status_code == 200
        for wrong in ({}, {"Authorization": "Bearer rk-unknown"}, {"Authorization": "Basic abc"}):
            refused = await house.http.post(path, json=body, headers=wrong)
            assert refused.status_code == 401
            assert refused.json()["error"]["type"] == "authentication_error"
        with house.database.transaction() as session:
            user = users.ensure_user(session, "ann")
            users.revoke_key(session, users.list_keys(session, user.id)[0].id)
        assert (await house.http.post(path, json=body, headers=key)).status_code == 401


async def test_a_key_seen_before_works_while_the_database_is_down_and_a_new_one_is_told_why(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"loopback_without_key": False, "key_refresh_seconds": 0.0}
    async with running_gateway(tmp_path / "home", [engine.url], **settings) as house:
        await house.until_ready()
        _, known = make_user(house, "ann")
        _, new = make_user(house, "bob")
        body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
        assert (await house.http.post("/v1/chat/completions", json=body, headers=known)).status_code == 200
        house.database.close()
        path = house.home / "ruminate.db"
        kept = path.rename(path.with_suffix(".kept"))
        path.mkdir()
        assert (await house.http.post("/v1/chat/completions", json=body, headers=known)).status_code == 200
        refused = await house.http.post("/v1/chat/completions", json=body, headers=new)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
        house.database.close()
        path.rmdir()
        kept.rename(path)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
        {"X-Forwarded-For": "203.0.113.5"},
        {"X-Real-IP": "203.0.113.5"},
        {"X-Forwarded-Proto": "https"},
        {"Via": "1.1 proxy"},
    ],
)
async def test_without_a_key_only_this_machines_own_programs_are_let_in(house: Running, headers: dict) -> None:
    body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
    assert (await house.http.post("/v1/chat/completions", json=body, headers=headers)).status_code == 401
    assert (await house.http.get("/api/status", headers=headers)).status_code == 401


async def test_what_a_plain_nginx_passes_on_is_not_this_machines_own(house: Running) -> None:
    """It names itself as the host, sends no address of the client, and speaks HTTP/1.0."""
    port = int(house.url.rsplit(":", 1)[1])
    for version, status in ((b"1.0", b"401"), (b"1.1", b"200")):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/status HTTP/%s\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % (version, port))
        assert (await reader.readline()).split()[1] == status
        writer.close()


async def test_no_user_reaches_another_users_conversations_or_answers(house: Running) -> None:
    _, ann = make_user(house, "ann")
    _, bob = make_user(house, "bob")
    body = {"model": "ruminate", "messages": [{"role": "user", "content": "mine"}]}
    answer = await house.http.post("/v1/chat/completions", json=body, headers=ann)
    conversation, generation = answer.headers["x-ruminate-conversation"], answer.headers["x-ruminate-generation"]
    path = f"/api/conversations/{conversation}"
    assert (await house.http.get(path, headers=ann)).status_code == 200
    assert (await house.http.get(path, headers=bob)).status_code == 404
    assert (await house.http.patch(path, headers=bob, json={"title": "x"})).status_code == 404
    assert (await house.http.delete(path, headers=bob)).status_code == 404
    opinion = {"rating": 1}
    feedback = f"/api/generations/{generation}/feedback"
    assert (await house.http.post(feedback, headers=bob, json=opinion)).status_code == 404
    assert (await house.http.post(feedback, headers=ann, json=opinion)).status_code == 201
    assert (await house.http.delete(feedback, headers=bob)).status_code == 404
    assert (await house.http.get("/api/conversations", headers=bob)).json()["data"] == []
    into = body | {"ruminate": {"conversation_id": conversation}}
    assert (await house.http.post("/v1/chat/completions", json=into, headers=bob)).status_code == 404


async def test_only_administrators_change_the_house_and_only_the_service_key_opens_internal(house: Running) -> None:
    _, ann = make_user(house, "ann")
    for method, path in (("POST", "/api/rounds"), ("POST", "/api/deployments"), ("POST", "/api/rounds/1/cancel")):
        refused = await house.http.request(method, path, headers=ann, json={"checkpoint": "v0"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_only")
    for headers in ({}, ann, {"Authorization": "Bearer wrong"}):
        for path in ("/internal/sample", "/internal/adapters", "/internal/logprobs", "/internal/deploy"):
            assert (await house.http.post(path, headers=headers, json={})).status_code == 401


def test_a_service_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    made = service_key("", tmp_path)
    assert service_key("", tmp_path) == made
    assert (tmp_path / "service.key").stat().st_mode & 0o777 == 0o600
    assert service_key("given", tmp_path) == "given"


CONTROL = (
    *("/pause", "/resume", "/sleep", "/collective_rpc", "/reset_prefix_cache", "/v1/load_lora_adapter"),
    *("/v1/../collective_rpc", "/metrics/../pause", "/v1/chat/completions/../../v1/load_lora_adapter"),
)


async def test_the_names_of_an_engines_control_endpoints_lead_nowhere(house: Running, engine: FakeEngine) -> None:
    before = len(engine.requests)
    async with httpx.AsyncClient(base_url=house.url) as http:
        for path in CONTROL:
            assert (await http.post(path, json={})).status_code in (404, 405), path
    assert len(engine.requests) == before


async def test_a_house_with_keys_has_an_administrator_from_its_first_start(
    tmp_path: Path, engine: FakeEngine, kind: str, store: str
) -> None:
    home = tmp_path / "home"
    with_keys: dict[str, Any] = {"loopback_without_key": False, "database_url": store}
    async with running_gateway(home, [engine.url], database_url=store) as house:
        assert not (home / "admin.key").exists()  # `local` is administrator, without a key
    async with running_gateway(home, [engine.url], **with_keys) as house:
        path = home / "admin.key"
        assert path.stat().st_mode & 0o777 == 0o600
        key = path.read_text().strip()
        admin = {"Authorization": f"Bearer {key}"}
        assert (await house.http.get("/api/me", headers=admin)).json()["role"] == "admin"
        await house.http.post("/api/admin/users", json={"name": "ann", "role": "admin"}, headers=admin)
        noted = (await house.service.get("/api/admin/audit")).text
        assert "user.add" in noted
        assert key not in noted
        await house.service.post("/api/admin/users/admin/disable")
        path.unlink()
    async with running_gateway(home, [engine.url], **with_keys) as house:
        assert not path.exists()
        assert (await house.http.get("/api/me", headers=admin)).status_code == 401
