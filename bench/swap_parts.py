"""What each part of a swap does to people's tokens: load, probe, flip and unload, one at a time, before one engine.

No gateway: the parts are called as it calls them, while streams ask without pause for answers by one adapter. For each
part: how long it takes, the processor time of the engine's processes meanwhile, and the gaps between the pieces of
streams that overlap it, beside those while nothing happens. The probe is asked for in requests of several sizes
(`--tokens`; 0: all at once). With `--streams 0` the processor time is that of the part alone, which other work on the
machine changes little: one step of the worker is what every stream waits for. JSON is the last line.
"""

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
import psutil

from bench.adapters import ready
from bench.load import Client
from bench.swap_weights import prompts, write_weights
from cli.checks import free_port
from cli.engine import engine_command, engine_environment
from cli.profiles import TINY
from server.engine import Engine, new_session
from server.manifest import check_checkpoint
from server.probe import probe_logprobs, shared

SECONDS = 30.0  # for a call
FLIP_S = 1.0  # of new requests for the other adapter, whose prefixes the engine has not seen
ADAPTERS = ("one", "other", "next")  # people have the first two in turns


class Span(NamedTuple):
    """When a part began and ended, and the processor time of each of the engine's processes until a moment later."""

    began: float
    ended: float
    used: dict[str, float]


class Streams:
    """Answers asked for without pause, and when each piece of one came."""

    def __init__(self, port: int, model: str) -> None:
        self.port, self.model = port, model
        self.gaps: list[tuple[float, float]] = []  # when each began and ended
        self.stop = False

    async def run(self, count: int) -> None:
        """Until `stop`."""
        await asyncio.gather(*(self._stream(number) for number in range(count)))

    async def _stream(self, number: int) -> None:
        questions = prompts(24)
        _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", self.port)
        while not self.stop:
            number += 1
            body = {"model": self.model, "messages": questions[number % len(questions)], "stream": True}
            data = json.dumps(body | {"temperature": 0, "max_tokens": 160}).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            _, seen = await client.ask(head.encode() + data)
            self.gaps += zip(seen, seen[1:], strict=False)
        client.transport.close()

    def during(self, begin: float, end: float) -> list[float]:
        """The gaps that overlap this time, in ms."""
        return [(b - a) * 1000 for a, b in self.gaps if b > begin and a < end]


def main() -> int:
    """Start an engine, run the parts, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--tokens", type=int, nargs="+", default=[0, 512, 320, 128], help="of one request of a probe")
    parser.add_argument("--pause", type=float, default=0.7, help="seconds between two parts")
    parser.add_argument("--calm", type=float, default=3.0, help="seconds until all streams are under way")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifests = {name: write_weights(Path(folder) / name, name, number) for number, name in enumerate(ADAPTERS)}
        probe = manifests["next"]["probe"]["sequences"]
        report = asyncio.run(measure(Path(folder), probe, options))
    sizes = [len(one["prompt_ids"]) + len(one["completion_ids"]) for one in shared(probe)[0]]
    report |= {"streams": options.streams, "probe_sequences": len(sizes), "probe_tokens": sum(sizes)}
    for part, found in report["parts"].items():
        print(f"{part:>20}: {found}")
    print(json.dumps({"bench": "swap_parts", **report}))
    return 0


async def measure(folder: Path, probe: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of an engine of its own."""
    port = free_port("127.0.0.1")
    env = os.environ | engine_environment(TINY, offline=True)
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *engine_command(TINY, port), env=env, stdout=quiet, stderr=quiet, process_group=0
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=300) as http:
            await ready(http, process)
        return await parts(port, folder, probe, options, named(process.pid))
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


async def parts(
    port: int, folder: Path, probe: list[dict[str, Any]], options: argparse.Namespace, processes: dict[str, int]
) -> dict[str, Any]:
    """Each part as often as told, amid the streams. `folder` holds the adapters."""
    times: dict[str, list[Span]] = {}

    async def timed(name: str, part: Callable[[], Awaitable[object]]) -> None:
        before, began = cpu(processes), time.perf_counter()
        await part()
        ended = time.perf_counter()
        await asyncio.sleep(options.pause)
        used = {process: (ms - before[process]) for process, ms in cpu(processes).items()}
        times.setdefault(name, []).append(Span(began, ended, {} if options.streams else used))

    async with new_session() as session:
        engine = Engine(f"http://127.0.0.1:{port}", session)
        streams = Streams(port, "turn-0")
        await engine.load("turn-0", str(folder / ADAPTERS[0]), SECONDS)
        writing = asyncio.create_task(streams.run(options.streams))
        await asyncio.sleep(options.calm)

        async def ask(tokens: int) -> None:
            await probe_logprobs(engine, "next", probe, tokens or math.inf)

        async def flip(turn: int) -> None:
            streams.model = f"turn-{turn}"
            await asyncio.sleep(FLIP_S)

        for turn in range(1, options.repeats + 1):
            await timed("nothing", lambda: asyncio.sleep(FLIP_S))
            await timed("check of files", lambda: asyncio.to_thread(check_checkpoint, folder / "next", "next", None))
            await timed("look", engine.observe)
            await timed("load", lambda: engine.load("next", str(folder / "next"), SECONDS))
            for tokens in options.tokens:
                await timed(f"probe by {tokens or 'all'}", partial(ask, tokens))
            await timed("unload", lambda: engine.unload("next", SECONDS))
            await engine.load(f"turn-{turn}", str(folder / ADAPTERS[turn % 2]), SECONDS)  # new to its cache by the name
            await asyncio.sleep(options.pause)
            await timed("flip", partial(flip, turn))
            await engine.unload(f"turn-{turn - 1}", SECONDS)  # what is being written on it goes on to its end
        streams.stop = True
        await writing
    return {"parts": {name: figures(streams, spans) for name, spans in times.items()}}


def figures(streams: Streams, spans: list[Span]) -> dict[str, float]:
    """Of one part: its milliseconds, and those of the gaps beside it."""
    took = [(span.ended - span.began) * 1000 for span in spans]
    found = {"ms": median(took), "ms_longest": max(took)}
    for process in spans[0].used:
        found[f"{process}_cpu_ms"] = median(span.used[process] for span in spans)
    gaps = [streams.during(span.began, span.ended) for span in spans]
    if together := sorted(gap for one in gaps for gap in one):
        found["longest_gap_ms"] = median(max(one, default=0.0) for one in gaps)
        found["gap_ms_p50"] = together[len(together) // 2]
        found["gap_ms_p99"] = together[int(len(together) * 0.99)]
    return {name: round(value, 1) for name, value in found.items()}


def cpu(processes: dict[str, int]) -> dict[str, float]:
    """Milliseconds that each has been on a processor, all of its threads together (Linux)."""
    return {
        name: sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6
        for name, pid in processes.items()
    }


def named(server: int) -> dict[str, int]:
    """An engine's processes by what they are, from the id of the first."""
    found = {"server": server}
    for child in psutil.Process(server).children(recursive=True):
        for word, name in (("EngineCore", "scheduler"), ("Worker", "worker")):
            if word in child.name() or any(word in part for part in child.cmdline()):
                found[name] = child.pid
    return found


if __name__ == "__main__":
    sys.exit(main())
