"""What the gateway costs: a stub engine directly and through the gateway, streaming, in one run. `make bench-gateway`.

Authentication, routing and recording are on. Two loads: `burst` (the stub writes its 65 events at once; the gateway is
the bottleneck: requests per second) and `paced` (an event each 10 ms: what is added to the time to the first event and
to the gap between events). The last line is JSON.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cli.profiles import UNLIMITED

END = b"\r\n0\r\n\r\n"
PACE = 0.01  # seconds between the events of a paced stream


class Client(asyncio.Protocol):
    """One keep-alive connection that asks again and again; as cheap as possible, since it shares the machine."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self._done: asyncio.Future[None] | None = None
        self._tail = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.seen.append(time.perf_counter())
        if len(self.seen) == 1 and not data.startswith(b"HTTP/1.1 200"):
            self._fail(RuntimeError(data[:500].decode(errors="replace")))
        self._tail = (self._tail + data)[-len(END) :]
        if self._tail == END and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or RuntimeError("the server closed the connection"))

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    async def ask(self, request: bytes) -> tuple[float, list[float]]:
        """(seconds to the first event, times of what was read)."""
        self.seen, self._tail = [], b""
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self.transport.write(request)
        await self._done
        return self.seen[0] - began, self.seen


def request(port: int, key: str) -> bytes:
    messages = [{"role": "user", "content": "Plan three dinners for two."}]
    body = json.dumps({"model": "ruminate-v0", "messages": messages, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
    return (head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


async def load(port: int, key: str, concurrency: int, requests: int) -> dict[str, float]:
    """Ask `requests` times over `concurrency` connections."""
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(concurrency)]
    wire = request(port, key)
    firsts: list[float] = []
    gaps: list[float] = []
    left = iter(range(requests))

    async def work(client: Client) -> None:
        for _ in left:
            first, seen = await client.ask(wire)
            firsts.append(first)
            gaps.extend(b - a for a, b in zip(seen, seen[1:], strict=False))

    await asyncio.gather(*(client.ask(wire) for client in clients))  # connections and caches are warm
    began = time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    took = time.perf_counter() - began
    for client in clients:
        client.transport.close()
    gaps.sort()
    return {
        "requests_per_s": requests / took,
        "first_ms_p50": statistics.median(firsts) * 1000,
        "first_ms_p95": sorted(firsts)[int(len(firsts) * 0.95)] * 1000,
        "gap_ms_p99": gaps[int(len(gaps) * 0.99)] * 1000 if gaps else 0.0,
    }


def start_stub(gap: float) -> tuple[subprocess.Popen[str], int]:
    stub = subprocess.Popen(
        [sys.executable, "-m", "bench.stub_engine", "--gap", str(gap)], stdout=subprocess.PIPE, text=True
    )
    assert stub.stdout is not None
    return stub, int(stub.stdout.readline())


def start_gateway(home: Path, engine: int) -> tuple[subprocess.Popen[str], int]:
    """A gateway process before the stub, with its log in the home."""
    environment = os.environ | {
        "RUMINATE_HOME": str(home), "RUMINATE_SERVER_PORT": "0", "RUMINATE_SERVER_BASE_MODEL": "stub",
        "RUMINATE_SERVER_ENGINES": json.dumps([f"http://127.0.0.1:{engine}"]), "RUMINATE_SERVICE_KEY": "sk-bench",
        **{f"RUMINATE_SERVER_{name}": value for name, value in UNLIMITED.items()},
    }  # fmt: skip
    with (home / "gateway.log").open("w") as log:
        gateway = subprocess.Popen(
            [sys.executable, "-m", "server"], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert gateway.stdout is not None
    port = int(gateway.stdout.readline().rsplit(":", 1)[1])
    return gateway, port


def make_key(home: Path) -> str:
    from db.queries import users
    from db.session import Database

    database = Database(f"sqlite:///{home / 'ruminate.db'}")
    database.migrate()
    with database.transaction() as session:
        key = users.create_key(session, users.ensure_user(session, "bench", consent="train").id)[1]
    database.close()
    return key


def wait_ready(port: int) -> None:
    import httpx

    deadline = time.monotonic() + 60
    while httpx.get(f"http://127.0.0.1:{port}/health").status_code != 200:
        if time.monotonic() > deadline:
            raise RuntimeError("the gateway did not become ready within 60 s")
        time.sleep(0.1)


def recorded(home: Path) -> int:
    import sqlite3

    with sqlite3.connect(home / "ruminate.db") as connection:
        return int(connection.execute("select count(*) from generations where ending = 'complete'").fetchone()[0])


def resident_mib(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def measure(kind: str, gap: float, concurrencies: list[int], requests: int) -> list[dict[str, Any]]:
    """Both ways at every concurrency, one after the other, on the same stub."""
    import uvloop

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        key = make_key(home)
        stub, engine = start_stub(gap)
        gateway, port = start_gateway(home, engine)
        try:
            wait_ready(port)
            for concurrency in concurrencies:
                for way, where in (("direct", engine), ("gateway", port)):
                    memory = resident_mib(gateway.pid)
                    figures = uvloop.run(load(where, key, concurrency, requests))
                    row = {"load": kind, "way": way, "concurrency": concurrency, **figures}
                    if way == "gateway":
                        row |= {"rss_mib": resident_mib(gateway.pid), "rss_mib_before": memory}
                    rows.append(row)
                    print(
                        f"{kind:6} {way:8} x{concurrency:<4} {figures['requests_per_s']:8.0f} requests/s   "
                        f"first event {figures['first_ms_p50']:7.2f} ms (p95 {figures['first_ms_p95']:7.2f})   "
                        f"p99 gap {figures['gap_ms_p99']:6.2f} ms",
                        flush=True,
                    )
            asked = sum(requests + concurrency for concurrency in concurrencies)
            found = recorded(home)
            deadline = time.monotonic() + 60
            while found < asked and time.monotonic() < deadline:  # what was spooled under load is replayed
                time.sleep(0.5)
                found = recorded(home)
            print(f"{kind}: {found} of {asked} turns recorded")
            rows.append({"load": kind, "asked": asked, "recorded": found})
        finally:
            gateway.terminate()
            gateway.wait(timeout=20)
            stub.terminate()
            stub.wait(timeout=20)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="of each burst measurement")
    parser.add_argument("--concurrency", default="1,16,64,128")
    arguments = parser.parse_args()
    concurrencies = [int(one) for one in arguments.concurrency.split(",")]
    rows = measure("burst", 0.0, concurrencies, arguments.requests)
    rows += measure("paced", PACE, [c for c in concurrencies if c <= 64], max(64, arguments.requests // 16))
    print(json.dumps({"bench": "gateway", "cores": os.cpu_count(), "rows": rows}))


if __name__ == "__main__":
    main()
