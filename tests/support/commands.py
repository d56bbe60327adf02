"""For tests of commands: one in a process of its own, a client whose gateway is a function, and a round as told."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
from support.gateways import SERVICE_KEY, Running

from cli.client import GatewayClient

Handler = Callable[[httpx.Request], httpx.Response]


async def ruminate(house: Running, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *arguments]
    values = os.environ | {"RUMINATE_GATEWAY": house.url, "RUMINATE_SERVICE_KEY": SERVICE_KEY} | env
    return await asyncio.to_thread(
        subprocess.run, command, env=values, capture_output=True, text=True, timeout=60, check=False
    )


def client(handler: Handler) -> GatewayClient:
    return GatewayClient("http://gateway/v1", "rk-1", transport=httpx.MockTransport(handler))


def round_view(state: str, **more: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("phase", "step", "total_steps", "parent", "candidate", "verdict", "error", "started_at"))
    return {**empty, "id": 4, "state": state, "algorithm": "grpo", "requested_by": "me", "trigger": "person", **more}
