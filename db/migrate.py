"""Runs the migrations of `db/migrations` from code, in one transaction, one process at a time.

On PostgreSQL a change of a table waits for whoever uses it, and all who come later wait behind it. So it waits for a
moment, lets them by, and tries again.
"""

import logging
import time
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from db.errors import DatabaseTooNew, DatabaseUnavailable

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x52554D49
"""Any number that no other application uses on the same PostgreSQL database: "RUMI"."""
LOCK_SECONDS = 2.0
"""How long a migration waits for one table, and thus the longest that it alone keeps others from it."""
PAUSE_SECONDS = 3.0
"""Between two tries: others get their turn."""
PATIENCE_SECONDS = 120.0
"""After this it is given up: whatever holds a table for so long (a copy being made, a session that somebody left open)
is for a person to look at."""
LOCKED = "55P03"
"""PostgreSQL's code for a lock that was not had in time."""


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration; it has no file, so that an installed package needs none."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine, url: str) -> None:
    """To the newest revision; most starts find a database that is there already, and look no further. On SQLite the
    write lock, on PostgreSQL an advisory lock makes others wait.

    Raises DatabaseTooNew when the database's revision is not one of ours, DatabaseUnavailable when others use its
    tables for too long; `url` is for the message.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _upgrade(engine, url)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != LOCKED:
                raise
            found = _users(engine)
            if time.monotonic() + PAUSE_SECONDS > until:
                cause = f"its tables can't be changed: for {PATIENCE_SECONDS:g} s others have used them ({found})"
                remedy = "Nothing was changed: end those, or wait for them, and start again."
                raise DatabaseUnavailable(url, cause, remedy) from error
        log.warning(
            "the database's tables are in use (%s), so they can't be changed yet; tried again in %g s",
            found,
            PAUSE_SECONDS,
        )
        time.sleep(PAUSE_SECONDS)


def _upgrade(engine: Engine, url: str) -> None:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Rebuilding a table drops it for a moment; this switch has no effect inside of a transaction.
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                if engine.dialect.name == "postgresql":
                    connection.execute(text("SET LOCAL statement_timeout = 0"))  # a migration takes what it takes
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
                    connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_SECONDS * 1000:.0f}"))  # after that wait
                if _is_newest(connection, url):
                    return
                command.upgrade(configuration(connection), "head")
                if engine.dialect.name == "sqlite":
                    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                    if broken:
                        raise RuntimeError(
                            f"the migration would leave rows that point nowhere: {broken[:5]}; nothing was changed"
                        )
        finally:
            if engine.dialect.name == "sqlite":
                connection.invalidate()  # a fresh connection has its foreign keys on


def _users(engine: Engine) -> str:
    """Who else has had a transaction open on this database for longer than a migration waits, in words."""
    sessions = text(
        "SELECT pid, coalesce(nullif(application_name, ''), usename, 'unnamed'), "
        "extract(epoch FROM clock_timestamp() - xact_start) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - make_interval(secs => :seconds) "
        "ORDER BY xact_start"
    )
    with engine.connect() as connection:
        found = connection.execute(sessions, {"seconds": LOCK_SECONDS}).all()
    return (
        ", ".join(f"process {pid}, {name}, since {age:.0f} s" for pid, name, age in found)
        or "none that this user may see"
    )


def _is_newest(connection: Connection, url: str) -> bool:
    """Whether there is nothing to do. Raises DatabaseTooNew."""
    known, newest = _revisions()
    found = set(MigrationContext.configure(connection).get_current_heads())
    if foreign := found - known:
        cause = f"it was migrated to {', '.join(sorted(foreign))} by a newer version of Ruminate"
        raise DatabaseTooNew(url, cause, "Update Ruminate, or restore the backup from before the update.")
    return found == newest


@cache  # a process may open many databases, and each file is read for it
def _revisions() -> tuple[set[str], set[str]]:
    """All that this version knows, and the newest."""
    scripts = ScriptDirectory.from_config(configuration())
    return {script.revision for script in scripts.walk_revisions()}, set(scripts.get_heads())
