"""Which checkpoints keep their files, and that a pruning which dies half-way harms nothing and is finished later."""

import shutil
from pathlib import Path

import pytest
from support.adapters import add_candidates, add_checkpoint
from support.gateways import Running

from db.queries import checkpoints, rounds
from server import retention

pytestmark = pytest.mark.usefixtures("kind")  # on SQLite and on PostgreSQL


def publish(house: Running, count: int, state: str = "published") -> list[str]:
    names = add_candidates(house.database, house.home, count)
    with house.database.transaction() as session:
        for name in names:
            row = checkpoints.find_checkpoint(session, name)
            assert row is not None
            checkpoints.set_state(session, row.id, state)
    return names


def on_disk(house: Running) -> list[str]:
    return sorted(path.name for path in (house.home / "checkpoints").iterdir())


def with_path(house: Running) -> list[str]:
    with house.database.reading() as session:
        return [row.name for row in checkpoints.list_checkpoints(session) if row.path is not None]


async def prune(house: Running, keep: int) -> list[str]:
    answer = await house.http.post("/api/prune", json={"keep": keep})
    assert answer.status_code == 200, answer.text
    return answer.json()["pruned"]


async def deploy(house: Running, name: str) -> None:
    answer = await house.http.post("/api/deployments", json={"checkpoint": name, "reason": "a test"})
    assert answer.status_code == 200, answer.text


async def test_the_newest_and_what_is_in_use_keep_their_files(house: Running) -> None:
    names = publish(house, 8)  # v1 to v8
    await deploy(house, "v1")
    await deploy(house, "v2")  # live v2, previous v1
    assert (await house.chat(model="ruminate-v3")).status_code == 200  # a guest that somebody pinned
    with house.database.transaction() as session:
        round_id = rounds.request_round(session, "grpo", {}, "me").id
        rounds.claim_round(session, "trainer", 60)
        rounds.save_progress(session, round_id, "trainer", "train", 0, parent_id=4)
    candidate = add_checkpoint(house.database, house.home)  # v9, not judged yet
    assert await prune(house, keep=2) == ["v7", "v6", "v5"]
    noted = (await house.http.get("/api/admin/audit")).json()["data"][0]
    assert (noted["actor"], noted["action"]) == ("local", "prune")
    assert noted["detail"] == {"checkpoints": ["v7", "v6", "v5"]}
    assert on_disk(house) == ["v1", "v2", "v3", "v4", "v8", candidate] == with_path(house)
    with house.database.reading() as session:
        assert [row.state for row in checkpoints.list_checkpoints(session) if row.name in ("v5", "v8")] == [
            "retired", "published",
        ]  # fmt: skip
    assert await prune(house, keep=2) == []
    refused = await house.chat(model="ruminate-v5")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    answer = await house.http.post("/api/deployments", json={"checkpoint": "v5", "reason": "a test"})
    assert (answer.status_code, "pruned" in answer.json()["error"]["message"]) == (422, True)
    assert names[4] == "v5"


async def test_rejected_rounds_push_out_nothing_that_can_be_made_live(house: Running) -> None:
    publish(house, 3)  # v1 to v3
    publish(house, 4, "rejected")  # v4 to v7
    assert await prune(house, keep=2) == ["v5", "v4", "v1"]
    assert with_path(house) == ["v2", "v3", "v6", "v7"]
    await deploy(house, "v2")


async def test_a_pruning_that_dies_between_row_and_files_is_finished_by_the_next(
    house: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(house, 4)

    assert retention._release(house.gateway, 1, set()) == ["v3", "v2", "v1"]  # and here the process is killed
    assert (on_disk(house), with_path(house)) == (["v1", "v2", "v3", "v4"], ["v4"])
    assert (await house.chat()).status_code == 200
    removed = shutil.rmtree
    deaths = []

    def dies_in_the_middle(folder: Path) -> None:
        if not deaths:
            deaths.append(folder)
            (folder / "adapter_model.safetensors").unlink()
            raise OSError("the machine went down")
        removed(folder)

    monkeypatch.setattr(retention.shutil, "rmtree", dies_in_the_middle)
    assert (await house.http.post("/api/prune", json={"keep": 1})).status_code == 500
    assert {name for name in on_disk(house) if not name.startswith(".")} == {"v4"}
    assert await prune(house, keep=1) == []
    assert on_disk(house) == ["v4"]


async def test_the_files_of_a_failed_rounds_checkpoint_go_and_those_being_written_stay(house: Running) -> None:
    with house.database.transaction() as session:
        failed, writing = (checkpoints.reserve_checkpoint(session, 0) for _ in range(2))
        checkpoints.set_state(session, failed.id, "rejected")
    for row in (failed, writing):
        (house.home / "checkpoints" / row.name).mkdir(parents=True)
    (house.home / "checkpoints" / ".v3.aside").mkdir()
    await prune(house, keep=1)
    assert on_disk(house) == [".v3.aside", writing.name]


async def test_files_outside_of_the_home_are_never_touched(house: Running, tmp_path: Path) -> None:
    publish(house, 2)
    elsewhere = tmp_path / "elsewhere" / "v1"
    shutil.move(house.home / "checkpoints" / "v1", elsewhere)
    with house.database.transaction() as session:
        checkpoints.complete_checkpoint(session, 1, str(elsewhere), {})
    assert await prune(house, keep=1) == ["v1"]
    assert (elsewhere / "adapter_model.safetensors").is_file()


async def test_the_trainer_may_prune_and_users_may_not(house: Running) -> None:
    publish(house, 3)
    assert (await house.http.post("/internal/prune", json={"keep": 1})).status_code == 401
    assert (await house.service.post("/internal/prune", json={"keep": 2})).json() == {"pruned": ["v1"]}
    assert (await house.http.post("/api/prune", json={"keep": 0})).status_code == 400
