"""A fake engine and a gateway before it, for the tests of the gateway's own behaviour."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.swaps import running_engine


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with running_engine() as fake:
        yield fake


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """The gateway's database: SQLite in its home, as by default, or a PostgreSQL where a test is of that kind.

    A module whose tests are to run on both says `pytestmark = pytest.mark.usefixtures("kind")`.
    """
    if "kind" in request.fixturenames and request.getfixturevalue("kind") == "postgresql":
        return str(request.getfixturevalue("database_url"))
    return ""


@pytest.fixture
def patience() -> float:
    """Seconds until the database counts as down: one that a crowded machine keeps waiting for a second is not."""
    return 10.0


@pytest.fixture
async def house(engine: FakeEngine, tmp_path: Path, store: str, patience: float) -> AsyncIterator[Running]:
    async with running_gateway(
        tmp_path / "home", [engine.url], database_url=store, record_patience_seconds=patience
    ) as running:
        await running.until_ready()
        yield running


@pytest.fixture
async def shared(engine: FakeEngine, tmp_path: Path, database_url: str, patience: float) -> AsyncIterator[Running]:
    """A house with half of the conversations for a canary; it judges when the test asks it to."""
    settings = {"canary_share": 0.5, "judge_seconds": 3600.0, "lease_seconds": 30.0, "database_url": database_url}
    settings["record_patience_seconds"] = patience
    async with running_gateway(tmp_path / "home", [engine.url], **settings) as running:
        await running.until_ready()
        yield running


@pytest.fixture
async def clients_are_closed() -> AsyncIterator[None]:
    """Those of `support.responses`."""
    yield
    from support.responses import CLIENTS  # the official client takes a while to import

    while CLIENTS:
        await CLIENTS.pop().close()
