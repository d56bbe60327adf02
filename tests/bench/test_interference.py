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


def test_what_a_round_adds_is_told_and_whether_that_is_little_enough() -> None:
    idle, busy = times([100.0] * 20, [10.0] * 99), times([130.0] * 20, [15.0] * 90 + [70.0] * 9)
    alone, together = [{"seconds": 100.0}], [{"seconds": 110.0}]
    found = compared(idle, busy, alone, together)
    assert found["added_ms"] == {"first_ms_p50": 30.0, "first_ms_p95": 30.0, "gap_ms_p50": 5.0, "gap_ms_p95": 60.0}
    assert found["round_s"] == {"alone": 100.0, "with_chats": 110.0, "slower": 0.1}
    assert found["reached"] is False
    assert compared(idle, idle, alone, together)["reached"] is True
    assert compared(idle, idle, alone, [{"seconds": 120.0}])["reached"] is False


async def test_people_chat_until_the_work_is_done_and_their_times_are_taken(tmp_path: Path) -> None:
    engine = FakeEngine()
    await engine.start()
    engine.first_delay, engine.delay = 0.05, 0.01
    options = argparse.Namespace(streams=2, max_tokens=8)
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
