"""What tests of a swap begin with: engines, a house before them, and what a person asks for by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.fake_engine import BASE, FakeEngine
from support.gateways import Running, running_gateway
from support.waiting import until


@asynccontextmanager
async def running_engine(**made: Any) -> AsyncIterator[FakeEngine]:
    """A fake engine that answers until the end of the block."""
    engine = FakeEngine(**made)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@asynccontextmanager
async def two_engines(home: Path, engine: FakeEngine, **settings: Any) -> AsyncIterator[tuple[Running, FakeEngine]]:
    """A house before `engine` and another one, which both serve the base; and that other one."""
    async with running_engine() as other, running_gateway(home, [engine.url, other.url], **settings) as house:
        await house.until_ready()
        both = house.gateway.pool.engines
        await until(lambda: [one.serves(BASE) for one in both], "an engine does not serve the base", [True, True])
        yield house, other


async def deploy(house: Running, name: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """Ask for this checkpoint to be live. Returns the status and what was said."""
    answer = await house.http.post("/api/deployments", json={"checkpoint": name, "reason": "a test", **more})
    return answer.status_code, answer.json()
