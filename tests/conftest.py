"""Fixtures that more than one room's tests use."""

pytest_plugins = ["support.databases", "support.engine", "support.redis_server"]
