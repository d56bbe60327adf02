"""Many threads record, complete and forget at once: one tree, no turn lost, nothing brought back, no deadlock."""

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from support.records import a_turn, its_end, said, settle

from db.queries import forget, turns
from db.schema import Conversation, Generation, Message
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
