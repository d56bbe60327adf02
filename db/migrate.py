"""Runs the migrations of `db/migrations` from code, in one transaction, one process at a time."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from db.errors import DatabaseTooNew

MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x52554D49
"""Any number that no other application uses on the same PostgreSQL database: "RUMI"."""


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration; it has no file, so that an installed package needs none."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine, url: str) -> None:
    """To the newest revision; most starts find a database that is there already, and look no further. On SQLite the
    write lock, on PostgreSQL an advisory lock makes others wait.

    Raises DatabaseTooNew when the database's revision is not one of ours; `url` is for its message.
    """
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
