"""What a forwarded piece costs: the processor's time of a bare pass-through and of the gateway for each event of long
answers, an event at a time as an engine writes them. `python -m bench.chunks`.

Long answers, so that what a request costs by itself is a small part. What counts is the processor's time, not how long
it took: the stub engine writes at a pace that the machine can follow. The last line is JSON.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from bench.fronts import fronts
from bench.load import load

EVENTS = 1000  # of an answer
RATE = 4000  # events a second of all streams together, as many as a small engine on two cores writes


def measure(concurrency: int, events: int, rate: int, rounds: int) -> list[dict[str, Any]]:
    """Every way at one concurrency."""
    import uvloop

    rows = []
    with tempfile.TemporaryDirectory() as folder, fronts(Path(folder), concurrency / rate, None, events) as ways:
        for front in ways[1:]:
            used = front.cpu_seconds()
            figures = uvloop.run(load(front.port, front.key, concurrency, concurrency * rounds))
            pieces = concurrency * (rounds + 1) * events
            cost = (front.cpu_seconds() - used) / pieces * 1e6
            rows.append({"way": front.name, "concurrency": concurrency, "us_per_event": round(cost, 2), **figures})
            print(f"{front.name:8} x{concurrency:<4} {cost:7.2f} µs an event", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", default="16,64")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--rounds", type=int, default=1, help="answers of each connection, beside one that warms up")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for concurrency in map(int, arguments.concurrency.split(",")):
        rows += measure(concurrency, arguments.events, arguments.rate, arguments.rounds)
    print(json.dumps({"bench": "chunks", "rows": rows}))


if __name__ == "__main__":
    main()
