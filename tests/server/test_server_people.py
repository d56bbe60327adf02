"""People and keys: what an administrator can do, what a user can do for themselves, and what is written down."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from db.queries import users
from db.schema import Conversation
from server.asking import SERVICE_ONLY

BODY = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}

pytestmark = pytest.mark.usefixtures("kind")  # on SQLite and on PostgreSQL


async def add_key(house: Running, name: str, role: str = "user", **wish: Any) -> tuple[str, dict[str, str]]:
    """A user with a key, made by the operator; the key's id and its header."""
    await house.service.post("/api/admin/users", json={"name": name, "role": role})
    made = await house.service.post(f"/api/admin/users/{name}/keys", json=wish)
    assert made.status_code == 201, made.text
    return made.json()["id"], {"Authorization": f"Bearer {made.json()['key']}"}


async def chats(house: Running, key: dict[str, str]) -> httpx.Response:
    return await house.http.post("/v1/chat/completions", json=BODY, headers=key)


@pytest.fixture
async def keyed(engine: FakeEngine, tmp_path: Path, store: str) -> Any:
    """A house where everybody needs a key, as with more than one user."""
    settings = {"loopback_without_key": False, "database_url": store}
    async with running_gateway(tmp_path / "home", [engine.url], **settings) as running:
        await running.until_ready()
        yield running


async def test_the_service_key_makes_the_first_administrator_who_makes_the_others(keyed: Running) -> None:
    _, root = await add_key(keyed, "root", "admin")
    added = await keyed.http.post("/api/admin/users", json={"name": "ann"}, headers=root)
    assert (added.status_code, added.json()["role"], added.json()["keys"]) == (201, "user", 0)
    again = await keyed.http.post("/api/admin/users", json={"name": "ann"}, headers=root)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "user_exists")
    made = await keyed.http.post("/api/admin/users/ann/keys", json={}, headers=root)
    assert (await chats(keyed, {"Authorization": f"Bearer {made.json()['key']}"})).status_code == 200
    listed = (await keyed.http.get("/api/admin/users", headers=root)).json()["data"]
    people = [(one["name"], one["role"], one["keys"]) for one in listed]
    assert people == [("admin", "admin", 1), ("root", "admin", 1), ("ann", "user", 1)]
    assert (await keyed.http.post("/api/admin/users/bob/keys", json={}, headers=root)).status_code == 404
    assert (await keyed.http.post("/api/admin/users", json={"name": "a b"}, headers=root)).status_code == 400


async def test_a_key_is_shown_once_and_never_again(keyed: Running) -> None:
    _, ann = await add_key(keyed, "ann")
    plaintext = ann["Authorization"].removeprefix("Bearer ")
    for path in ("/api/admin/keys", "/api/admin/users", "/api/admin/audit"):
        shown = (await keyed.service.get(path)).text
        assert plaintext not in shown
    (own,) = (await keyed.http.get("/api/me/keys", headers=ann)).json()["data"]
    assert plaintext.startswith(own["prefix"])
    assert plaintext not in str(own)


async def test_no_user_reaches_administration(keyed: Running) -> None:
    key_id, ann = await add_key(keyed, "ann")
    calls = [
        ("GET", "/api/admin/users"), ("POST", "/api/admin/users"), ("POST", "/api/admin/users/ann/disable"),
        ("GET", "/api/admin/keys"), ("POST", "/api/admin/users/ann/keys"), ("DELETE", f"/api/admin/keys/{key_id}"),
        ("GET", "/api/admin/audit"),
    ]  # fmt: skip
    for method, path in calls:
        assert (await keyed.http.request(method, path, json={"name": "eve"}, headers=ann)).status_code == 403, path
        assert (await keyed.http.request(method, path, json={"name": "eve"})).status_code == 401, path


