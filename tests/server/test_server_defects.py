"""What nobody foresaw in the gateway's own code ends the one request that it happens to, which is recorded at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from db.schema import Generation
from server.forms.form import Plain
from server.shape import Shape

KEYED = {"Idempotency-Key": "the same"}


def recorded(house: Running) -> list[tuple[str | None, str | None]]:
    """How each answer ended and what went wrong, the first one first; of all that began nothing is open."""
    assert house.gateway.journal.recover() == []
    with house.database.reading() as session:
        return [(one.ending, one.error) for one in session.scalars(select(Generation).order_by(Generation.started_at))]


def breaks(*_: Any) -> Any:
    raise ZeroDivisionError


def later(calls: int, work: Callable[..., Any]) -> Callable[..., Any]:
    """`work`, which breaks from that call on."""
    made = 0

    def called(*given: Any) -> Any:
        nonlocal made
        made += 1
        return work(*given) if made < calls else breaks()

    return called


@pytest.mark.parametrize("more", [{}, KEYED])
async def test_a_defect_before_an_answer_begins_is_recorded_and_a_key_stays_free(
    house: Running, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    wish = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
    with monkeypatch.context() as patch:
        patch.setattr(house.gateway.relay, "begin", breaks)
        failed = await house.http.post("/v1/chat/completions", json=wish, headers=more)
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "internal_error")
    ((ending, error),) = recorded(house)
    assert (ending, "its log has the cause" in str(error)) == ("error", True)
    again = await house.http.post("/v1/chat/completions", json=wish, headers=more)
    assert again.status_code == 200, again.text
    assert [ending for ending, _ in recorded(house)] == ["error", "complete"]


async def test_a_defect_in_writing_an_answer_is_recorded(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plain, "writer", breaks)
    for stream in (False, True):
        assert (await house.chat(stream=stream)).status_code == 500
    assert [ending for ending, _ in recorded(house)] == ["error", "error"]


async def test_a_defect_in_the_middle_of_a_stream_is_told_and_what_was_said_is_kept(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.delay = 0.02  # so that they come one by one
    monkeypatch.setattr(Shape, "events", later(4, Shape.events))
    answer = await house.chat(stream=True)
    assert '"internal_error"' in answer.text.rstrip().rsplit("\n\n", 1)[-1]
    with house.database.reading() as session:
        (one,) = session.scalars(select(Generation)).all()
    assert (one.ending, one.finish_reason != "engine_lost", bool(one.reasoning)) == ("error", True, True)
    assert recorded(house)[0][1]


async def test_turns_are_written_at_the_end_although_another_part_does_not_end_in_order(
    tmp_path: Path, engine: FakeEngine
) -> None:
    """As where Redis hangs and its connections don't close in time."""

    async def hangs() -> None:
        raise TimeoutError

    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        recorder, house.gateway.streams.stop = house.gateway.recorder, hangs  # type: ignore[method-assign]
    assert not recorder._thread.is_alive()
