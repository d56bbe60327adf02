"""A real vLLM server on the CPU, started at most once for the whole run, with the command that `ruminate up` uses.

Serves the embedded policy where it is there, else a tiny one that is made in ten seconds. The test that kills it starts
it again itself.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from support.components import require_component

if TYPE_CHECKING:
    from support.gateways import Running

START_SECONDS = 240  # cold: three processes import torch one after another, beside whatever else the machine does


class RealEngine:
    """One vLLM process group. `url` stays the same over restarts."""

    def __init__(self, model: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.model, self.url = model, f"http://127.0.0.1:{self.port}"
        self.log = folder / "engine.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it answers."""
        from cli.engine import engine_command, engine_environment
        from cli.profiles import TINY

        longest = json.loads((self.model / "config.json").read_text())["max_position_embeddings"]
        size = replace(TINY.engine, max_model_len=min(longest, TINY.engine.max_model_len))
        profile = replace(TINY, base_model=str(self.model), engine=size)
        environment = os.environ | engine_environment(profile, offline=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                engine_command(profile, self.port), env=environment, stdout=log, stderr=log, process_group=0
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self._process.poll() is None, f"vLLM ended: {self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"vLLM did not start: {self.log.read_text()[-3000:]}"
            time.sleep(0.5)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, verify=False).status_code == 200
        except httpx.TransportError:
            return False

    def forget_adapters(self) -> None:
        """Unload what gateways of earlier tests have left."""
        with httpx.Client(base_url=self.url, timeout=30) as http:
            for card in http.get("/v1/models").raise_for_status().json()["data"]:
                if card.get("parent") is not None:
                    http.post("/v1/unload_lora_adapter", json={"lora_name": card["id"]}).raise_for_status()

    def kill(self) -> None:
        """kill -9 of all its processes, as the kernel does when memory runs out."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert not self.listens(), "another one of its processes holds its port"
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process = None

    def listens(self) -> bool:
        """Whether anybody takes connections at its address."""
        with socket.socket() as client:
            client.settimeout(5)
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Ask it to end, and make sure that it did."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its children, should any have stayed
        self._process.wait()
        self._process = None


@asynccontextmanager
async def gateway_before(engine: RealEngine, home: Path) -> AsyncIterator["Running"]:
    """A gateway before it, ready; the engine is started again where a test ended it."""
    from support.gateways import running_gateway

    if not engine.answers():
        await asyncio.to_thread(engine.start)
    async with running_gateway(home, [engine.url], base_model=str(engine.model), engine_wait_seconds=120) as running:
        await running.until_ready()
        yield running


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny thinking model: the embedded one, or a quickly made one."""
    embedded = Path(__file__).parents[2] / "models" / "tiny" / "policy"
    if (embedded / "model.safetensors").is_file():
        return embedded
    from support.tiny_policy import make_policy

    return make_policy(tmp_path_factory.mktemp("models") / "policy", head_dim=32)


@pytest.fixture(scope="session")
def real_engine(tiny_base: Path) -> Iterator[RealEngine]:
    """A running vLLM server; adapters that a test leaves loaded are unloaded by the next test's gateway."""
    require_component(importlib.util.find_spec("vllm") is not None, "vLLM")
    with tempfile.TemporaryDirectory() as folder:
        engine = RealEngine(tiny_base, Path(folder))
        try:
            engine.start()
            yield engine
        finally:
            engine.stop()
