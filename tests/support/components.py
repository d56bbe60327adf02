"""Decides what becomes of a test whose component is missing: skipped on a laptop, failed in CI."""

import os

import pytest


def require_component(condition: bool, what: str) -> None:
    """Skip the running test when `condition` is false; under CI=true fail it, since CI installs every component."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing; CI must install it (see .ci/run)")
    pytest.skip(f"{what} is missing")
