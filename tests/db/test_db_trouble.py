"""A database that can't be used says which one, why, and what to do; its password is nowhere."""

import os
import socket
import sqlite3
import threading
import time
import traceback
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, make_url, text
from sqlalchemy.exc import IntegrityError
from support.records import settle

import db.session
from db.errors import DatabaseUnavailable
from db.queries import users
from db.schema import Conversation
from db.session import Database
from db.trouble import printable

on_sqlite = pytest.mark.parametrize("kind", ["sqlite"])
on_postgresql = pytest.mark.parametrize("kind", ["postgresql"])


def use(url: str) -> None:
    database = Database(url)
    try:
        with database.transaction() as session:
            users.ensure_user(session, "ann")
    finally:
        database.close()


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("nonsense", "this is no database URL. Write sqlite:///path or postgresql://host/name."),
        ("mysql://ann:hidden@host/x", "'mysql' is not supported"),
        ("sqlite://", "a database in memory is lost at exit"),
        ("sqlite:///:memory:", "a database in memory is lost at exit"),
        ("postgresql+asyncpg://ann:hidden@host/x", r"'postgresql\+asyncpg' is not supported"),
    ],
)
def test_a_url_that_names_no_supported_database_is_refused(url: str, cause: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=cause) as caught:
        Database(url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_postgresql_takes_psycopg(scheme: str) -> None:
    assert Database(f"{scheme}://ann:hidden@host/x").url == "postgresql+psycopg://ann:***@host/x"


def test_a_password_is_shown_nowhere_in_the_url() -> None:
    assert "hidden" not in printable(make_url("postgresql+psycopg://host/x?user=ann&password=hidden"))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"These are not the bytes you are looking for. " * 100)
    for act in (lambda: use(f"sqlite:///{tmp_path}/a.db"), Database(f"sqlite:///{tmp_path}/a.db").migrate):
        with pytest.raises(DatabaseUnavailable, match=r"a\.db: file is not a database\. Another file has this name"):
            act()


@on_sqlite
def test_a_damaged_file(database_url: str) -> None:
    path = Path(str(make_url(database_url).database))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(DatabaseUnavailable, match="malformed. The file is damaged: restore it"):
        use(database_url)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="unable to open database file. Check that the folder exists"):
        use(f"sqlite:///{tmp_path}/nowhere/a.db")


def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match="A part of the path is a file"):
        Database(f"sqlite:///{tmp_path}/file/a.db").migrate()


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="The path names a folder"):
        Database(f"sqlite:///{tmp_path}").migrate()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_this_user_may_not_write(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch(0o400)
    with pytest.raises(DatabaseUnavailable, match="Make the file and its folder writable"):
        Database(f"sqlite:///{tmp_path}/a.db").migrate()


def test_a_database_without_tables(empty_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="start with `ruminate up`|let `ruminate up` create its tables"):
        use(empty_url)


@on_sqlite
def test_a_database_that_another_process_holds(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.session, "BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(str(make_url(database_url).database), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="database is locked. Another process holds it"):
        use(database_url)
    holder.close()


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql://ann:hidden@127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(DatabaseUnavailable, match="Connection refused.*Start the server, or check host") as caught:
            use(url)
    assert "hidden" not in str(caught.value)


@on_postgresql
def test_a_database_that_the_server_does_not_have(empty_url: str) -> None:
    url = make_url(empty_url).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnavailable, match='database "nowhere" does not exist. Create it'):
        use(url)


@on_postgresql
def test_a_connection_that_the_server_dropped_is_trouble_once(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="terminat"), database.transaction() as session:  # noqa: PT012
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        with database.transaction() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        time.sleep(0.2)
        session.execute(text("SELECT 1"))
    with database.transaction() as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_a_statement_that_is_wrong_is_not_called_the_database_s_trouble(database: Database) -> None:
    columns, values = "id, name, role, consent, created_at", "'u', 'ann', 'king', 'none', '2026-01-01 00:00:00+00'"
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.execute(text(f"INSERT INTO users ({columns}) VALUES ({values})"))


def test_an_error_inside_of_a_transaction_undoes_all_of_it(database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction() as session:  # noqa: PT012
        settle(session)
        raise RuntimeError("something else")
    with database.reading() as session:
        assert users.list_users(session) == []


def test_reading_can_not_write_and_leaves_no_trace_on_the_connection(database: Database) -> None:
    with pytest.raises(Exception, match=r"read-?only"), database.reading() as session:
        users.ensure_user(session, "ann")
    with database.transaction() as session:
        users.ensure_user(session, "ann")


def test_reading_waits_for_no_writer(database: Database) -> None:
    with database.transaction() as session:
        users.ensure_user(session, "ann")
        with database.reading() as other:
            assert users.list_users(other) == []


def test_writers_of_many_threads_take_turns(database: Database) -> None:
    def work() -> None:
        for _ in range(20):
            with database.transaction() as session:
                session.execute(text("UPDATE users SET name = name || 'x'"))

    with database.transaction() as session:
        users.ensure_user(session, "")
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        assert [user.name for user in users.list_users(session)] == ["x" * 160]


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(Exception, match="has no time zone; use datetime.now"), database.transaction() as session:  # noqa: PT012
        user = users.ensure_user(session, "ann")
        users.create_key(session, user.id, expires_at=datetime(2026, 1, 1))


def test_an_error_about_a_row_shows_nothing_that_is_in_it(database: Database) -> None:
    words = "xylophone"  # on a line that is not in the trace
    with pytest.raises(IntegrityError) as caught, database.transaction() as session:
        session.execute(insert(Conversation).values(id="one", user_id=None, title=words))
    shown = "".join(traceback.format_exception(caught.value))
    assert "user_id" in shown
    assert words not in shown
