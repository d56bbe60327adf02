"""Questions to a database that hangs or is slow, and the leases that are held by such questions."""

import asyncio
import time
from typing import Any

import pytest

from db.errors import DatabaseUnavailable
from server import holding, lookups
from server.holding import Holding
from server.lookups import Lookups


def refuses() -> None:
    raise ValueError("no such thing")


async def test_a_database_that_refuses_a_question_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "RETRY_SECONDS", 0.0)
    asked = Lookups("sqlite:///x", 0.2)
    try:
        with pytest.raises(DatabaseUnavailable, match="no answer within"):
            await asked.ask(time.sleep, 0.4)
        with pytest.raises(ValueError, match="no such thing"):
            await asked.ask(refuses)
        assert await asked.ask(abs, -1) == 1
    finally:
        asked.close()


async def test_a_name_that_is_held_anew_while_others_are_let_go_late_is_not_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holding, "BEAT_SECONDS", 0.01)
    released: list[str] = []
    names = {"one", "other"}

    class Released:
        async def ask(self, _: Any, name: str, __: str) -> None:
            released.append(name)
            for other in names - {name}:
                held.keep(other, "the same request once more")

    held = Holding(None, Released(), "me", lambda _: False, lambda: False)  # type: ignore[arg-type]
    for name in names:
        held.keep(name, "a request")
        await held.let_go(name, late=True)
    running = asyncio.create_task(held.run())
    await asyncio.sleep(0.1)
    running.cancel()
    assert len(released) == 1
