"""Engines and a gateway of their own for a benchmark, in a temporary home, on free ports; ended for sure."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from cli.checks import free_port
from cli.engine import engine_command, engine_environment
from cli.process import Supervised
from cli.profiles import TINY, UNLIMITED, Profile

KEY = "bench-service-key"
_START_S = 300.0  # several engines on two cores start one after another


@dataclass
class Stack:
    """What runs. `engines` and `gateway` are base URLs."""

    home: Path
    gateway: str
    engines: list[str]
    processes: dict[str, Supervised]

    @property
    def service(self) -> dict[str, str]:
        """The header that opens /internal."""
        return {"Authorization": f"Bearer {KEY}"}


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """A bench that is asked to end ends what it started."""

    def on_term(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, on_term)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def running(home: Path, engines: int = 1, profile: Profile = TINY, **server: str) -> Iterator[Stack]:
    """Start `engines` vLLM servers and one gateway over them. `server`: further settings of the gateway, by field."""
    ports = [free_port("127.0.0.1") for _ in range(engines + 1)]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    home.mkdir(parents=True, exist_ok=True)
    processes: dict[str, Supervised] = {}

    def start(name: str, command: list[str], env: dict[str, str], url: str) -> None:
        processes[name] = Supervised(name, command, env, home / f"{name}.log", lambda: _answers(url), print)
        processes[name].start()

    try:
        with ended_by_sigterm():
            for number in range(engines):
                env = engine_environment(profile, offline=True)
                start(f"engine-{number}", engine_command(profile, ports[number]), env, f"{urls[number]}/health")
            settings = {
                "HOST": "127.0.0.1",
                "PORT": str(ports[-1]),
                "ENGINES": json.dumps(urls[:-1]),
                "BASE_MODEL": profile.base_model,
                "THINKING_FORMAT": profile.thinking_format,
                "LOOPBACK_WITHOUT_KEY": "true",
                **UNLIMITED,
                **{name.upper(): value for name, value in server.items()},
            }
            env = {"RUMINATE_HOME": str(home), "RUMINATE_SERVICE_KEY": KEY}
            env |= {f"RUMINATE_SERVER_{name}": value for name, value in settings.items()}
            start("server", [sys.executable, "-m", "server"], env, f"{urls[-1]}/health")
            deadline = time.monotonic() + _START_S
            while not all(process.is_ready for process in processes.values()):
                for process in processes.values():
                    process.tick()
                    if process.failed_starts or time.monotonic() > deadline:
                        raise RuntimeError(f"{process.name} did not start:\n{process.last_lines(30)}")
                time.sleep(0.1)
            yield Stack(home, urls[-1], urls[:-1], processes)
    finally:
        for process in processes.values():
            process.ask_to_end()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not all(process.ended() for process in processes.values()):
            time.sleep(0.1)
        for process in processes.values():
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == 200
    except httpx.TransportError:
        return False  # not there yet: the caller asks again
