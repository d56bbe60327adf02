"""Retention times: what is too old goes as if its user had asked for it, by the gateway that holds the lease alone."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.records import a_turn, its_end, said

from db.queries import audit, curation, feedback, rounds, turns, users
from db.queries import expiry as old_rows
from db.schema import Base, Conversation, Generation, Message, RoundPrompt
from db.session import Database
from db.values import CuratedPrompt
from server import expiry as retention
from server.expiry import Expiry
from server.settings import ServerSettings
from server.spool import Spool
from server.spool_lines import ASIDE

NOW = datetime.now(UTC)
SECRET = "xylophone"


def record(database: Database, conversation: str, days: float, words: str = SECRET, consent: str = "train") -> str:
    """A turn of so many days ago. Gives the id of the user."""
    begun = NOW - timedelta(days=days)
    with database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train").id
        turn = a_turn(user, said(words), conversation_id=conversation, started_at=begun, consent=consent)
        turns.record_turn(session, turn, its_end(turn, ended_at=begun + timedelta(seconds=1)))
        if consent != "none":
            feedback.give_feedback(session, turn.generation_id, user, 1, [], words)
    return user


def learn(database: Database, user: str, conversation: str) -> None:
    """Round 1 trained on what was asked in it."""
    with database.transaction() as session:
        asked = session.scalars(
            select(Message.id).where(Message.conversation_id == conversation, Message.role == "user")
        ).first()
        round_id = rounds.request_round(session, "grpo", {}, "schedule").id
        rounds.claim_round(session, "trainer", 60)
        prompt = CuratedPrompt(0, "recorded", "train", "kept", "", said(SECRET), asked, conversation, user)
        curation.save_prompts(session, round_id, "trainer", [prompt])


def words_left(database: Database) -> dict[str, int]:
    with database.reading() as session:
        found = {
            table.name: sum(SECRET in repr(tuple(row)) for row in session.execute(select(table)))
            for table in Base.metadata.sorted_tables
        }
    return {table: count for table, count in found.items() if count}


async def test_conversations_go_so_many_days_after_their_last_turn(tmp_path: Path, engine: FakeEngine) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], history_days=30.0) as house:
        await house.until_ready()
        user = record(house.database, "old", 31)
        for number in range(250):
            record(house.database, f"old {number}", 40, consent="none" if number % 2 else "history")
        record(house.database, "long", 31, "it began long ago")
        record(house.database, "long", 1, "and goes on")
        learn(house.database, user, "old")
        assert words_left(house.database)
        await house.gateway.expiry.sweep(NOW)
        assert words_left(house.database) == {}
        with house.database.reading() as session:
            kept = session.scalars(select(Conversation.id).where(Conversation.deleted_at.is_(None))).all()
            assert kept == ["long"]
            assert session.scalar(select(func.count()).select_from(Generation)) == 2
            (prompt,) = session.scalars(select(RoundPrompt)).all()
            assert (prompt.conversation_id, prompt.prompt) == ("old", None)
            (noted,) = (row for row in audit.noted(session) if row.action == "retention")
            assert noted.detail["withdrawn"] == 0
            assert noted.detail["deleted"] > 250
        await house.gateway.expiry.sweep(NOW)
        with house.database.reading() as session:
            assert [row.action for row in audit.noted(session)].count("retention") == 1


async def test_a_turn_is_trained_on_for_so_many_days_and_kept_for_its_user(tmp_path: Path, engine: FakeEngine) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], train_days=7.0) as house:
        await house.until_ready()
        user = record(house.database, "old", 8)
        record(house.database, "new", 6, "a kazoo")
        learn(house.database, user, "old")
        await house.gateway.expiry.sweep(NOW)
        with house.database.reading() as session:
            assert [one.conversation_id for one in curation.trainable_prompts(session)] == ["new"]
            assert session.scalar(select(func.count()).select_from(Message)) == 4
            assert [row.prompt for row in session.scalars(select(RoundPrompt))] == [None]


async def test_nobody_who_records_waits_while_it_is_looked_for_and_what_came_meanwhile_counts(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], history_days=30.0, train_days=30.0) as house:
        await house.until_ready()
        record(house.database, "quiet", 31)
        record(house.database, "taken up", 31, "a kazoo")
        find = old_rows.old_conversations

        def slow(session: Session, before: datetime, after: str = "") -> list[str]:
            found = find(session, before, after)
            if found:
                record(house.database, "taken up", 0, "and goes on")  # another writer, while the reader is open
            return found

        monkeypatch.setattr(old_rows, "old_conversations", slow)
        await house.gateway.expiry.sweep(NOW)
        with house.database.reading() as session:
            kept = session.scalars(select(Conversation.id).where(Conversation.deleted_at.is_(None))).all()
            assert kept == ["taken up"]
            trained = session.scalars(select(Generation.consent).order_by(Generation.started_at)).all()
            assert trained == ["history", "train"]


async def test_one_gateway_does_it_at_its_start_and_without_a_time_nothing_goes(
    tmp_path: Path, engine: FakeEngine
) -> None:
    home = tmp_path / "home"
    async with running_gateway(home, [engine.url]) as house:
        await house.until_ready()
        record(house.database, "old", 1000)
        await house.gateway.expiry.run()  # ends at once
        assert words_left(house.database)
    async with running_gateway(home, [engine.url], history_days=30.0, lease_seconds=30.0) as house:
        await house.until_ready()
        await gone(house)


async def gone(house: Running) -> None:
    for _ in range(500):
        if not words_left(house.database):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(words_left(house.database))


class Holder:
    """A lease of this role."""

    def __init__(self, role: str) -> None:
        self.role = role


@pytest.mark.parametrize(("role", "swept"), [("follows", 0), ("holds", 1)])
async def test_a_gateway_that_does_not_hold_the_lease_leaves_it_alone(tmp_path: Path, role: str, swept: int) -> None:
    found: list[datetime] = []

    class Watched(Expiry):
        async def sweep(self, now: datetime) -> None:
            found.append(now)

    expiry = Watched(None, Holder(role), None, Spool(tmp_path), 30.0, 0.0)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await expiry.run()
    assert len(found) == swept


async def test_a_failure_is_tried_again_at_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "INTERVAL_SECONDS", 0.0)
    again = asyncio.Event()

    class Failing(Expiry):
        looks = 0

        async def sweep(self, now: datetime) -> None:
            self.looks += 1
            if self.looks == 1:
                raise IntegrityError("", {}, Exception("a thumb came between"))
            again.set()

    task = asyncio.create_task(Failing(None, Holder("holds"), None, Spool(tmp_path), 30.0, 0.0).run())  # type: ignore[arg-type]
    async with asyncio.timeout(20.0):
        await again.wait()
    task.cancel()


@pytest.mark.parametrize("name", ["history_days", "train_days"])
def test_a_time_that_no_calendar_has_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        ServerSettings(**{name: 800_000.0})  # type: ignore[arg-type]


async def test_what_was_set_aside_goes_as_well(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for days in (31, 29):
        turn = a_turn("ann", said(f"{days} days ago"), started_at=NOW - timedelta(days=days))
        spool.set_aside([(turn, its_end(turn))])
    of_another_version = b'{"record":[{"started_at":"%s","mood":"new"},{}]}\n'
    for begun in (b"2020-01-01T00:00:00", NOW.isoformat().encode(), b"yesterday"):
        spool.keep_aside([of_another_version % begun])
    expiry = Expiry(None, None, None, spool, 30.0, 0.0)  # type: ignore[arg-type]
    await expiry.sweep_files(NOW)
    first, second = (tmp_path / ASIDE).read_bytes().splitlines(keepends=True)
    assert b"29 days ago" in first
    assert second == of_another_version % NOW.isoformat().encode()
