"""Gateways as processes of their own, so that a test can kill one.

They are copies of a process that has imported everything already, and go on as `python -m server` does from there.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import orjson
from support.gateways import SERVICE_KEY, http_to, until_ready

START_SECONDS = 180  # of Python and its imports, beside whatever else the machine does


def forking() -> ForkServerContext:
    """Makes processes that are copies of one, the same for the whole run, which has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["server.app", "server.__main__", "db.migrate", "uvicorn", "uvloop"])
    return context


@dataclass
class Process:
    """A gateway that answers at `url`."""

    url: str
    pid: int
    http: httpx.AsyncClient

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.pid, signal.SIGKILL)

    async def until_ready(self) -> None:
        await until_ready(self.http, START_SECONDS)


@asynccontextmanager
async def gateway_process(home: Path, engines: list[str], **settings: Any) -> AsyncIterator[Process]:
    """One that is ready. `settings` by their names in the environment, without RUMINATE_SERVER_ where they have it."""
    gateway = Forked(home, engines, **settings)
    try:
        await gateway.start()
        async with http_to(gateway.url) as http:
            yield Process(gateway.url, gateway.pid, http)
    finally:
        gateway.kill()


class Forked:
    """A gateway that may be killed and started again, each time at `url` with the same home."""

    def __init__(self, home: Path, engines: list[str], **settings: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url, self._home = f"http://127.0.0.1:{self.port}", home
        self._environment = _environment(home, engines, {"PORT": str(self.port)} | settings)
        self._process: BaseProcess | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    async def start(self, **settings: str) -> None:
        """Return once it is ready."""
        log = _log(self._home)
        os.close(log)
        environment = self._environment | {f"RUMINATE_SERVER_{name}": value for name, value in settings.items()}
        process = forking().Process(target=_serve, args=(environment, str(self._home / "log")), daemon=True)
        self._process = process
        await asyncio.to_thread(process.start)
        async with http_to(self.url) as http, asyncio.timeout(START_SECONDS):
            while True:
                assert process.is_alive(), f"see {self._home}/log"
                try:
                    if (await http.get("/health")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.02)

    async def end_in_order(self) -> int:
        """As a supervisor ends it. Returns its exit code."""
        assert self._process is not None
        os.kill(self.pid, signal.SIGTERM)
        await asyncio.to_thread(self._process.join, START_SECONDS)
        assert self._process.exitcode is not None, "it did not end"
        return self._process.exitcode

    def kill(self) -> None:
        """kill -9. Returns once it is gone."""
        if self._process is not None and self._process.pid is not None:
            self._process.kill()
            self._process.join()

    def end(self) -> None:
        """The same at the end of a test, also where it never started."""
        if self._process is not None:
            self.kill()


@contextmanager
def engine_process(delay: float) -> Iterator[tuple[str, int]]:
    """A fake engine as a process of its own, so that a test can stop it: its URL and process id."""
    ours, theirs = forking().Pipe()
    process = forking().Process(target=_engine, args=(theirs, delay), daemon=True)
    process.start()
    try:
        assert ours.poll(START_SECONDS), "the engine did not start"
        assert process.pid is not None
        yield ours.recv(), process.pid
    finally:
        process.kill()
        process.join()


def _engine(told: Connection, delay: float) -> None:
    from support.fake_engine import FakeEngine

    async def run() -> None:
        engine = FakeEngine()
        engine.delay = delay
        await engine.start()
        told.send(engine.url)
        await asyncio.Event().wait()

    asyncio.run(run())


def _serve(environment: dict[str, str], log: str) -> None:
    from server.__main__ import main

    os.environ.update(environment)
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.exit(main())


def _environment(home: Path, engines: list[str], settings: dict[str, str]) -> dict[str, str]:
    values = {
        "RUMINATE_HOME": str(home), "RUMINATE_SERVICE_KEY": SERVICE_KEY, "PORT": "0",
        "ENGINES": orjson.dumps(engines).decode(), "LOOPBACK_WITHOUT_KEY": "true", "DEFAULT_CONSENT": "train",
        "REQUESTS_PER_MINUTE": "0", "TOKENS_PER_MINUTE": "0", "CONCURRENT_ANSWERS": "0",
        "LOOKUP_SECONDS": "10", "RECORD_PATIENCE_SECONDS": "10",  # as in `running_gateway`
    } | settings  # fmt: skip
    return {k if k.startswith("RUMINATE_") else f"RUMINATE_SERVER_{k}": v for k, v in values.items()}


def _log(home: Path) -> int:
    home.mkdir(parents=True, exist_ok=True)
    return os.open(home / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
