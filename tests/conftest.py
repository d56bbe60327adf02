"""Fixtures that more than one room's tests use, and how two workers share the run."""

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["support.databases", "support.engine", "support.redis_server", "support.stores"]

ENGINE, BROWSER, WALKED = "real engines", "the browser", "the browser before a real engine"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real engines first, the longest part. The browser last: Playwright's loop stays in its worker to the end."""
    order = {ENGINE: 0, BROWSER: 2, WALKED: 3}
    items.sort(key=lambda item: order.get(_share(item.nodeid), 1))  # stable: else as collected


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Who of `pytest -n 2` runs what."""
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
        return WALKED if "_with_engine" in file.name else BROWSER
    engine = file.parent.name == "e2e" or (file.parent.name != "thinking" and "_vllm" in file.name)
    return ENGINE if engine else str(file)
