"""Many threads record, complete and forget at once: one tree, no turn lost, nothing brought back, no deadlock."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, make_url, select, text
from sqlalchemy.orm import Session
from support.databases import execute
from support.records import a_turn, its_end, said, settle
from support.waiting import wait_until

from db.queries import expiry, forget, turns, users
from db.schema import Conversation, Generation, Message, User
from db.session import Database
from db.values import Turn

THREADS = 6


def together(*works: Callable[[], Any]) -> None:
    """Run all at once; raise the first error of any."""
    barrier = threading.Barrier(len(works))
    errors: list[Exception] = []

    def run(work: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            work()
        except Exception as error:  # noqa: BLE001  raised below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def started(database: Database, *works: Callable[[Session], Any]) -> Callable[[], None]:
    """Each work has begun in a transaction of its own, and waits for what the caller has locked. What is given back
    waits until they have ended, and raises the first error of any."""
    errors: list[Exception] = []

    def run(work: Callable[[Session], Any]) -> None:
        try:
            with database.transaction() as session:
                work(session)
        except Exception as error:  # noqa: BLE001  raised below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    if database.kind == "postgresql":
        wait_until(lambda: waiting(database), "not all of them wait for a lock", len(works))
    else:
        time.sleep(0.2)  # nothing tells who waits for SQLite's lock; too short a time hides a fault and invents none

    def end() -> None:
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    return end


def waiting(database: Database) -> int:
    """How many sessions of a PostgreSQL server wait for a lock."""
    with database.engine.connect() as connection:
        told = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return int(connection.execute(told).scalar_one())


def counts(database: Database) -> list[int]:
    with database.reading() as session:
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in (Generation, Message)]


def test_one_history_laid_in_by_many_becomes_one_tree(database: Database) -> None:
    """As several gateways do when one conversation's turns come through each of them."""
    with database.transaction() as session:
        ann = settle(session)

    def work() -> None:
        for length in (1, 3, 5):
            pairs = []
            for name in ("a", "b", "c"):
                turn = a_turn(ann, said(*(["Hi", "Hello."] * 3)[:length]), conversation_id=name)
                pairs.append((turn, its_end(turn)))
            with database.transaction() as session:
                assert turns.begin_many(session, [turn for turn, _ in pairs]) == []
            with database.transaction() as session:
                assert turns.complete_many(session, [end for _, end in reversed(pairs)]) == []

    together(*[work] * THREADS)
    assert counts(database) == [THREADS * 9, 3 * 6]


