"""What a round does to people who chat, and what they do to it. `make bench-interference`, on a machine that does
nothing else: an engine, a gateway and a trainer run for some 30 minutes on 2 cores.

Three parts: four chat streams without a round (idle), the same while a round runs, and a round while nobody chats, as
long as the one before. Prints the time to the first piece and the gaps between pieces at the 50th and 95th percentile,
and the round's seconds with and without chats, each with the cores that the machine used meanwhile. `floor` is how much
slower the round has to be where the streams keep their idle pace and no core rests: its own processor time shared out
over what they leave. Goal: the 95th at most idle plus 50 ms, the round at most 15 % slower. JSON is the last line.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil

from bench.rounds import Bench, unseen
from bench.stack import Stack, running
from cli.profiles import TINY

MOST_MS, MOST_SLOWER = 50.0, 0.15
"""The goal."""


def main() -> int:
    """Run the three parts and print the figures; 1 when a part of them came to nothing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--idle-seconds", type=float, default=120.0, help="of chatting without a round")
    parser.add_argument("--steps", type=int, default=10, help="of each round")
    parser.add_argument("--rounds", type=int, default=2, help="with chats, and as many without")
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--pause", type=float, default=0.0, help="mean seconds that a person reads before asking again")
    options = parser.parse_args()
    asked = unseen(64, TINY)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), profile=TINY) as stack:
        bench = Bench(stack, TINY, asked, samples=1)
        idle, idle_cores = chatting(stack, options, asked, partial(used, lambda: time.sleep(options.idle_seconds)))
        busy, alone, together = Times(), [], []
        for number in range(options.rounds):  # in turns, so that a machine that grows busier meets both alike
            work = partial(used, partial(one_round, bench, number, options.steps))
            alone.append(work())
            times, round_ = chatting(stack, options, asked, work)
            busy.add(times)
            together.append(round_)
    report = compared(idle, idle_cores["cores"], busy, alone, together)
    setting = {"streams": options.streams, "pause_s": options.pause, "steps": options.steps}
    print(json.dumps({"bench": "interference"} | setting | report))
    return 0 if idle.firsts and busy.firsts and not idle.failed and not busy.failed else 1


class Times:
    """Of streams: milliseconds to the first piece and between pieces, and the answers that failed."""

    def __init__(self) -> None:
        self.firsts: list[float] = []
        self.gaps: list[float] = []
        self.failed: list[str] = []

    def add(self, other: "Times") -> None:
        self.firsts += other.firsts
        self.gaps += other.gaps
        self.failed += other.failed

    def percentiles(self) -> dict[str, float]:
        """Of both, in ms."""
        found = {}
        for name, values in (("first", self.firsts), ("gap", self.gaps)):
            for share in (50, 95):
                found[f"{name}_ms_p{share}"] = round(float(np.percentile(values, share)), 1) if values else float("nan")
        return found


def used(work: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """What `work` returns, and `cores`: how many of the machine's were busy meanwhile."""
    busy, began = _busy_seconds(), time.monotonic()
    found = work() or {}
    return found | {"cores": (_busy_seconds() - busy) / (time.monotonic() - began)}


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def one_round(bench: Bench, number: int, steps: int) -> dict[str, Any]:
    """A round by the trainer's own process, with the same seed whether people chat or not."""
    found = bench.round(1000 + number, {"steps": steps})
    if found["exit"] not in (0, 3):  # published, or trained and put away
        raise RuntimeError(f"the round ended with exit code {found['exit']}: {found['error']}")
    return found


def chatting(stack: Stack, options: Any, asked: list[Any], work: Callable[[], Any]) -> tuple[Times, Any]:
    """What `options.streams` people see while `work` is done in a thread; each reads an answer for a while, by chance
    (exponential, of mean `options.pause` seconds), and asks again."""
    over = threading.Event()
    result: list[Any] = []
    failure: list[BaseException] = []

    def do() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001  it is raised again below, in the thread that waits
            failure.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=do, name="work")
    thread.start()
    times = asyncio.run(_streams(stack.gateway, options, asked, over))
    thread.join()
    if failure:
        raise failure[0]
    return times, result[0]


async def _streams(gateway: str, options: Any, asked: list[Any], over: threading.Event) -> Times:
    times = Times()

    async def person(number: int, session: aiohttp.ClientSession) -> None:
        turn, reads = number, random.Random(number)
        while not over.is_set():
            if options.pause:
                await asyncio.sleep(reads.expovariate(1 / options.pause))
            body = {"model": "ruminate", "messages": asked[turn % len(asked)], "stream": True}
            body |= {"max_tokens": options.max_tokens, "ruminate": {"consent": "history"}}
            turn += options.streams
            before = began = time.perf_counter()
            async with session.post("/v1/chat/completions", json=body) as answer:
                if answer.status != 200:
                    times.failed.append((await answer.text())[:200])
                    await asyncio.sleep(1)
                    continue
                async for line in answer.content:
                    if line.startswith(b'data: {"error"'):
                        times.failed.append(line[:200].decode(errors="replace"))
                    if not line.startswith(b"data: {"):
                        continue
                    now = time.perf_counter()
                    (times.firsts if before is began else times.gaps).append((now - before) * 1000)
                    before = now

    async with aiohttp.ClientSession(gateway, timeout=aiohttp.ClientTimeout(total=600)) as session:
        await asyncio.gather(*(person(number, session) for number in range(options.streams)))
    return times


def compared(
    idle: Times, idle_cores: float, busy: Times, alone: list[dict[str, Any]], together: list[dict[str, Any]]
) -> dict[str, Any]:
    """The figures side by side, and whether they reach the goal."""
    quiet, loud = idle.percentiles(), busy.percentiles()
    added = {name: round(loud[name] - value, 1) for name, value in quiet.items()}
    seconds = [float(np.median([one["seconds"] for one in some])) for some in (alone, together)]
    slower = seconds[1] / seconds[0] - 1
    cores = [float(np.median([one["cores"] for one in some])) for some in (alone, together)]
    left = max(1e-9, (psutil.cpu_count() or 1) - idle_cores)
    return {
        "idle": quiet | {"answers": len(idle.firsts), "failed": len(idle.failed)},
        "during_a_round": loud | {"answers": len(busy.firsts), "failed": len(busy.failed)},
        "added_ms": added,
        "round_s": {"alone": round(seconds[0], 1), "with_chats": round(seconds[1], 1), "slower": round(slower, 3)},
        "cores": {"idle": round(idle_cores, 2), "alone": round(cores[0], 2), "with_chats": round(cores[1], 2)},
        "floor": round(max(0.0, cores[0] / left - 1), 3),
        "reached": max(added["first_ms_p95"], added["gap_ms_p95"]) <= MOST_MS and slower <= MOST_SLOWER,
        "failures": (idle.failed + busy.failed)[:5],
    }


if __name__ == "__main__":
    sys.exit(main())
