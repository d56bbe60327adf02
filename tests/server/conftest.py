"""A fake engine and a gateway before it, for the tests of the gateway's own behaviour."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    fake = FakeEngine()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def house(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path / "home", [engine.url]) as running:
        await running.until_ready()
        yield running
