"""Tables come about by the migrations alone, in turns, and agree with the classes of `db.schema`."""

import multiprocessing
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from support.processes import forking

from db import migrate
from db.errors import DatabaseTooNew, DatabaseUnavailable
from db.schema import Base
from db.session import Database, write_ahead


def test_the_migrations_make_the_tables_that_the_classes_describe(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_checks_and_foreign_keys_have_the_names_of_the_convention(database: Database) -> None:
    """Alembic compares no check constraints, and SQLite's foreign keys only by their columns."""
    found = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        checks = {check["name"] for check in found.get_check_constraints(table.name)}
        keys = {key["name"] for key in found.get_foreign_keys(table.name)}
        declared = {type(made).__name__: set() for made in table.constraints}
        for made in table.constraints:
            declared[type(made).__name__].add(made.name)
        assert checks == declared.get("CheckConstraint", set()), table.name
        assert keys == declared.get("ForeignKeyConstraint", set()), table.name


def test_an_id_is_never_given_out_twice_on_sqlite(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    database.migrate()
    with database.engine.connect() as connection:
        for table in ("rounds", "checkpoints", "deployments"):
            sql = connection.execute(
                text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": table}
            ).scalar_one()
            assert "AUTOINCREMENT" in sql
    database.close()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    with database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO users (id, name, role, consent, created_at) "
                "VALUES ('u', 'ann', 'user', 'none', '2026-01-01 00:00:00+00')"
            )
        )
    database.migrate()
    with database.reading() as session:
        assert session.execute(text("SELECT name FROM users")).scalars().all() == ["ann"]


def test_a_database_that_is_up_to_date_is_not_worked_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> None:
        raise AssertionError("it was migrated again")

    monkeypatch.setattr(command, "upgrade", work)
    database.migrate()


def _migrate(url: str, results: "multiprocessing.Queue[str]") -> None:
    try:
        database = Database(url)
        database.migrate()
        database.close()
        results.put("done")
    except Exception as error:  # noqa: BLE001  the parent asserts on whatever it was
        results.put(repr(error))


def test_processes_that_migrate_at_once_take_turns(empty_url: str) -> None:
    context = forking()
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_migrate, args=(empty_url, results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ["done"] * 4
    for process in processes:
        process.join(10)


@pytest.mark.parametrize(("code", "tries"), [(sqlite3.SQLITE_BUSY, 3), (sqlite3.SQLITE_READONLY, 1)])
def test_a_new_file_that_another_process_prepares_as_well_is_tried_again(code: int, tries: int) -> None:
    """SQLite refuses one of the two at once, whatever its timeout; which other processes show only now and then."""
    asked: list[str] = []

    class Cursor:
        def execute(self, statement: str) -> None:
            asked.append(statement)
            if len(asked) < 3:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = code
                raise error

    cursor: Any = Cursor()
    with nullcontext() if tries == 3 else pytest.raises(sqlite3.OperationalError):
        write_ahead(cursor)
    assert asked == ["PRAGMA journal_mode = WAL"] * tries


def test_a_database_of_a_newer_version_is_left_alone_and_says_so(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999_from_the_future'"))
    with pytest.raises(DatabaseTooNew, match="9999_from_the_future by a newer version of Ruminate. Update Ruminate"):
        database.migrate()
    with database.reading() as session:
        assert session.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999_from_the_future"


def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(empty_url)
    whole = command.upgrade

    def fail_late(config: Config, revision: str) -> None:
        whole(config, revision)
        raise RuntimeError("after the last table")

    monkeypatch.setattr(command, "upgrade", fail_late)
    with pytest.raises(RuntimeError, match="after the last table"):
        database.migrate()
    assert inspect(database.engine).get_table_names() == []
    monkeypatch.undo()
    database.migrate()
    assert "generations" in inspect(database.engine).get_table_names()
    database.close()


@pytest.fixture
def used(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Database, Connection]]:
    """A PostgreSQL database of an older version, and a session that has a transaction open on a table that changes."""
    for name, seconds in (("LOCK_SECONDS", 0.2), ("PAUSE_SECONDS", 0.1), ("PATIENCE_SECONDS", 60.0)):
        monkeypatch.setattr(migrate, name, seconds)
    with closing(Database(empty_url)) as database:
        with database.engine.begin() as connection:
            command.upgrade(migrate.configuration(connection), "0011")
        with database.engine.connect() as other:
            other.execute(text("SET application_name = 'a copy'"))
            other.commit()
            other.execute(text("SELECT count(*) FROM users"))
            yield database, other


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_migration_that_waits_for_a_table_lets_others_by_and_is_done_once_it_can_be(
    used: tuple[Database, Connection], caplog: pytest.LogCaptureFixture
) -> None:
    database, other = used
    ended: list[object] = []

    def work() -> None:
        try:
            database.migrate()
            ended.append("done")
        except Exception as error:  # noqa: BLE001  asserted on below
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as asking:
        asking.execute(text("SET statement_timeout = 5000"))
        while len(caplog.records) < 3:
            assert not ended
            asking.execute(text("SELECT count(*) FROM users"))
    assert re.search(r"tables are in use \(process \d+, a copy, since \d+ s\)", caplog.text)
    other.rollback()
    thread.join()
    assert ended == ["done"]
    assert "withdrawn_at" in {column["name"] for column in inspect(database.engine).get_columns("users")}


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_migration_that_can_not_have_its_tables_is_given_up_and_says_who_has_them(
    used: tuple[Database, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _ = used
    monkeypatch.setattr(migrate, "PATIENCE_SECONDS", 0.5)
    with pytest.raises(
        DatabaseUnavailable, match=r"for 0.5 s others have used them \(process \d+, a copy, since [01] s\). Nothing was"
    ):
        database.migrate()
    with database.engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_heads() == ("0011",)
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "0"  # of this migration alone


def test_a_new_sqlite_file_is_for_its_owner_only(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/deep/folder/a.db")
    database.migrate()
    database.close()
    assert stat.S_IMODE((tmp_path / "deep/folder/a.db").stat().st_mode) == 0o600


def test_alembic_is_imported_only_to_migrate() -> None:
    code = "import sys, db.session, db.queries.turns; print('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
