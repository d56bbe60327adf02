"""The door to the database: connections, the one place that commits, and errors in words.

What a connection needs to be right is set here: on SQLite write-ahead log, foreign keys, and a write lock taken when a
writing transaction begins, so that what it reads still holds when it writes. The tables are brought up to date by
`db.migrate`. Queries live in `db.queries` and never commit.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from db.errors import DatabaseUnavailable
from db.trouble import printable, translate
from db.types import to_json

BUSY_SECONDS = 10.0
"""How long a writer on SQLite waits for another one. A transaction here takes milliseconds; a migration, a second."""
CONNECT_SECONDS = 5
"""How long a PostgreSQL server may take to answer a connection before it counts as down."""
STATEMENT_SECONDS = 60
"""How long one statement on PostgreSQL may run, so that a lock that nobody releases is an error and not silence."""
SILENT_SECONDS = 15
"""After how long a connection counts as lost whose other end acknowledges nothing, as where packets are dropped. A
server that was stopped (SIGSTOP) is not noticed by this: its system goes on acknowledging."""
POOL_SECONDS = 10.0
"""How long a thread waits for a connection of the pool."""


def parse_url(url: str) -> URL:
    """The URL with its driver chosen. Raises DatabaseUnavailable on one that names no database we support."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        cause = "this is no database URL"
        raise DatabaseUnavailable(printable(url), cause, "Write sqlite:///path or postgresql://host/name.") from None
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and (not parsed.database or parsed.database == ":memory:"):
        cause = "a database in memory is lost at exit and not shared by processes"
        raise DatabaseUnavailable(printable(parsed), cause, "Name a file: sqlite:///path.")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        cause = f"{parsed.drivername!r} is not supported"
        raise DatabaseUnavailable(printable(parsed), cause, "Write sqlite:///path or postgresql://host/name.")
    return parsed


class Database:
    """One database, shared by the threads of one process. Connects when first used; not to be carried over a fork."""

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self.kind = self._url.get_backend_name()
        """"sqlite" or "postgresql"."""
        try:
            self.engine = _sqlite(self._url) if self.kind == "sqlite" else _postgresql(self._url)
        except NoSuchModuleError as error:
            raise DatabaseUnavailable(self.url, str(error), "Install psycopg.") from error
        # Both share one pool; what differs is how a transaction begins.
        self._writing = sessionmaker(self.engine, expire_on_commit=False)
        reading = self.engine.execution_options(ruminate_reads=True, postgresql_readonly=True)
        if self.kind == "postgresql":  # its default shows each statement another state
            reading = reading.execution_options(isolation_level="REPEATABLE READ")
        self._reading = sessionmaker(reading, expire_on_commit=False)

    @property
    def url(self) -> str:
        """The URL without its password."""
        return printable(self._url)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session, committed at the end of the block or rolled back when it raises. The only place that commits.

        Rows stay readable after it. Raises DatabaseUnavailable when the database can't be used.
        """
        with self._translated(), self._writing.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the database and can't write; on SQLite it waits for no writer."""
        with self._translated(), self._reading.begin() as session:
            yield session

    def migrate(self) -> None:
        """Bring the tables up to date, creating the database's file if need be; processes take turns at it.

        Raises DatabaseTooNew when a newer version of Ruminate has been here, else DatabaseUnavailable.
        """
        from db.migrate import upgrade  # Alembic is slow to import, and only a start needs it

        with self._translated():
            if self.kind == "sqlite":
                _make_file(Path(str(self._url.database)))
            upgrade(self.engine, self.url)

    def scrub(self) -> None:
        """After a deletion: take what was deleted out of SQLite's write-ahead log too, unless a reader still needs it.

        Its pages were overwritten already (secure_delete). PostgreSQL clears dead rows by its own vacuum.
        """
        if self.kind == "sqlite":
            with self._translated():
                connection = self.engine.raw_connection()
                try:
                    _cut_log(connection.cursor())
                finally:
                    connection.close()

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, OSError, PoolTimeout) as error:
            trouble = translate(self.url, error)
            if trouble is None:
                raise
            if self.kind == "sqlite":
                self.engine.dispose()  # the file may be another one by now; what is open would go on with the old one
            raise trouble from error


def _make_file(path: Path) -> None:
    """An empty database that only its owner can read: it will hold what people said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _sqlite(url: URL) -> Engine:
    engine = create_engine(
        url,
        json_serializer=to_json,
        hide_parameters=True,  # errors go to logs, and what people said does not
        pool_use_lifo=True,  # who writes most gets the connection that has the pages of its last write at hand
        connect_args={"timeout": BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; `begin` below does
        cursor = connection.cursor()
        write_ahead(cursor)
        cursor.execute("PRAGMA synchronous = FULL")  # a committed turn outlives a power cut
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, not left in free pages
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("ruminate_reads", False)
        connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reads else 'OFF'}")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def write_ahead(cursor: sqlite3.Cursor) -> None:
    """Readers and the writer of this file don't wait for each other from now on.

    Of two connections that change a new file to it at once SQLite refuses one without waiting, whatever its timeout.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _cut_log(cursor: Any) -> None:
    """Empty the write-ahead log, once no reader needs it any more.

    SQLite would wait for readers with the write lock in its hands, so here it doesn't wait and is asked again.
    """
    until = time.monotonic() + BUSY_SECONDS
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")


def _postgresql(url: URL) -> Engine:
    engine = create_engine(
        url,
        json_serializer=to_json,
        hide_parameters=True,
        pool_pre_ping=True,  # a server that was restarted costs a reconnect, not an error
        pool_timeout=POOL_SECONDS,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": SILENT_SECONDS * 1000,  # for what was sent; the rest for what is waited for
            "keepalives_idle": SILENT_SECONDS // 3,
            "keepalives_interval": SILENT_SECONDS // 3,
            "keepalives_count": 2,
            "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000}",
        },
    )

    @event.listens_for(engine, "handle_error")
    def hide_row(context: ExceptionContext) -> None:
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None and error.args:  # the server's DETAIL shows the row that it refused
                error.args = (str(error.args[0]).partition("\nDETAIL:")[0], *error.args[1:])

    return engine
