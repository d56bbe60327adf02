"""Engines from the command line, against a real gateway."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from support.fake_engine import FakeEngine
from support.gateways import SERVICE_KEY, Running, running_gateway


async def ruminate(house: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "engines", *arguments]
    values = os.environ | {"RUMINATE_GATEWAY": house.url, "RUMINATE_SERVICE_KEY": SERVICE_KEY}
    return await asyncio.to_thread(
        subprocess.run, command, env=values, capture_output=True, text=True, timeout=60, check=False
    )


async def test_an_engine_is_added_listed_and_removed(tmp_path: Path) -> None:
    first, second = FakeEngine(), FakeEngine()
    await first.start()
    await second.start()
    async with running_gateway(tmp_path / "home", [first.url]) as house:
        await house.until_ready()
        added = await ruminate(house, "add", second.url)
        assert (added.returncode, second.url in added.stdout) == (0, True), added.stderr
        rows = json.loads((await ruminate(house, "list", "--json")).stdout)
        assert [(row["url"], row["in_settings"]) for row in rows] == [(first.url, True), (second.url, False)]
        assert (await ruminate(house, "remove", first.url)).returncode == 0
        refused = await ruminate(house, "remove", second.url)
        assert refused.returncode != 0
        assert "only engine" in refused.stderr
        assert second.url in (await ruminate(house, "list")).stdout
    await first.stop()
    await second.stop()
