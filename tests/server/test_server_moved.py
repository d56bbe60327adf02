"""A home that lies elsewhere than before is served from there; what is not the row's own is not taken for it."""

import json
from pathlib import Path

import pytest
from support.adapters import add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import running_gateway

from db.queries import checkpoints
from db.session import Database
from server.moved import follow


def path_of(database: Database, name: str) -> str | None:
    with database.reading() as session:
        row = checkpoints.find_checkpoint(session, name)
        assert row is not None
        return row.path


async def test_a_home_that_was_moved_goes_on_with_what_was_live(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    engine = FakeEngine()
    await engine.start()
    async with running_gateway(old, [engine.url], database_url=f"sqlite:///{old / 'ruminate.db'}") as house:
        await house.until_ready()
        name = add_checkpoint(house.database, house.home)
        answer = await house.http.post("/api/deployments", json={"checkpoint": name, "reason": "a test"})
        assert answer.status_code == 200, answer.text
    await engine.stop()
    old.rename(new)
    engine = FakeEngine()
    await engine.start()
    async with running_gateway(new, [engine.url], database_url=f"sqlite:///{new / 'ruminate.db'}") as house:
        await house.until_ready(20)
        assert house.live == name
        assert (await house.chat()).json()["model"] == f"ruminate-{name}"
        assert path_of(house.database, name) == str(new / "checkpoints" / name)
    await engine.stop()


@pytest.mark.parametrize("why", ["it is there", "another's"])
async def test_a_row_stays_as_it_is_where(why: str, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ruminate.db'}")
    database.migrate()
    with database.transaction() as session:
        checkpoints.ensure_base(session, "base", {})
    name = add_checkpoint(database, tmp_path / "one")
    there = tmp_path / "one" / "checkpoints" / name
    here = tmp_path / "two" / "checkpoints" / name
    here.mkdir(parents=True)
    manifest = json.loads((there / "manifest.json").read_text())
    if why == "another's":
        there.rename(tmp_path / "gone")
        manifest["files"] = dict.fromkeys(manifest["files"], "0" * 64)
    (here / "manifest.json").write_text(json.dumps(manifest))
    assert follow(database, tmp_path / "two") == []
    assert path_of(database, name) == str(there)
    database.close()
