"""A lone stream from the CPU engine: with vLLM's own busy waits and with ours (cli/cpu_waiting.py), in one run.

The two engines run one after the other, in turns. For each: seconds to the first and to the last piece, the longest gap
and the share of pieces that came less than 0.2 ms after the one before, which were held back. JSON is the last line.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from statistics import median
from typing import Any

import httpx

from bench.adapters import ready
from cli.checks import free_port
from cli.engine import engine_command, engine_environment
from cli.profiles import TINY

ENVIRONMENTS = {"vllm": {"VLLM_PLUGINS": ""}, "ours": {}}  # no plugin of ours: vLLM as it is
HELD_BACK_S = 0.0002


def main() -> int:
    """Run both engines and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=2, help="starts of each engine")
    parser.add_argument("--streams", type=int, default=12, help="streams of each start, one after another")
    options = parser.parse_args()
    streams: dict[str, list[dict[str, float]]] = {name: [] for name in ENVIRONMENTS}
    for _ in range(options.turns):
        for name, environment in ENVIRONMENTS.items():
            streams[name] += asyncio.run(measure(environment, options.streams))
    found: dict[str, Any] = {}
    for name, rows in streams.items():
        found[name] = {key: round(median(row[key] for row in rows), 4) for key in rows[0]}
        found[name] |= {"longest_gap_s_worst": round(max(row["longest_gap_s"] for row in rows), 4)}
        print(name, json.dumps(found[name]), flush=True)
    ratios = {key: round(found["ours"][key] / value, 2) for key, value in found["vllm"].items() if value}
    print(json.dumps({"bench": "waiting", "medians": found, "ours_to_vllm": ratios}))
    return 0


async def measure(environment: dict[str, str], streams: int) -> list[dict[str, float]]:
    """The figures of each stream of an engine of its own."""
    port = free_port("127.0.0.1")
    env = os.environ | engine_environment(TINY, offline=True) | environment
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        # in a session of its own, as a container is: a kernel with autogroups schedules by session
        *engine_command(TINY, port),
        env=env,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            await ready(http, process)
            await one(http, 2)  # not counted: the first one of an engine compiles and allocates
            return [await one(http, dinners) for dinners in range(2, 2 + streams)]
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


async def one(http: httpx.AsyncClient, dinners: int) -> dict[str, float]:
    """One streamed answer: its times in seconds from the request, and the share of pieces that came in a bunch."""
    body = {
        "model": "ruminate-v0",
        "messages": [{"role": "user", "content": f"Plan {dinners} dinners for two, no nuts."}],
        "stream": True,
        "temperature": 0,
    }
    began, times = time.perf_counter(), []
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                times.append(time.perf_counter() - began)
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    return {
        "first_s": times[0],
        "last_s": times[-1],
        "longest_gap_s": max(gaps),
        "held_back_share": sum(gap < HELD_BACK_S for gap in gaps) / len(gaps),
        "pieces": len(times),
    }


if __name__ == "__main__":
    sys.exit(main())
