"""Rounds from the command line, against a real gateway. (What is printed of each state: test_client.py.)"""

from pathlib import Path

from support.commands import ruminate
from support.gateways import running_gateway


async def test_the_open_round_is_cancelled_with_its_reason(tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "home", ["http://127.0.0.1:9"]) as house:
        asked = (await house.service.post("/api/rounds", json={"algorithm": "grpo"})).json()
        done = await ruminate(house, "cancel", "--reason", "too hot")
        assert (done.returncode, f"round {asked['id']} is cancelled" in done.stdout) == (0, True), done.stderr
        view = (await house.service.get(f"/api/rounds/{asked['id']}")).json()
        assert (view["state"], "too hot" in view["error"]) == ("cancelled", True)
        again = await ruminate(house, "cancel")
        assert (again.returncode, "no round is open" in again.stderr) == (1, True)
