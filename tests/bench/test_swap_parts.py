"""The bench of a swap's parts, with an engine that is a stand-in."""

import argparse
from pathlib import Path

from support.adapters import fake_probe, write_adapter, write_manifest
from support.fake_engine import FakeEngine

from bench.swap_parts import ADAPTERS, parts


async def test_each_part_is_timed_amid_streams_and_with_their_gaps(tmp_path: Path) -> None:
    engine = FakeEngine()
    await engine.start()
    engine.delay = 0.005
    for name in ADAPTERS:
        folder = write_adapter(tmp_path / name)
        write_manifest(folder, name, fake_probe())
    options = argparse.Namespace(streams=3, repeats=2, tokens=[0, 64], pause=0.05, calm=0.1)
    port = int(engine.url.rsplit(":", 1)[1])
    found = (await parts(port, tmp_path, fake_probe()["sequences"], options, {}))["parts"]
    await engine.stop()
    assert list(found) == [
        "nothing", "check of files", "look", "load", "probe by all", "probe by 64", "unload", "flip",
    ]  # fmt: skip
    assert all(one["ms_longest"] >= one["ms"] > 0 and one["longest_gap_ms"] > 0 for one in found.values())
    assert set(engine.served) == {"turn-0", "turn-1", "turn-2", "next"}
    assert (engine.loads, engine.unloads) == (5, 4)
