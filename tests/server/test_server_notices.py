"""The notices between gateways come to an end when their gateway does, whatever the library for Redis makes of it."""

import asyncio
from contextlib import suppress

import pytest

from server.notices import _first


async def deaf(times: int) -> None:
    """Swallows as many cancellations, as redis-py does where an answer comes in the same moment."""
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
    await asyncio.sleep(60)


async def test_a_cancellation_that_is_swallowed_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.notices.ENDING_SECONDS", 0.01)
    task = asyncio.create_task(_first([deaf(0), deaf(2)]))
    await asyncio.sleep(0.01)
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_one_that_fails_ends_the_other_and_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.notices.ENDING_SECONDS", 0.01)

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise OSError("gone")

    async with asyncio.timeout(10):
        with pytest.raises(OSError, match="gone"):
            await _first([deaf(1), fails()])