def test_one_spool_replayed_by_many_is_recorded_once(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
    spool = [a_turn(ann, said(f"Number {index}"), conversation_id=f"{index}") for index in range(40)]

    def work() -> None:
        with database.transaction() as session:
            assert turns.record_many(session, [(turn, its_end(turn)) for turn in spool]) == []

    together(*[work] * THREADS)
    assert counts(database) == [40, 80]


def test_what_is_deleted_while_turns_come_in_stays_deleted(database: Database) -> None:
    with database.transaction() as session:
        ann = settle(session)
    refused: list[str] = []

    def talk(thread: int) -> None:
        for index in range(25):
            turn: Turn = a_turn(ann, said(f"{thread} {index}"), conversation_id=f"conversation-{index % 5}")
            with database.transaction() as session:
                refused.extend(left.why for left in turns.begin_many(session, [turn]))
            with database.transaction() as session:
                turns.complete_many(session, [its_end(turn)])

    def erase() -> None:
        with database.transaction() as session:
            forget.delete_user_data(session, ann)
        with database.transaction() as session:
            forget.delete_user(session, ann)

    together(*[lambda thread=thread: talk(thread) for thread in range(4)], erase)
    assert counts(database) == [0, 0]
    with database.reading() as session:
        living = select(func.count()).where(Conversation.deleted_at.is_(None))
        assert session.scalar(living) == 0
    with database.transaction() as session:
        late = a_turn(ann, said("Hi"), conversation_id="conversation-0")
        refused.extend(left.why for left in turns.begin_many(session, [late]))
    assert refused
    assert all("deleted" in why for why in refused)


def test_a_reading_session_sees_one_state_throughout(database: Database) -> None:
    with database.transaction() as session:
        settle(session)

    def add() -> None:
        with database.transaction() as session:
            turn = a_turn(settle(session, "bob"), said("Hi"), conversation_id="later")
            turns.record_turn(session, turn, its_end(turn))

    with database.reading() as session:
        before = session.scalar(select(func.count()).select_from(Generation))
        together(add)
        assert session.scalar(select(func.count()).select_from(Generation)) == before
    assert counts(database)[0] == (before or 0) + 1


@pytest.mark.parametrize("first", ["the opt-out", "the record"])
def test_of_a_turn_and_an_opt_out_at_once_the_opt_out_holds(database: Database, first: str) -> None:
    """As at two gateways."""
    with database.transaction() as session:
        ann = settle(session)
    turn = a_turn(ann, said("Hi"), conversation_id="ann's")
    works: list[Callable[[Session], Any]] = [
        lambda session: users.set_consent(session, ann, "history"),
        lambda session: turns.record_turn(session, turn, its_end(turn)),
    ]
    one, other = works if first == "the opt-out" else works[::-1]
    with database.transaction() as session:
        one(session)
        end = started(database, other)
    end()
    with database.reading() as session:
        assert session.scalars(select(Generation.consent)).all() == ["history"]


def test_of_two_changes_of_a_consent_the_later_holds(database: Database) -> None:
    """Also where it finds the row as it wants it, and another gateway has changed that in a transaction of just now."""
    with database.transaction() as session:
        ann = settle(session, consent="history")
    turn = a_turn(ann, said("Hi"))
    with database.transaction() as session:
        users.set_consent(session, ann, "train")
        turns.record_turn(session, turn, its_end(turn))
        end = started(database, lambda later: users.set_consent(later, ann, "history"))
    end()
    with database.reading() as session:
        assert session.scalars(select(User.consent)).all() == ["history"]
        assert session.scalars(select(Generation.consent)).all() == ["history"]


@pytest.mark.parametrize("kind", ["postgresql"])
@pytest.mark.parametrize(
    "act",
    [
        lambda session, ann: forget.opt_out(session, ann),
        lambda session, _: forget.opt_out_conversation(session, "ann's"),
        lambda session, _: forget.delete_conversation(session, "ann's"),
        lambda session, ann: forget.delete_user_data(session, ann),
    ],
)
def test_what_runs_out_and_what_is_taken_back_at_once_lock_their_turns_in_one_order(
    database_url: str, act: Callable[[Session, str], Any]
) -> None:
    """Their statements find the same turns by different indexes, here in contrary orders; one turn is locked until each
    of them has begun, so that both would hold what the other waits for."""
    name = make_url(database_url).database
    plans = ("seqscan", "bitmapscan", "indexonlyscan")  # so few rows they would read in the table's order
    execute(database_url, *(f"ALTER DATABASE {name} SET enable_{plan} = off" for plan in plans))
    with closing(Database(database_url)) as database:
        with database.transaction() as session:
            ann, bob = settle(session), settle(session, "bob")
            others = [a_turn(bob, said(f"Number {index}"), conversation_id="bob's") for index in range(300)]
            assert turns.record_many(session, [(turn, its_end(turn)) for turn in others]) == []
            for index, turn_id in enumerate(("c", "b", "a")):
                begun_at = datetime(2026, 1, 1 + index, tzinfo=UTC)
                turn = a_turn(
                    ann, said("Hi"), conversation_id="ann's", generation_id=turn_id, started_at=begun_at
                )  # fmt: skip
                turns.record_turn(session, turn, its_end(turn))
        execute(database_url, "ANALYZE")
        with database.transaction() as session:
            session.execute(select(Generation.id).where(Generation.id == "b").with_for_update())
            end = started(
                database,
                lambda session: act(session, ann),
                lambda session: expiry.withdraw(session, ["a", "b", "c"], datetime.now(UTC)),
            )
        end()
        with database.reading() as session:
            left = select(Generation.id).where(Generation.consent == "train", Generation.user_id == ann)
            assert session.scalars(left).all() == []
