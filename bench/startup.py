"""How long a warm start takes, from the command to the printed URL and the first token, and how long Ctrl-C takes."""

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

RUNS = 3


def main() -> None:
    """Start, ask, stop, several times; print the medians and every run."""
    runs = [one(Path(folder)) for folder in (tempfile.mkdtemp() for _ in range(RUNS))]
    medians = {name: round(statistics.median(run[name] for run in runs), 1) for name in runs[0]}
    print(json.dumps({"bench": "startup", "cores": os.cpu_count(), "median": medians, "runs": runs}))


def one(home: Path) -> dict[str, float]:
    """Seconds of one start in an empty home."""
    env = {**os.environ, "RUMINATE_HOME": str(home), "RUMINATE_PORT": "0", "RUMINATE_UI_PORT": "0"}
    began = time.monotonic()
    house = subprocess.Popen([sys.executable, "-m", "cli.main", "up"], env=env, stdout=subprocess.DEVNULL)
    try:
        run_file = home / "run" / "house.json"
        while not run_file.exists():
            if house.poll() is not None:
                raise RuntimeError(f"the house ended with code {house.returncode}; its logs are in {home / 'logs'}")
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
