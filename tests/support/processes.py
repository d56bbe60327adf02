"""Gateways as processes of their own, started as in a deployment, so that a test can kill one.

`Forked` is for tests that kill many: its processes are copies of one that has imported everything already.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from support.gateways import SERVICE_KEY

START_SECONDS = 180  # of Python and its imports, beside whatever else the machine does


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
        async with asyncio.timeout(START_SECONDS):
            while (await self.http.get("/health")).status_code != 200:  # noqa: ASYNC110  it signals nothing
                await asyncio.sleep(0.05)


@asynccontextmanager
async def gateway_process(home: Path, engines: list[str], **settings: Any) -> AsyncIterator[Process]:
    """`settings` by their names in the environment, without RUMINATE_SERVER_ where they have it."""
    prefixed = _environment(home, engines, settings)
    log = _log(home)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", stdout=asyncio.subprocess.PIPE, stderr=log, env=os.environ | prefixed
    )
    os.close(log)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        assert line.startswith(b"gateway on "), f"see {home}/log"
        url = line.split()[-1].decode()
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(keepalive_expiry=1)) as http:
            await _listening(http)
            yield Process(url, process.pid, http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Forked:
    """A gateway that is killed and started again, each time at `url` with the same home; `settings` as above."""

    def __init__(self, home: Path, engines: list[str], **settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self._home = f"http://127.0.0.1:{port}", home
        self._environment = _environment(home, engines, {"PORT": str(port), "WATCH_SECONDS": "0.05"} | settings)
        self._process: Any = None
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["server.app", "server.__main__", "db.migrate", "uvicorn", "uvloop"])

    async def start(self, **settings: str) -> None:
        """Return once it answers."""
        log = _log(self._home)
        os.close(log)
        environment = self._environment | {f"RUMINATE_SERVER_{name}": value for name, value in settings.items()}
        self._process = self._context.Process(target=_serve, args=(environment, str(self._home / "log")), daemon=True)
        await asyncio.to_thread(self._process.start)
        async with httpx.AsyncClient(base_url=self.url) as http, asyncio.timeout(START_SECONDS):
            while True:
                assert self._process.is_alive(), f"see {self._home}/log"
                try:
                    if (await http.get("/health")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """kill -9. Returns once it is gone."""
        self._process.kill()
        self._process.join()

    def end(self) -> None:
        """The same at the end of a test, also where it never started."""
        if self._process is not None:
            self.kill()


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
    } | settings  # fmt: skip
    return {k if k.startswith("RUMINATE_") else f"RUMINATE_SERVER_{k}": v for k, v in values.items()}


def _log(home: Path) -> int:
    home.mkdir(parents=True, exist_ok=True)
    return os.open(home / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


async def _listening(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                await http.get("/health")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
