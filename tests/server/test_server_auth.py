"""Keys, the keyless local admin, and that nobody reaches what is another's."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway, two_gateways
from support.stores import alone

from db.errors import DatabaseUnavailable
from db.queries import users
from db.queries.common import utcnow
from db.schema import Generation
from db.session import Database
from server import auth
from server.auth import Door, Identity, service_key
from server.errors import ApiError
from server.feed import Feed, Feeds


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


@alone
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


class Cut:
    """Lookups that can be cut off from the database, which goes on for everybody else."""

    def __init__(self) -> None:
        self.off = False
        self.meanwhile: Callable[[], None] = lambda: None  # what happens while one is waited for

    async def ask(self, question: Callable[..., Any], *args: Any) -> Any:
        if self.off:
            self.meanwhile()
            raise DatabaseUnavailable("sqlite://", "it is cut off", "Wait.")
        return question(*args)


class Doorstep:
    """Somebody with a key before a door that keeps keys for ten minutes, trusts them for an hour, and has a clock."""

    def __init__(self, database: Database, patch: pytest.MonkeyPatch, expires_in: float | None = None) -> None:
        self.now, self.lookups, self.database = 0.0, Cut(), database
        patch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: self.now))
        began = utcnow()
        patch.setattr(auth, "utcnow", lambda: began + timedelta(seconds=self.now))
        expires_at = None if expires_in is None else began + timedelta(seconds=expires_in)
        with database.transaction() as session:
            self.user_id = users.ensure_user(session, "ann").id
            made, self._key = users.create_key(session, self.user_id, expires_at=expires_at)
            self._key_id = made.id
        self.door = Door(database, self.lookups, "sk", None, keep=600.0, trust=3600.0, refresh=5.0)  # type: ignore[arg-type]

    async def knock(self, now: float) -> int:
        """The status of a request at this time."""
        self.now = now
        try:
            found = await self.door.identify({b"x-api-key": self._key.encode()}, "203.0.113.5")
        except ApiError as error:
            return error.status
        assert found.user_id == self.user_id
        return 200

    def revoke(self) -> None:
        """Through another gateway."""
        with self.database.transaction() as session:
            users.revoke_key(session, self._key_id)


@pytest.mark.parametrize("headers", [{b"host": b"["}, {b"host": b"127.0.0.1", b"origin": b"http://["}])
async def test_what_names_no_host_is_not_taken_for_a_program_of_this_machine(headers: dict[bytes, bytes]) -> None:
    local, nowhere = Identity("1", auth.LOCAL, "admin", "train"), Cut()
    door = Door(None, nowhere, "sk", local, keep=600.0, trust=3600.0, refresh=60.0)  # type: ignore[arg-type]
    assert await door.identify({b"host": b"127.0.0.1:8000"}, "127.0.0.1") == local
    with pytest.raises(ApiError) as refused:
        await door.identify(headers, "127.0.0.1")
    assert refused.value.status == 401


async def test_while_the_database_is_down_a_key_works_until_it_was_not_used_for_ten_minutes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Doorstep(database, monkeypatch)
    assert await ann.knock(0) == 200
    ann.lookups.off = True
    assert [await ann.knock(now) for now in (599, 1198, 1797)] == [200, 200, 200]
    assert [await ann.knock(now) for now in (2398, 2399)] == [503, 503]  # being refused is no use of it
    ann.lookups.off = False
    assert await ann.knock(2400) == 200


async def test_a_request_that_was_answered_from_memory_is_a_use_of_its_key(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Doorstep(database, monkeypatch)
    assert [await ann.knock(now) for now in (0, 4)] == [200, 200]
    ann.lookups.off = True
    assert await ann.knock(603) == 200


async def test_while_the_database_is_down_no_key_works_for_longer_than_an_hour_and_a_revoked_one_no_longer_than_that(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Doorstep(database, monkeypatch)
    assert await ann.knock(0) == 200
    ann.lookups.off = True
    ann.revoke()
    assert {await ann.knock(now) for now in range(300, 3600, 300)} == {200}
    assert [await ann.knock(now) for now in (3601, 3602)] == [503, 503]
    ann.lookups.off = False
    assert await ann.knock(3603) == 401
    ann.lookups.off = True
    assert await ann.knock(3604) == 503  # nothing is remembered of it


async def test_a_key_that_expires_while_the_database_is_down_opens_nothing_from_then_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Doorstep(database, monkeypatch, expires_in=100)
    assert await ann.knock(0) == 200
    ann.lookups.off = True
    assert [await ann.knock(now) for now in (99, 100)] == [200, 401]


async def test_a_key_that_is_forgotten_while_it_is_looked_up_in_vain_opens_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Doorstep(database, monkeypatch)
    assert await ann.knock(0) == 200
    ann.lookups.off, ann.lookups.meanwhile = True, lambda: ann.door.forget(ann.user_id)
    assert await ann.knock(10) == 503


async def test_a_key_that_is_revoked_while_it_is_looked_up_is_not_remembered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Doorstep(database, monkeypatch)

    async def ask(question: Callable[..., Any], *args: Any) -> Any:
        found = question(*args)
        ann.revoke()
        ann.door.forget(ann.user_id)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ann.lookups, "ask", ask)
        assert await ann.knock(0) == 200  # it was valid when it was looked up
    assert await ann.knock(1) == 401


class Busy:
    """Stands for what a user's name is compared with; whenever it is, the loop adds something to `to`."""

    def __init__(self, to: dict[str, Any]) -> None:
        self._to = to

    def __eq__(self, _: object) -> bool:
        self._to[f"new-{len(self._to)}"] = next(iter(self._to.values()))
        return True

    __hash__ = None  # type: ignore[assignment]


