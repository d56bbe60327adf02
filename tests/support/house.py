"""Starts the whole house as `make up` does, in a home of its own and on ports that the system chooses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass
class RunningHouse:
    """A house that is up. `process` is the supervisor; its children are engine, gateway, trainer and page."""

    process: subprocess.Popen[str]
    home: Path
    gateway: str
    ui: str
    env: dict[str, str]

    def ruminate(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run one command of ours against this house."""
        command = [sys.executable, "-m", "cli.main", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False)

    def children(self) -> list[psutil.Process]:
        """Every process of the house but the supervisor."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def pid_of(self, name: str) -> int:
        """The process id of "engine", "server", "trainer" or "ui" when the house came up."""
        return int(json.loads((self.home / "run" / "house.json").read_text())["processes"][name])

    def printed(self) -> str:
        """What the supervisor has printed so far."""
        return (self.home / "printed.txt").read_text()

    def stop(self) -> float:
        """Ctrl-C; returns the seconds until everything had ended."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        return time.monotonic() - begun


@contextmanager
def running_house(home: Path, **settings: Any) -> Iterator[RunningHouse]:
    """Bring a tiny house up and end it at the end, whatever happened."""
    env = {
        **os.environ,
        "RUMINATE_HOME": str(home),
        "RUMINATE_PROFILE": "tiny",
        "RUMINATE_PORT": "0",
        "RUMINATE_UI_PORT": "0",
        **{f"RUMINATE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    home.mkdir(parents=True, exist_ok=True)
    with (home / "printed.txt").open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "cli.main", "up"], env=env, stdout=sink, stderr=subprocess.STDOUT, text=True
        )
    try:
        run_file, deadline = home / "run" / "house.json", time.monotonic() + 600
        while not run_file.exists():
            printed = (home / "printed.txt").read_text()
            assert process.poll() is None, f"the house did not come up:\n{printed}"
            assert time.monotonic() < deadline, f"the house is not up after 600 s:\n{printed}"
            time.sleep(0.2)
        state = json.loads(run_file.read_text())
        yield RunningHouse(process, home, state["gateway"], state["ui"], {**env, "RUMINATE_GATEWAY": state["gateway"]})
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
