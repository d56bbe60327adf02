"""What can stand before an engine in a benchmark: nothing, a bare pass-through, this gateway, LiteLLM's proxy.

Each is started as a process of its own, on a free port, and ended for sure.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.stack import ended_by_sigterm
from bench.stub_engine import EVENTS
from cli.checks import free_port

START_SECONDS = 120.0  # LiteLLM imports for half a minute on a busy machine
LITELLM_KEY = "sk-bench-litellm"
WIDE = {
    "REQUESTS_PER_MINUTE": "100000000", "TOKENS_PER_MINUTE": "100000000000", "CONCURRENT_ANSWERS": "100000",
}  # fmt: skip
"""Limits that are counted like any others and never reached."""


@dataclass
class Front:
    """One way to the engine: `key` is what its requests carry."""

    name: str
    port: int
    key: str
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """What it has used so far, of all its threads."""
        return cpu_seconds(self.process.pid)

    def resident_mib(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(dict(line.split(":", 1) for line in lines)["VmRSS"].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def fronts(home: Path, gap: float, litellm: Path | None, events: int = EVENTS) -> Iterator[list[Front]]:
    """The stub engine itself (`direct`) and what stands before it; LiteLLM where its environment is given."""
    with ended_by_sigterm(), ExitStack() as stack:
        ports = [free_port("127.0.0.1") for _ in range(2)]
        engine = f"http://127.0.0.1:{ports[0]}"
        stub = [sys.executable, "-m", "bench.stub_engine", "--port", str(ports[0]), "--gap", str(gap)]
        stub += ["--events", str(events)]
        found = [stack.enter_context(running("direct", home, ports[0], stub))]
        found.append(stack.enter_context(bare(engine, home)))
        settings = {
            "RUMINATE_HOME": str(home), "RUMINATE_SERVER_PORT": str(ports[1]), "RUMINATE_SERVER_BASE_MODEL": "stub",
            "RUMINATE_SERVER_ENGINES": json.dumps([engine]), "RUMINATE_SERVICE_KEY": "sk-bench",
            **{f"RUMINATE_SERVER_{name}": value for name, value in WIDE.items()},
        }  # fmt: skip
        command, key = [sys.executable, "-m", "server"], make_key(home)
        found.append(stack.enter_context(running("gateway", home, ports[1], command, key, env=settings)))
        if litellm is not None:
            found.append(stack.enter_context(litellm_proxy(engine, home, litellm)))
        yield found


@contextmanager
def bare(engine: str, home: Path) -> Iterator[Front]:
    """The bare pass-through before any engine."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "bench.bare", "--port", str(port), "--engine", engine]
    with running("bare", home, port, command) as front:
        yield front


@contextmanager
def litellm_proxy(engine: str, home: Path, folder: Path) -> Iterator[Front]:
    """LiteLLM's proxy, of the virtual environment `folder`, before any engine."""
    port = free_port("127.0.0.1")
    command = [str(folder / "bin" / "litellm"), "--config", str(_litellm_config(home, engine))]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    off = {"LITELLM_TELEMETRY": "False", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with running("litellm", home, port, command, LITELLM_KEY, "/health/liveliness", off) as front:
        yield front


def litellm_of(folder: str | None) -> Path | None:
    """The virtual environment that LiteLLM's proxy is in. Without it there is no such column, and that is said."""
    if folder is None:
        print("LiteLLM: not measured; --litellm FOLDER names a virtual environment with `pip install 'litellm[proxy]'`")
        return None
    if not (Path(folder) / "bin" / "litellm").is_file():
        raise SystemExit(f"--litellm {folder}: there is no bin/litellm; make it with `pip install 'litellm[proxy]'`")
    return Path(folder)


def make_key(home: Path) -> str:
    """A user's key in the database that the gateway will open, which trains on what they say."""
    from db.queries import users
    from db.session import Database

    database = Database(f"sqlite:///{home / 'ruminate.db'}")
    database.migrate()
    with database.transaction() as session:
        key = users.create_key(session, users.ensure_user(session, "bench", consent="train").id)[1]
    database.close()
    return key


def _litellm_config(home: Path, engine: str) -> Path:
    """Authentication by one key, no database, nothing logged: as little as it can do."""
    model = {"model": "openai/ruminate-v0", "api_base": f"{engine}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "ruminate-v0", "litellm_params": model}],
        "general_settings": {"master_key": LITELLM_KEY},
        "litellm_settings": {"telemetry": False, "drop_params": True},
    }
    path = home / "litellm.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


@contextmanager
def running(
    name: str,
    home: Path,
    port: int,
    command: list[str],
    key: str = "none",
    path: str = "/health",
    env: dict[str, str] | None = None,
) -> Iterator[Front]:
    """A process that answers at `path` once it is ready; what it says is in `home`."""
    log = home / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | (env or {}), stdout=out, stderr=out, process_group=0)
    try:
        front = Front(name, port, key, process)
        _wait(front, path, log)
        yield front
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)


def _wait(front: Front, path: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{front.port}{path}", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not there yet
        if front.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{front.name} did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)