async def test_a_user_can_be_forgotten_while_others_come_in(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done on a thread, and the loop waits for nobody."""
    ann = Doorstep(database, monkeypatch)
    assert await ann.knock(0) == 200
    ann.revoke()
    ann.door.forget(Busy(ann.door._seen))  # type: ignore[arg-type]
    assert await ann.knock(1) == 401
    feeds = Feeds(lambda turn: None, lambda turn, feed: None, lambda turn: None)
    held: Any = feeds._feeds
    held["one"] = held["two"] = (SimpleNamespace(user_id="ann"), Feed())
    feeds.erase(lambda turn: Busy(held) == turn.user_id)
    assert feeds.get("one") is feeds.get("two") is None


async def test_what_the_keyless_user_allows_is_known_at_the_other_gateway_soon(
    tmp_path: Path, database_url: str, engine: FakeEngine
) -> None:
    async with two_gateways(tmp_path, [engine.url], database_url=database_url, key_refresh_seconds=0.1) as (one, two):
        assert (await two.chat("kept")).status_code == 200
        assert (await one.http.put("/api/me/consent", json={"consent": "none"})).status_code == 200
        await asyncio.sleep(0.2)
        answer = await two.chat("not kept")
        assert "x-ruminate-conversation" not in answer.headers
        with two.database.reading() as session:
            turns = session.scalars(select(Generation).order_by(Generation.started_at))
            assert [turn.consent for turn in turns] == ["history", "none"]  # the first was to be trained on before


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
    assert [one.name for one in tmp_path.iterdir()] == ["service.key"]


def test_a_service_key_that_a_full_disk_left_empty_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "service.key").touch()
    made = service_key("", tmp_path)
    assert made.startswith("sk-")
    assert service_key("", tmp_path) == made


def test_a_service_key_is_made_where_the_file_system_has_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    made = service_key("", tmp_path)
    assert service_key("", tmp_path) == made != ""


def test_gateways_that_start_together_have_one_service_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: service_key("", tmp_path), range(8)))) == 1


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
