"""Starts the whole house as `make up` does, in a home of its own and on ports that the system chooses.

SQLite and no Redis unless the settings name others, as `support.stores` does for a run that asks for them;
`another_gateway` puts a second one beside the house's own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import text

from cli.profiles import TINY
from db.session import Database

START_SECONDS = 600  # cold and beside other things; 30 where nothing else runs
END_SECONDS = 10  # what `ruminate up` promises after Ctrl-C


@dataclass
class RunningHouse:
    """A house that is up. `process` is the supervisor; its children are engine, gateway, trainer and page."""

    process: subprocess.Popen[str]
    home: Path
    gateway: str
    ui: str
    env: dict[str, str]

    def ruminate(
        self, *arguments: str, gateway: str | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run one command of ours against this house, or another `gateway` of it."""
        command = [sys.executable, "-m", "cli.main", *arguments]
        env = self.env | {"RUMINATE_GATEWAY": gateway or self.gateway}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)

    def children(self) -> list[psutil.Process]:
        """Every process of the house but the supervisor."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def pid_of(self, name: str) -> int:
        """The process id of "engine", "server", "trainer" or "ui" when the house came up."""
        return int(json.loads((self.home / "run" / "house.json").read_text())["processes"][name])

    def rows(self, query: str) -> list[Any]:
        """What its database says, SQLite in its home or the one that it was given."""
        database = Database(self.env.get("RUMINATE_DATABASE_URL") or f"sqlite:///{self.home / 'ruminate.db'}")
        try:
            with database.reading() as session:
                return list(session.execute(text(query)))
        finally:
            database.close()

    def printed(self) -> str:
        """What the supervisor has printed so far."""
        return (self.home / "printed.txt").read_text()

    def logged(self, name: str) -> str:
        """The end of a process's log."""
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")[-4000:]

    def end_without_a_trace(self, least: int) -> None:
        """Ctrl-C: it ends with exit code 0 in the promised time, and of its `least` processes or more none is left."""
        children = self.children()
        assert len(children) >= least, children
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        assert time.monotonic() - begun < END_SECONDS
        assert self.process.returncode == 0, self.printed()
        _, alive = psutil.wait_procs(children, timeout=1)
        assert [one for one in alive if not _is_zombie(one)] == []


@contextmanager
def running_house(home: Path, **settings: Any) -> Iterator[RunningHouse]:
    """Bring a tiny house up and end it at the end, whatever happened. `settings`: without RUMINATE_, in any case."""
    env = {
        **os.environ,
        "RUMINATE_HOME": str(home),
        "RUMINATE_PROFILE": "tiny",
        "RUMINATE_PORT": "0",
        "RUMINATE_UI_PORT": "0",
        "RUMINATE_START_TIMEOUT_S": str(START_SECONDS - 10),  # a slow machine's engine is no fault of the house
        **{f"RUMINATE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    home.mkdir(parents=True, exist_ok=True)
    with (home / "printed.txt").open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "cli.main", "up"], env=env, stdout=sink, stderr=subprocess.STDOUT, text=True
        )
    try:
        run_file, deadline = home / "run" / "house.json", time.monotonic() + START_SECONDS
        while not run_file.exists():
            printed = (home / "printed.txt").read_text()
            assert process.poll() is None, f"the house did not come up:\n{printed}"
            assert time.monotonic() < deadline, f"the house is not up after {START_SECONDS} s:\n{printed}"
            time.sleep(0.2)
        state = json.loads(run_file.read_text())
        printed = (home / "printed.txt").read_text()  # the start shows what it waits for, and where each process logs
        assert all(f"{name:8} ready after" in printed for name in ("engine", "server")), printed
        assert "logs in" in printed, printed
        yield RunningHouse(process, home, state["gateway"], state["ui"], env)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def another_gateway(house: RunningHouse, home: Path) -> Iterator[str]:
    """A second gateway of the house's database, Redis and engine, with a home of its own as on another machine.

    Gives its base URL. At the end of the block it is asked to end, and has to.
    """
    engines = json.loads(house.ruminate("engines", "list", "--json").stdout)
    env = {
        **{f"RUMINATE_SERVER_{name}": value for name, value in TINY.server.items()},
        **house.env,
        "RUMINATE_HOME": str(home),
        "RUMINATE_SERVICE_KEY": (house.home / "service.key").read_text().strip(),
        "RUMINATE_SERVER_PORT": "0",
        "RUMINATE_SERVER_ENGINES": json.dumps([engine["url"] for engine in engines]),
        "RUMINATE_SERVER_BASE_MODEL": TINY.base_model,
    }
    home.mkdir(parents=True)
    said, log = home / "said.txt", home / "log.txt"
    with said.open("w") as out, log.open("w") as err:
        process = subprocess.Popen([sys.executable, "-m", "server"], env=env, stdout=out, stderr=err)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(url := said.read_text().removeprefix("gateway on ").strip()):
            assert process.poll() is None, f"the second gateway did not come up:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"the second gateway is not ready:\n{log.read_text()}"
            time.sleep(0.2)
        yield url
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _is_ready(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return bool(url) and httpx.get(f"{url}/health", timeout=5, verify=False).status_code == 200
    return False


def _is_zombie(process: psutil.Process) -> bool:
    """Whether it has ended, and only waits for whoever is to read its exit code: on some machines nobody is."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
