"""Waiting for what signals nothing (rows, engines, gateways, files): it is looked at until it is as wanted.

A wait that comes to nothing says in words what did not come, and what was seen last.
"""

import asyncio
import inspect
import os
import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 30.0  # nothing takes that long; where a limit is what a test claims, it gives its own
PAUSE_SECONDS = 0.01  # between two looks


def patience(seconds: float) -> float:
    """So many seconds, or three times as many on a crowded machine: there they are no measure of this program."""
    return seconds * 3 if os.getloadavg()[0] > 2 * (os.cpu_count() or 1) else seconds


async def until(look: Callable[[], Any], complaint: str, wanted: Any = bool, seconds: float = PATIENCE_SECONDS) -> Any:
    """What `look` gives, or what it gives to await, once it is as `wanted`: equal to it, or of its liking.

    Raises AssertionError with the complaint after so many seconds, three times as many on a crowded machine.
    """
    limit = patience(seconds)
    deadline = time.monotonic() + limit
    while True:
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if _fits(seen, wanted):
            return seen
        _in_time(deadline, complaint, limit, seen)
        await asyncio.sleep(PAUSE_SECONDS)


def wait_until(look: Callable[[], Any], complaint: str, wanted: Any = bool, seconds: float = PATIENCE_SECONDS) -> None:
    """As `until`, for tests without an event loop."""
    limit = patience(seconds)
    deadline = time.monotonic() + limit
    while not _fits(seen := look(), wanted):
        _in_time(deadline, complaint, limit, seen)
        time.sleep(PAUSE_SECONDS)


def _fits(seen: Any, wanted: Any) -> bool:
    return bool(wanted(seen)) if callable(wanted) else bool(seen == wanted)


def _in_time(deadline: float, complaint: str, seconds: float, seen: Any) -> None:
    if time.monotonic() > deadline:
        raise AssertionError(f"{complaint} (waited {seconds:g} s; last seen: {seen!r})")
