"""Fixtures that more than one room's tests use, how workers share the run, and where its files are."""

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["support.databases", "support.engine", "support.redis_server", "support.stores"]

ENGINE, WALKED = "real engines", "the browser before a real engine"
MEMORY, ROOM_GIB = Path("/dev/shm"), 6  # of which a run leaves half empty

MODULES = 300  # imported since the last time, which are worth a collection

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # one that trains beside the tests is slow at times, which is no failure


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory where there is room: each database and spool waits for the disk at every turn.

    No test cuts the power off, so that none sees the difference. Some run programs that they wrote there.
    """
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return
    if shutil.disk_usage(MEMORY).free > ROOM_GIB * 2**30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What the tests import stays; to look again and again for what does not takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first, so that no worker is left with it: real engines, and of the browser's part as well.

    The browser is last: Playwright's loop stays in its worker to the end. Each worker may have one.
    """
    items.sort(key=lambda item: _order(item.nodeid))  # stable: else as collected


imported = 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Spare the collector what stays to the end: with torch and TRL there, each collection by a trainer takes 0.6 s."""
    global imported
    if len(sys.modules) > imported + MODULES:
        imported = len(sys.modules)
        gc.collect()
        gc.freeze()


def pytest_sessionfinish() -> None:
    """At the end of the process all is to be collected again; extension modules complain of what is left."""
    gc.unfreeze()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Who of `pytest -n 3` runs what."""
    return Shares(config, log)


class Shares(LoadScopeScheduling):
    """One worker has all real engines but the page's: two at once would starve each other on two cores.

    Else a file is one worker's, so that its fixtures serve all of it.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _share(nodeid)


def _share(nodeid: str) -> str:
    file = Path(nodeid.split("::", 1)[0])
    if file.parent.name == "ui":
        return WALKED if "_with_engine" in file.name else str(file)
    engine = file.parent.name == "e2e" or (file.parent.name != "thinking" and "_vllm" in file.name)
    return ENGINE if engine else str(file)


def _order(nodeid: str) -> int:
    share = _share(nodeid)
    if share in (ENGINE, WALKED):
        return 0 if share == ENGINE else 2
    return 3 if Path(share).parent.name == "ui" else 1
