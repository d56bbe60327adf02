"""The figures of bench.interference: on made-up streams and rounds, and on a real gateway before a fake engine."""

import argparse
import asyncio
import time
from pathlib import Path

import pytest
from support.fake_engine import FakeEngine
from support.gateways import running_gateway

from bench import interference
from bench.interference import Times, chatting, compared


def times(firsts: list[float], gaps: list[float]) -> Times:
    made = Times()
    made.firsts, made.gaps = firsts, gaps
    return made


def test_what_a_round_adds_is_told_and_whether_that_is_little_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    idle, busy = times([100.0] * 20, [10.0] * 99), times([130.0] * 20, [15.0] * 90 + [70.0] * 9)
    alone, together = [{"seconds": 100.0, "cores": 1.2}], [{"seconds": 110.0, "cores": 1.9}]
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    found = compared(idle, 0.8, busy, alone, together)
    assert found["added_ms"] == {"first_ms_p50": 30.0, "first_ms_p95": 30.0, "gap_ms_p50": 5.0, "gap_ms_p95": 60.0}
    assert found["round_s"] == {"alone": 100.0, "with_chats": 110.0, "slower": 0.1}
    assert found["cores"] == {"idle": 0.8, "alone": 1.2, "with_chats": 1.9}
    assert found["floor"] == 0.0  # 1.2 of 2 cores are left, which is what the round alone needs
    assert compared(idle, 1.4, busy, alone, together)["floor"] == 1.0
    assert found["reached"] is False
    assert compared(idle, 0.8, idle, alone, together)["reached"] is True
    assert compared(idle, 0.8, idle, alone, [{"seconds": 120.0, "cores": 1.9}])["reached"] is False


def test_the_cores_that_were_busy_are_counted() -> None:
    def work() -> dict[str, bool]:
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            pass
        return {"done": True}

    found = interference.used(work)
    assert found["done"] is True
    assert found["cores"] > 0.5  # this test's own, and whatever else the machine does


async def test_people_chat_until_the_work_is_done_and_their_times_are_taken(tmp_path: Path) -> None:
    engine = FakeEngine()
    await engine.start()
    engine.first_delay, engine.delay = 0.05, 0.01
    options = argparse.Namespace(streams=2, max_tokens=8, pause=0.01)
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        stack = interference.Stack(tmp_path, house.url, [engine.url], {})
        asked = [[{"role": "user", "content": f"number {number}"}] for number in range(4)]

        def work() -> str:
            time.sleep(1.5)
            return "done"

        seen, result = await asyncio.to_thread(chatting, stack, options, asked, work)
        assert (result, seen.failed) == ("done", [])
        assert min(seen.firsts) >= 50
        assert len(seen.gaps) >= 5 * len(seen.firsts)
        engine.fail_after = 3
        seen, _ = await asyncio.to_thread(chatting, stack, options, asked, work)
        assert "the fake failed" in seen.failed[0]

        def break_off() -> None:
            raise RuntimeError("no round")

        with pytest.raises(RuntimeError, match="no round"):
            await asyncio.to_thread(chatting, stack, options, asked, break_off)
    await engine.stop()