async def test_a_revoked_key_and_a_disabled_user_are_out_at_once(keyed: Running) -> None:
    first, ann = await add_key(keyed, "ann")
    _, also = await add_key(keyed, "ann")
    _, root = await add_key(keyed, "root", "admin")
    assert (await chats(keyed, ann)).status_code == 200
    assert (await keyed.service.delete(f"/api/admin/keys/{first}")).status_code == 204
    assert (await chats(keyed, ann)).status_code == 401
    assert (await chats(keyed, also)).status_code == 200
    disabled = await keyed.http.post("/api/admin/users/ann/disable", headers=root)
    assert (disabled.json()["revoked"], disabled.json()["keys"]) == (1, 0)
    assert (await chats(keyed, also)).status_code == 401
    itself = await keyed.http.post("/api/admin/users/root/disable", headers=root)
    assert itself.status_code == 409
    _, new = await add_key(keyed, "ann")
    assert (await chats(keyed, new)).status_code == 200
    assert (await keyed.service.delete("/api/admin/keys/nothing")).status_code == 404


async def test_a_key_is_confined_to_its_scopes(keyed: Running) -> None:
    _, chat = await add_key(keyed, "ann", scopes=["chat"])
    _, app = await add_key(keyed, "ann", scopes=["app"])
    _, admin = await add_key(keyed, "root", "admin", scopes=["admin"])
    _, modest = await add_key(keyed, "root", scopes=["chat", "app"])
    assert (await chats(keyed, chat)).status_code == 200
    for refused in (
        await keyed.http.get("/api/me", headers=chat),
        await chats(keyed, app),
        await keyed.http.get("/v1/models", headers=app),
        await chats(keyed, admin),
    ):
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "missing_scope")
    assert (await keyed.http.get("/api/me", headers=app)).status_code == 200
    assert (await keyed.http.get("/api/admin/users", headers=admin)).status_code == 200
    assert (await keyed.http.get("/api/admin/users", headers=modest)).status_code == 403
    wrong = await keyed.service.post("/api/admin/users/ann/keys", json={"scopes": ["admin"]})
    assert wrong.status_code == 400


async def test_an_expired_key_opens_nothing(keyed: Running) -> None:
    soon = 0.5 / 86_400
    _, ann = await add_key(keyed, "ann", expires_in_days=soon)
    with keyed.database.reading() as session:
        (key,) = users.list_keys(session, users.find_user(session, "ann").id)
        expires = key.expires_at
    assert expires is not None
    while datetime.now(UTC) < expires:  # noqa: ASYNC110  a clock signals nothing
        await asyncio.sleep(0.05)
    assert (await chats(keyed, ann)).status_code == 401
    assert (await keyed.service.get("/api/admin/keys?user=ann")).json()["data"][0]["valid"] is False


async def test_a_user_sees_who_they_are_and_can_revoke_their_own_keys_only(keyed: Running) -> None:
    first, ann = await add_key(keyed, "ann", expires_in_days=30)
    second, _ = await add_key(keyed, "ann")
    bobs, bob = await add_key(keyed, "bob")
    me = (await keyed.http.get("/api/me", headers=ann)).json()
    assert (me["name"], me["role"], me["consent"]) == ("ann", "user", "train")
    assert (me["key"]["id"], me["key"]["valid"]) == (first, True)
    assert me["key"]["expires_at"]
    assert (await keyed.http.delete(f"/api/me/keys/{bobs}", headers=ann)).status_code == 404
    assert (await keyed.http.get("/api/me", headers=bob)).status_code == 200
    assert (await keyed.http.delete(f"/api/me/keys/{second}", headers=ann)).status_code == 204
    listed = (await keyed.http.get("/api/me/keys", headers=ann)).json()["data"]
    assert [(one["id"], one["valid"]) for one in listed] == [(first, True), (second, False)]


async def test_a_user_takes_everything_with_them_and_nothing_of_anybody_else(keyed: Running) -> None:
    _, ann = await add_key(keyed, "ann")
    _, bob = await add_key(keyed, "bob")
    for _ in range(3):
        conversation = (await chats(keyed, ann)).headers["x-ruminate-conversation"]
    await chats(keyed, bob)
    first = (await keyed.http.get("/api/me/data", params={"limit": 2}, headers=ann)).json()["data"]
    assert first[0]["id"] == conversation
    assert [message["role"] for message in first[0]["messages"]] == ["user", "assistant"]
    assert first[0]["messages"][1]["generation"]["reasoning"]
    more = {"limit": 2, "before": first[-1]["updated_at"]}
    refused = await keyed.http.get("/api/me/data", params=more, headers=ann)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "before_id")
    more |= {"before_id": first[-1]["id"]}
    second = (await keyed.http.get("/api/me/data", params=more, headers=ann)).json()["data"]
    assert len({one["id"] for one in first + second}) == len(first + second) == 3
    hers = {one["id"] for one in first + second}
    assert not hers & {one["id"] for one in (await keyed.http.get("/api/me/data", headers=bob)).json()["data"]}


