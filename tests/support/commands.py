"""The command line in a process of its own, against a gateway that a test runs."""

import asyncio
import os
import subprocess
import sys

from support.gateways import SERVICE_KEY, Running


async def ruminate(house: Running, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *arguments]
    values = os.environ | {"RUMINATE_GATEWAY": house.url, "RUMINATE_SERVICE_KEY": SERVICE_KEY} | env
    return await asyncio.to_thread(
        subprocess.run, command, env=values, capture_output=True, text=True, timeout=60, check=False
    )
