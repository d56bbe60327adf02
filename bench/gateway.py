"""What the gateway costs: a stub engine directly, through a bare pass-through, through the gateway and, where its
environment is named, through LiteLLM's proxy; streaming, in one run. `make bench-gateway`.

Authentication, limits, routing and recording are on. Two loads: `burst` (the stub writes its 65 events at once; what
stands before it is the bottleneck: requests per second) and `paced` (an event each 10 ms: what is added to the time to
the first event and to the gap between events). Requests per second depend on what else the machine does, so compare
ways within a row of one run, and the processor's time per request. Then the gateway's memory over many requests
(`--soak`), and the real engine in the same ways, by vLLM's own client (`--engine`). The last line is JSON.
"""

import argparse
import json
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.fronts import Front, fronts, litellm_of
from bench.load import load

PACE = 0.01  # seconds between the events of a paced stream
REPLAY_SECONDS = 120.0  # for what was spooled under load


def recorded(home: Path) -> int:
    """Turns that the gateway has brought into its database."""
    with sqlite3.connect(home / "ruminate.db") as connection:
        return int(connection.execute("select count(*) from generations where ending = 'complete'").fetchone()[0])


def measured(kind: str, front: Front, concurrency: int, requests: int) -> dict[str, Any]:
    """One way at one concurrency."""
    import uvloop

    memory, used = front.resident_mib(), front.cpu_seconds()
    try:
        figures = uvloop.run(load(front.port, front.key, concurrency, requests))
    except (RuntimeError, OSError) as error:
        if front.name != "litellm":
            raise
        print(f"{kind:6} {front.name:8} x{concurrency:<4} failed: {error}", flush=True)  # its failure ends no bench
        return {"load": kind, "way": front.name, "concurrency": concurrency, "failed": str(error)}
    cpu = (front.cpu_seconds() - used) / (requests + concurrency) * 1000
    row = {"load": kind, "way": front.name, "concurrency": concurrency, **figures, "cpu_ms_per_request": cpu}
    print(
        f"{kind:6} {front.name:8} x{concurrency:<4} {figures['requests_per_s']:8.0f} requests/s   "
        f"first event {figures['first_ms_p50']:7.2f} ms (p95 {figures['first_ms_p95']:7.2f})   "
        f"p99 gap {figures['gap_ms_p99']:6.2f} ms   {cpu:6.2f} ms of processor time",
        flush=True,
    )
    return row | {"rss_mib_before": memory, "rss_mib": front.resident_mib()}


def measure(kind: str, gap: float, concurrencies: list[int], requests: int, litellm: Path | None) -> list[Any]:
    """Every way at every concurrency, one after the other, on the same stub."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, fronts(Path(folder), gap, litellm) as ways:
        asked = 0
        for concurrency in concurrencies:
            for front in ways:
                count = asked_of(front.name, concurrency, requests)
                rows.append(measured(kind, front, concurrency, count))
                asked += (count + concurrency) * (front.name == "gateway")
        deadline = time.monotonic() + REPLAY_SECONDS
        while (found := recorded(Path(folder))) < asked and time.monotonic() < deadline:
            time.sleep(0.5)
        print(f"{kind}: {found} of {asked} turns recorded")
        rows.append({"load": kind, "asked": asked, "recorded": found})
    return rows


def asked_of(way: str, concurrency: int, requests: int) -> int:
    """Requests of a measurement: two of each client at least; of LiteLLM fewer, since it takes a while."""
    return max(concurrency, requests // 20) if way == "litellm" else max(2 * concurrency, requests)


def plan(loads: str, requests: int) -> list[tuple[str, float, int]]:
    """Of the loads that are named, "burst,paced": each with the seconds between its events, and its requests.

    Raises ValueError for one that there is none of.
    """
    known = {"burst": (0.0, requests), "paced": (PACE, max(64, requests // 16))}
    named = [one for one in loads.split(",") if one]
    if unknown := set(named) - known.keys():
        raise ValueError(f"there is no load {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
    return [(kind, *known[kind]) for kind in named]


def ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each burst: the gateway's requests per second to those of the other ways."""
    found: dict[str, dict[str, float]] = {}
    bursts = [row for row in rows if row.get("way") and row["load"] == "burst" and "failed" not in row]
    for own in (row for row in bursts if row["way"] == "gateway"):
        others = (row for row in bursts if row["concurrency"] == own["concurrency"] and row["way"] != "gateway")
        found[f"x{own['concurrency']}"] = {
            row["way"]: round(own["requests_per_s"] / row["requests_per_s"], 3) for row in others
        }
    return found


def added(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of paced streams: milliseconds to the first event (median) that each way adds to the stub's own."""
    paced = [row for row in rows if row.get("way") and row["load"] == "paced" and "failed" not in row]
    direct = {row["concurrency"]: row["first_ms_p50"] for row in paced if row["way"] == "direct"}
    found: dict[str, dict[str, float]] = {}
    for row in paced:
        if row["way"] != "direct":
            more = round(row["first_ms_p50"] - direct[row["concurrency"]], 2)
            found.setdefault(f"x{row['concurrency']}", {})[row["way"]] = more
    return found


def soak(requests: int, concurrency: int = 64, looks: int = 10) -> dict[str, Any]:
    """The gateway's resident memory (MiB) after each part of so many requests; the first part warms up."""
    import uvloop

    with tempfile.TemporaryDirectory() as folder, fronts(Path(folder), 0.0, None) as ways:
        own = next(way for way in ways if way.name == "gateway")
        seen = []
        for _ in range(looks):
            uvloop.run(load(own.port, own.key, concurrency, requests // looks))
            seen.append(round(own.resident_mib(), 1))
            print(f"soak   {requests // looks * len(seen):7} requests: {seen[-1]:.1f} MiB", flush=True)
    return {"requests": requests, "concurrency": concurrency, "mib": seen, "gained_mib": round(seen[-1] - seen[0], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="of each burst measurement")
    parser.add_argument("--concurrency", default="1,16,64,128", help="of every load and of the real engine")
    parser.add_argument("--loads", default="burst,paced", help="of the stub; empty: it is not asked")
    parser.add_argument("--litellm", help="folder of a virtual environment with LiteLLM's proxy")
    parser.add_argument("--soak", type=int, default=100_000, help="requests over which memory is watched; 0: none")
    parser.add_argument("--engine", action=argparse.BooleanOptionalAction, default=True, help="ask the real engine too")
    parser.add_argument("--apart", action="store_true", help="the engine on one core, all else on the others")
    arguments = parser.parse_args()
    try:
        loads = plan(arguments.loads, arguments.requests)
    except ValueError as error:
        parser.error(f"--loads: {error}")
    litellm = litellm_of(arguments.litellm)
    concurrencies = [int(one) for one in arguments.concurrency.split(",")]
    rows: list[Any] = []
    for kind, gap, requests in loads:
        rows += measure(kind, gap, concurrencies, requests, litellm)
    report: dict[str, Any] = {
        "bench": "gateway",
        "cores": os.cpu_count(),
        "ratios": ratios(rows),
        "added_ms": added(rows),
    }
    print(f"added to the first event, at the median, in ms: {report['added_ms']}", flush=True)
    if arguments.soak:
        report["soak"] = soak(arguments.soak)
    if arguments.engine:
        from bench.engine_load import measure as of_engine

        report["engine"] = of_engine(concurrencies, apart=arguments.apart, litellm=litellm)
    print(json.dumps(report | {"rows": rows}))


if __name__ == "__main__":
    main()