async def test_conversations_of_the_same_time_are_listed_each_once_over_pages(house: Running) -> None:
    names = {(await house.chat(f"walrus {number}")).headers["x-ruminate-conversation"] for number in range(5)}
    with house.database.transaction() as session:
        session.execute(update(Conversation).values(updated_at=datetime(2026, 1, 1, tzinfo=UTC)))
    for path, more in (("/api/conversations", {}), ("/api/conversations", {"search": "walrus"}), ("/api/me/data", {})):
        listed: list[str] = []
        place: dict[str, str] = {}
        while page := (await house.http.get(path, params={"limit": 2} | more | place)).json()["data"]:
            listed += [one["id"] for one in page]
            place = {"before": page[-1]["updated_at"], "before_id": page[-1]["id"]}
        assert (len(listed), set(listed)) == (5, names), (path, more)


@pytest.mark.parametrize("name", ["operator", "Gateway", "trainer", "local"])
async def test_nobody_is_named_as_the_audit_names_the_house(keyed: Running, name: str) -> None:
    refused = await keyed.service.post("/api/admin/users", json={"name": name})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "user_reserved")


async def test_without_keys_the_local_user_is_shown_and_cannot_be_disabled(house: Running) -> None:
    me = (await house.http.get("/api/me")).json()
    assert (me["name"], me["role"], me["key"]) == ("local", "admin", None)
    assert (await house.http.post("/api/admin/users/local/disable")).status_code == 409


async def test_every_administrative_action_is_in_the_audit(house: Running) -> None:
    _, root = await add_key(house, "root", "admin")
    key_id, _ = await add_key(house, "ann")
    await house.http.patch(f"/api/admin/keys/{key_id}", json={"requests_per_minute": 7}, headers=root)
    await house.http.delete(f"/api/admin/keys/{key_id}", headers=root)
    await house.http.post("/api/admin/users/ann/disable", headers=root)
    number = (await house.http.post("/api/rounds", json={}, headers=root)).json()["id"]
    await house.http.post(f"/api/rounds/{number}/cancel", headers=root)
    await house.http.post("/api/deployments", json={"checkpoint": "v0"}, headers=root)
    await house.http.post("/api/forget", json={"user": "ann"}, headers=root)
    await house.http.delete("/api/rebuild", headers=root)
    noted = (await house.http.get("/api/admin/audit")).json()["data"]
    assert [(one["actor"], one["action"]) for one in reversed(noted)] == [
        ("operator", "user.add"), ("operator", "key.add"), ("operator", "user.add"), ("operator", "key.add"),
        ("root", "key.limit"), ("root", "key.revoke"), ("root", "user.disable"),
        ("root", "round.request"), ("root", "round.cancel"), ("root", "deploy"),
        ("root", "forget"), ("root", "rebuild.stop"),
    ]  # fmt: skip
    limited = next(one["detail"] for one in noted if one["action"] == "key.limit")
    assert (limited["key"], limited["limits"]) == (key_id, {"requests_per_minute": 7})
    assert noted[-1]["detail"]["name"] == "root"


@pytest.mark.parametrize("form", ["chat", "text"])
async def test_no_key_sets_what_only_the_house_may_set(house: Running, engine: FakeEngine, form: str) -> None:
    _, root = await add_key(house, "root", "admin")
    path = "/v1/chat/completions" if form == "chat" else "/v1/completions"
    for field in sorted(SERVICE_ONLY):
        body = BODY | {"prompt": "x", field: 1}
        refused = await house.http.post(path, json=body, headers=root)
        assert refused.status_code == 400, field
        error = refused.json()["error"]
        assert (error["param"], error["code"]) == (field, "unsupported_parameter")
        assert field in error["message"]
    assert engine.requests == []
