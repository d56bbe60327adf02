"""Users and keys from the command line, against a real gateway that asks everybody for a key."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.commands import ruminate
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from cli.settings import HouseSettings, admin_key, own_key


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Running]:
    engine = FakeEngine()
    await engine.start()
    async with running_gateway(tmp_path / "home", [engine.url], loopback_without_key=False) as running:
        await running.until_ready()
        yield running
    await engine.stop()


async def test_a_user_is_added_gets_a_key_and_is_disabled(house: Running) -> None:
    added = await ruminate(house, "users", "add", "ann", "--consent", "history")
    assert (added.returncode, added.stdout.strip()) == (0, "ann is a user with consent history")
    made = await ruminate(house, "keys", "add", "ann", "--scope", "chat", "--days", "30")
    key = made.stdout.strip()
    assert key.startswith("rk-")
    assert "for chat, valid until 20" in made.stderr
    body = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {key}"}
    assert (await house.http.post("/v1/chat/completions", json=body, headers=headers)).status_code == 200
    listed = await ruminate(house, "keys", "list", "--user", "ann", "--json")
    assert key not in listed.stdout
    (row,) = json.loads(listed.stdout)
    assert (row["scopes"], row["valid"]) == (["chat"], True)
    assert "ann" in (await ruminate(house, "users", "list")).stdout
    limited = await ruminate(house, "keys", "limit", row["id"], "--requests", "5", "--answers", "0")
    assert limited.stdout.strip() == f"key {row['id']}: requests_per_minute 5, concurrent_answers without limit"
    sized = await ruminate(house, "keys", "limit", row["id"], "--prompt-tokens", "9", "--body-bytes", "2048", "--json")
    own = {"requests_per_minute": 5, "concurrent_answers": 0, "max_prompt_tokens": 9, "max_body_bytes": 2048}
    assert json.loads(sized.stdout)["limits"] == {"tokens_per_minute": None} | own
    back = await ruminate(house, "keys", "limit", row["id"], "--as-the-house")
    assert back.stdout.strip() == f"key {row['id']}: the limits of the house"
    disabled = await ruminate(house, "users", "disable", "ann")
    assert "1 keys were revoked" in disabled.stdout
    assert (await house.http.post("/v1/chat/completions", json=body, headers=headers)).status_code == 401


async def test_the_first_administrators_key_opens_the_other_commands_on_its_machine(house: Running) -> None:
    run = house.home / "run"
    run.mkdir()
    (run / "house.json").write_text(json.dumps({"gateway": house.url}))
    env = {"RUMINATE_GATEWAY": "", "RUMINATE_HOME": str(house.home)}
    done = await ruminate(house, "rounds", "--json", **env)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    (house.home / "admin.key").unlink()
    refused = await ruminate(house, "rounds", "--json", **env)
    assert (refused.returncode, "no API key was given" in refused.stderr) == (1, True)


async def test_one_key_is_revoked_by_its_id(house: Running) -> None:
    await ruminate(house, "users", "add", "root", "--admin")
    made = json.loads((await ruminate(house, "keys", "add", "root", "--json")).stdout)
    by_root = await ruminate(house, "users", "list", "--json", RUMINATE_API_KEY=made["key"])
    assert [user["name"] for user in json.loads(by_root.stdout)] == ["admin", "root"]
    assert (await ruminate(house, "keys", "revoke", made["id"])).returncode == 0
    assert "revoked" in (await ruminate(house, "keys", "list")).stdout
    refused = await ruminate(house, "users", "list", RUMINATE_API_KEY=made["key"])
    assert refused.returncode == 1
    assert "unknown, expired or revoked" in refused.stderr


async def test_what_the_gateway_refuses_is_one_sentence_and_exit_code_1(house: Running) -> None:
    done = await ruminate(house, "keys", "add", "nobody")
    assert done.returncode == 1
    assert done.stderr.strip() == "ruminate: there is no user 'nobody' that this key may see"


def test_the_key_of_this_house_is_sent_to_no_other_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUMINATE_API_KEY", "RUMINATE_SERVICE_KEY", "RUMINATE_GATEWAY"):
        monkeypatch.delenv(name, raising=False)
    settings = HouseSettings(home=tmp_path)
    assert (admin_key(settings), own_key(settings)) == (None, None)
    (tmp_path / "service.key").write_text("sk-house\n")
    (tmp_path / "admin.key").write_text("rk-first\n")
    assert (admin_key(settings), own_key(settings)) == ("sk-house", "rk-first")
    monkeypatch.setenv("RUMINATE_GATEWAY", "https://elsewhere.example")
    assert (admin_key(settings), own_key(settings)) == (None, None)
    monkeypatch.setenv("RUMINATE_API_KEY", "rk-mine")
    assert (admin_key(settings), own_key(settings)) == ("rk-mine", "rk-mine")
