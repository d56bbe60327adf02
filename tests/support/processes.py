"""Gateways as processes of their own, started as in a deployment, so that a test can kill one."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from support.gateways import SERVICE_KEY

START_SECONDS = 60  # of Python and its imports, beside whatever else the machine does


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
    values = {
        "RUMINATE_HOME": str(home), "RUMINATE_SERVICE_KEY": SERVICE_KEY, "PORT": "0",
        "ENGINES": orjson.dumps(engines).decode(), "LOOPBACK_WITHOUT_KEY": "true", "DEFAULT_CONSENT": "train",
        "REQUESTS_PER_MINUTE": "0", "TOKENS_PER_MINUTE": "0", "CONCURRENT_ANSWERS": "0",
    } | settings  # fmt: skip
    prefixed = {k if k.startswith("RUMINATE_") else f"RUMINATE_SERVER_{k}": v for k, v in values.items()}
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
