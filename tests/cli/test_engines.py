"""Engines from the command line, against a real gateway."""

import json
from pathlib import Path

from support.commands import ruminate
from support.fake_engine import FakeEngine
from support.gateways import running_gateway


async def test_an_engine_is_added_listed_and_removed(tmp_path: Path) -> None:
    first, second = FakeEngine(), FakeEngine()
    await first.start()
    await second.start()
    async with running_gateway(tmp_path / "home", [first.url]) as house:
        await house.until_ready()
        added = await ruminate(house, "engines", "add", second.url)
        assert (added.returncode, second.url in added.stdout) == (0, True), added.stderr
        rows = json.loads((await ruminate(house, "engines", "list", "--json")).stdout)
        assert [(row["url"], row["in_settings"]) for row in rows] == [(first.url, True), (second.url, False)]
        assert (await ruminate(house, "engines", "remove", first.url)).returncode == 0
        refused = await ruminate(house, "engines", "remove", second.url)
        assert refused.returncode != 0
        assert "only engine" in refused.stderr
        assert second.url in (await ruminate(house, "engines", "list")).stdout
    await first.stop()
    await second.stop()
