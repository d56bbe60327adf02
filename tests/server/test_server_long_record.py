"""What a gateway asks of a long record: few statements, nothing twice, and never at the cost of those who wait."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from sqlalchemy import event, update
from sqlalchemy.orm import Session
from support.gateways import Running
from support.records import a_turn, its_end, said, settle
from support.statements import selected
from support.waiting import until

from db.queries import checkpoints, deployments, forget, turns, users
from db.schema import Checkpoint
from db.session import Database
from server import prompt_counts
from server.catalog import Catalog
from server.prompt_counts import PromptCounts

PEOPLES = ("conversations", "messages", "generations", "feedback", "comparisons", "regressions", "users", "api_keys")
"""What is read of these tables is read for a request, and not by what goes on beside it."""


@pytest.fixture
def kind() -> str:
    return "sqlite"


def record(database: Database, user_id: str, *words: str) -> None:
    turn = a_turn(user_id, said(*words))
    with database.transaction() as session:
        turns.record_turn(session, turn, its_end(turn))


async def test_a_long_record_is_counted_beside_those_who_ask(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_counts, "SHORT", 2)
    monkeypatch.setattr(prompt_counts, "SHARE", 1e9)  # it may be counted again at once
    with database.transaction() as session:
        ann = settle(session)
    counts = PromptCounts(database)
    for number in range(3):
        assert counts.get() == (number, number)  # a short one is counted each time
        record(database, ann, f"Number {number}")
    assert counts.get() == (2, 2)  # what was known, while it is counted again

    await until(counts.get, "it was not counted again", (3, 3))


async def test_the_first_count_is_made_before_anybody_asks(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_counts, "SHORT", 0)
    with database.transaction() as session:
        ann = settle(session)
    record(database, ann, "Hi")
    counts = PromptCounts(database)
    counts.begin()
    await until(lambda: counts._found, "it was not counted", (1, 1))
    with selected(database) as statements:
        assert counts.get() == (1, 1)
    assert statements == []


async def test_a_count_that_fails_is_tried_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_counts, "SHORT", 0)
    monkeypatch.setattr(prompt_counts, "SHARE", 1e9)
    with database.transaction() as session:
        ann = settle(session)
    counts = PromptCounts(database)
    assert counts.get() == (0, 0)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE messages RENAME TO away")
    assert counts.get() == (0, 0)
    await asyncio.sleep(0.05)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO messages")
    record(database, ann, "Hi")

    await until(counts.get, "it was not counted again", (1, 1))


async def test_the_catalog_reads_again_only_manifests_that_can_change(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[set[int]] = []
    whole = checkpoints.manifests

    def noted(session: Session, ids: Collection[int]) -> dict[int, dict[str, Any]]:
        read.append(set(ids))
        return whole(session, ids)

    monkeypatch.setattr(checkpoints, "manifests", noted)
    with database.transaction() as session:
        settle(session)
        for number in range(1, 4):
            row = checkpoints.reserve_checkpoint(session, number - 1)
            checkpoints.complete_checkpoint(session, row.id, f"/files/{row.name}", {"told": number})
            checkpoints.set_state(session, row.id, "candidate" if number == 3 else "published")
        deployments.propose(session, 1, "ann", "", None)
    catalog = Catalog(database)
    for _ in range(2):
        await catalog.refresh()
        known = [catalog.known(f"v{number}") for number in range(4)]
        assert [one and one.manifest for one in known] == [{}, {"told": 1}, {"told": 2}, {"told": 3}]
    assert read == [{0, 1, 2, 3}, {0, 1, 3}]  # of the others the base, what is deployed, and a candidate
    with database.transaction() as session:  # written anew, and settled, between two looks
        session.execute(update(Checkpoint).where(Checkpoint.id == 3).values(manifest={"told": "anew"}, state="retired"))
    await catalog.refresh()
    candidate = catalog.known("v3")
    assert candidate is not None
    assert candidate.manifest == {"told": "anew"}


async def test_many_conversations_and_people_take_as_many_statements_as_one(house: Running) -> None:
    async def asked(path: str, **params: Any) -> int:
        with selected(house.database) as statements:
            answer = await house.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return len([one for one in statements if any(f"FROM {table}" in one for table in PEOPLES)])

    for number in range(4):
        await house.chat(f"number {number}")
        with house.database.transaction() as session:
            user = users.ensure_user(session, f"person{number}")
            users.create_key(session, user.id)
    few = await asked("/api/me/data", limit=1)
    assert await asked("/api/me/data", limit=4) <= few
    for path in ("/api/admin/users", "/api/admin/keys"):
        assert await asked(path) <= 3, path


async def test_a_long_export_misses_nothing_that_is_gone_on_with_meanwhile(house: Running) -> None:
    for number in range(3):
        await house.chat(f"number {number}", ruminate={"conversation_id": f"talk-{number}"})
    first = (await house.http.get("/api/me/data", params={"limit": 1})).json()["data"]
    for number in range(3):
        await house.chat(f"more of {number}", ruminate={"conversation_id": f"talk-{number}"})
    more = {"before": first[0]["updated_at"], "before_id": first[0]["id"]}
    rest = (await house.http.get("/api/me/data", params=more)).json()["data"]
    assert {one["id"] for one in first + rest} == {"talk-0", "talk-1", "talk-2"}


async def test_somebody_is_forgotten_in_transactions_that_others_get_between(
    house: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget, "SOME", 1)
    for number in range(3):
        await house.chat(f"number {number}")
    commits: list[object] = []
    event.listen(house.database.engine, "commit", noted := commits.append)
    deleted = (await house.http.delete("/api/me/data")).json()["deleted"]
    event.remove(house.database.engine, "commit", noted)
    assert (deleted["conversations"], deleted["messages"], deleted["generations"]) == (3, 6, 3)
    assert len(commits) >= 5
    assert (await house.http.get("/api/me/data")).json()["data"] == []


async def test_checkpoints_are_listed_with_manifests_or_without(house: Running) -> None:
    with house.database.transaction() as session:
        row = checkpoints.reserve_checkpoint(session, 0)
        checkpoints.complete_checkpoint(session, row.id, "/files/v1", {"told": 1})
    for wish, told in (({}, {"told": 1}), ({"manifests": False}, None)):
        with selected(house.database) as statements:
            answer = await house.http.get("/api/checkpoints", params=wish)
        newest, base = answer.json()["data"]
        assert (newest["name"], newest["manifest"], newest["parent"]) == ("v1", told, base["name"])
    assert [one for one in statements if "checkpoints.path" in one and "checkpoints.manifest" not in one]
