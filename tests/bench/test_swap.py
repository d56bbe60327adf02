"""The swap bench, with a real gateway over two engines that are stand-ins, which count what they load."""

import argparse
from pathlib import Path

import pytest
from support.adapters import add_checkpoint, add_full
from support.fake_engine import FakeEngine
from support.gateways import running_gateway

from bench.stack import KEY, Stack
from bench.swap import FEWEST, measure


@pytest.mark.parametrize("full", [False, True], ids=["adapters", "full"])
async def test_each_swap_puts_weights_on_every_engine_and_each_is_timed(full: bool, tmp_path: Path) -> None:
    engines = [FakeEngine(), FakeEngine()]
    for engine in engines:
        await engine.start()
        engine.delay = 0.01
    urls = [engine.url for engine in engines]
    options = argparse.Namespace(
        clients=4, swaps=5, rollbacks=1, checkpoints=FEWEST, engines=2, pause=0.2, calm=0.1, prompts=2, max_tokens=16,
        full=full, knockers=1,
    )  # fmt: skip
    async with running_gateway(
        tmp_path / "home", urls, service_key=KEY, rollback_level=0.0, engine_wait_seconds=60
    ) as house:
        await house.until_ready()
        add = add_full if full else add_checkpoint
        names = [add(house.database, house.home, -2.0 - number) for number in range(FEWEST)]
        report = await measure(Stack(house.home, house.url, urls, {}), names, options)
    for engine in engines:
        await engine.stop()
        put = engine.reloads if full else engine.loads
        assert put >= options.swaps, "a swap found its weights there already"
    assert (report["swaps"], report["rollbacks"]) == (5, 1)
    assert (report["failed"], report["mixed"]) == (0, 0), report["first_errors"]
    assert {f"ruminate-{name}" for name in names} <= set(report["checkpoints_seen"])
    assert report["knocks"] > report["swaps"]
    assert (
        report["swap_to_first_word_ms"]["every_engine"]["p50"]
        <= report["swap_to_first_answer_ms"]["every_engine"]["p50"]
    )
    for figure in ("swap_to_first_answer_ms", "rollback_to_first_answer_ms"):
        assert all(spread["p50"] > 0 for spread in report[figure]["by_engine"].values())
        assert list(report[figure]["by_engine"]) == ["engine-0", "engine-1"]
