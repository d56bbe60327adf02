"""How long a warm start takes, from the command to the printed URL and the first token, and how long Ctrl-C takes."""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cli.client import GatewayClient

GOAL_UP_S, GOAL_STOP_S = 60, 10


def main() -> None:
    """Start, ask, stop, several times; print the medians and every run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = []
    for number in range(parser.parse_args().runs):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(one(Path(folder)))
        print(f"start {number + 1}: {runs[-1]}", flush=True)
    medians = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}
    print(f"from the command to the printed URL: {medians['up_s']} s (goal under {GOAL_UP_S} s)")
    print(f"from a chat to its first token: {medians['first_token_s']} s")
    print(f"from Ctrl-C to everything ended: {medians['stop_s']} s (goal under {GOAL_STOP_S} s)")
    print(json.dumps({"bench": "startup", "cores": os.cpu_count(), "median": medians, "runs": runs}))


def one(home: Path) -> dict[str, float]:
    """Seconds of one start in an empty home."""
    env = {**os.environ, "RUMINATE_HOME": str(home), "RUMINATE_PORT": "0", "RUMINATE_UI_PORT": "0"}
    began = time.monotonic()
    told = home / "up.log"
    with told.open("wb") as sink:
        house = subprocess.Popen([sys.executable, "-m", "cli.main", "up"], env=env, stdout=sink, stderr=sink)
    try:
        run_file = home / "run" / "house.json"
        while not run_file.exists():
            if house.poll() is not None:
                raise RuntimeError(f"the house ended with code {house.returncode}: {told.read_text()}")
            time.sleep(0.05)
        up = time.monotonic() - began
        with GatewayClient(json.loads(run_file.read_text())["gateway"]) as client:
            asked = time.monotonic()
            deltas = client.stream_chat([{"role": "user", "content": "Plan three dinners for two, no nuts."}])
            next(delta for delta in deltas if delta.reasoning or delta.content)
            first = time.monotonic() - asked
            deltas.close()  # type: ignore[attr-defined]
    finally:
        stopped = time.monotonic()
        house.send_signal(signal.SIGINT)
        house.wait(timeout=30)
    return {
        "up_s": round(up, 1),
        "first_token_s": round(first, 3),
        "stop_s": round(time.monotonic() - stopped, 1),
    }


if __name__ == "__main__":
    main()
