"""Fixtures that more than one room's tests use, and how two workers share the run."""

from collections.abc import Generator
from pathlib import Path

import pytest

pytest_plugins = ["support.databases", "support.engine", "support.redis_server"]

TESTS = Path(__file__).parent


@pytest.hookimpl(wrapper=True)  # so that it comes before xdist, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Order the run, and say what one worker of `pytest -n 2 --dist loadgroup` has to run by itself.

    Real engines first and on one worker: the longest part, and two at once would starve each other on two cores. The
    browser last: Playwright's loop stays in its worker. Between them a file is a worker's, so that its fixtures serve
    all of it.
    """
    groups = {item.nodeid: _group(item) for item in items}
    items.sort(key=lambda item: {"engine": 0, "ui": 2}.get(groups[item.nodeid], 1))  # stable: else as collected
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item.nodeid]))
    yield


def _group(item: pytest.Item) -> str:
    path = item.path.relative_to(TESTS)
    if path.parts[0] == "ui":
        return "ui"
    if path.parts[0] == "e2e" or "real_engine" in getattr(item, "fixturenames", ()):
        return "engine"
    return path.as_posix()
