"""What a team's gateways have, for a run of the gateway's or the end-to-end tests: a real PostgreSQL, a real Redis.

`RUMINATE_TEST_STORES=team pytest tests/server tests/e2e` gives them to each gateway and house whose test names no
database itself; without it such a one has SQLite in its home and no Redis.
"""

import itertools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url
from support import gateways
from support.components import require_component
from support.databases import execute

CHOICE = "RUMINATE_TEST_STORES"
ALONE, TEAM = "alone", "team"
START_SECONDS = 20.0
REDIS_DATABASES = 10_000  # one for each home, as houses have a Redis each


def is_team() -> bool:
    """Raises ValueError for a choice that there is none of."""
    word = os.environ.get(CHOICE, ALONE)
    if word not in (ALONE, TEAM):
        raise ValueError(f"{CHOICE} is {word!r}; expected {ALONE!r} or {TEAM!r}")
    return word == TEAM


alone = pytest.mark.skipif(is_team(), reason="it is about SQLite's file, or about a house without Redis")


@pytest.fixture(scope="session", autouse=True)
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The stores of gateways that name none, as the environment chooses."""
    if not is_team():
        yield
        return
    server: str = request.getfixturevalue("postgresql_url")
    template = make_url(request.getfixturevalue("migrated")("postgresql")).database
    made: dict[Path, dict[str, str]] = {}
    count = itertools.count()
    with redis_server(tmp_path_factory.mktemp("redis")) as redis, pytest.MonkeyPatch.context() as patch:

        def stores_of(home: Path) -> dict[str, str]:
            if home not in made:  # a gateway that is started again goes on with what is there
                number = next(count)
                name = f"home_{number}"
                execute(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
                url = make_url(server).set(database=name).render_as_string(hide_password=False)
                made[home] = {"database_url": url, "redis_url": f"{redis}/{number}"}
            return made[home]

        patch.setattr(gateways, "stores_of", stores_of)
        yield


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A real one on a free port; its URL without a database's number."""
    require_component(shutil.which("redis-server") is not None, "redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--databases", str(REDIS_DATABASES))
    process = subprocess.Popen(["redis-server", *options, "--dir", str(folder)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, "redis-server ended"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
