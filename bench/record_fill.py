"""Fills a database with the record of a team of two years, by bulk insert: people, conversations, turns, rounds.

Everything is drawn by a seed, so that two fillings of one size hold the same. What is said comes from a file of
prompts, or is made up of words.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

from db.queries.checkpoints import ensure_base
from db.queries.common import chunks, table_of, utcnow
from db.queries.deployments import propose
from db.queries.users import ensure_user
from db.schema import Base, Checkpoint, Comparison, Conversation, Feedback, Generation, Message, Round, RoundPrompt
from db.session import Database

PEOPLE = 200
SPAN = timedelta(days=730)
TALK = 5  # turns of a conversation
LONG = 200  # of the longest one
TRAINS = 0.1  # of the conversations, given under consent to training
LATELY = 0.25  # of the time, the last part of it, in which nobody allowed training
BUSIEST = 0.1  # of all turns that one user has, as a program's would
RATED, COMPARED = 0.02, 0.005  # of the answers
ROUNDS = 730  # of a record of a million turns: one a night
ROUND_PROMPTS = 480  # that a round trains on or is judged on
MANIFEST_BYTES = 16_000  # of a checkpoint: its probe, its settings, its samples
THOUGHT, RESPONSE = 1_200, 800  # characters of an answer
BATCH = 20_000  # rows inserted together
WORDS = ("the", "of", "dinner", "write", "plan", "a", "short", "letter", "about", "how", "many", "walrus", "and", "sea")


@dataclass(frozen=True)
class Filled:
    """Who and what is looked at: ids."""

    busiest: str
    ordinary: str
    long: str
    short: str
    answer: str
    checkpoint: str
    turns: int


def fill(database: Database, turns: int, prompts: Sequence[str], seed: int = 1) -> Filled:
    """A migrated and empty database gets so many turns."""
    dice = random.Random(seed)
    now = utcnow()
    users = _people(database, now)
    rounds = max(2, ROUNDS * turns // 1_000_000)
    _checkpoints(database, rounds, now, dice)
    if database.kind == "sqlite":
        return _filled_sqlite(database, turns, prompts, users, rounds, now, dice)
    filled = _talks(database, turns, prompts, users, rounds, now, dice)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")  # as its autovacuum does by the way
    return filled


def _filled_sqlite(database: Database, *given: Any) -> Filled:
    """Without waiting for the disk after each batch, and with room for the indexes; both end with the connection."""
    from sqlalchemy import event

    def hurry(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -1000000")

    database.engine.dispose()
    event.listen(database.engine, "checkout", hurry)
    try:
        return _talks(database, *given)
    finally:
        event.remove(database.engine, "checkout", hurry)
        database.engine.dispose()


def made_up(count: int, dice: random.Random) -> list[str]:
    """Prompts of common words."""
    return [" ".join(dice.choices(WORDS, k=dice.randint(5, 200))) for _ in range(count)]


def read_prompts(path: Path) -> list[str]:
    """The last words of each conversation in a parquet file that has `messages` or `prompt`."""
    from trainer.prompts import read_mix, text_of

    return [text_of(prompt.messages[-1]) for prompt in read_mix(path)]


def _people(database: Database, now: datetime) -> list[str]:
    with database.transaction() as session:
        ensure_base(session, "stub", {})
        propose(session, 0, "bench", "the first start", None)
        return [ensure_user(session, f"person{number}", "user", "train").id for number in range(PEOPLE)]


def _checkpoints(database: Database, rounds: int, now: datetime, dice: random.Random) -> None:
    """A round a night, each built on the last one."""
    manifest = {"probe": {"sequences": [], "tolerance": 0.1}, "config": {"steps": 35}, "samples": []}
    manifest["samples"] = [{"prompt": "x" * 400, "before": "y" * 800, "after": "z" * 800}] * (MANIFEST_BYTES // 2_000)
    with database.transaction() as session:
        for number in range(1, rounds + 1):
            at = now - SPAN + SPAN * number / (rounds + 1)
            session.execute(insert(table_of(Round)), [{
                "id": number, "open": None, "state": "published", "algorithm": "grpo", "config": {}, "seed": number,
                "requested_by": "the trainer", "reason": "", "trigger": "schedule", "attempts": 1, "stops": 0,
                "parent_checkpoint_id": number - 1, "step": 35, "total_steps": 35, "phase": "publish",
                "created_at": at, "started_at": at, "ended_at": at,
            }])  # fmt: skip
            session.execute(insert(table_of(Checkpoint)), [{
                "id": number, "name": f"v{number}", "kind": "adapter", "parent_id": number - 1, "round_id": number,
                "base": "stub", "path": f"/nowhere/v{number}", "manifest": manifest, "state": "retired",
                "created_at": at,
            }])  # fmt: skip


def _talks(
    database: Database,
    turns: int,
    prompts: Sequence[str],
    users: Sequence[str],
    rounds: int,
    now: datetime,
    dice: random.Random,
) -> Filled:
    """Conversation after conversation, in the order of time."""
    talks = turns // TALK
    rows: dict[type[Base], list[dict[str, Any]]] = {
        one: [] for one in (Conversation, Message, Generation, Feedback, Comparison)
    }
    looked_at: dict[str, str] = {}
    taught: list[tuple[str, str, str]] = []
    began = now - SPAN
    for number in range(talks):
        at = began + SPAN * number / talks
        user = users[0] if dice.random() < BUSIEST else dice.choice(users[1:])
        length = LONG if number == talks // 2 else TALK
        lately = number > talks * (1 - LATELY)  # when nobody allowed it
        consent = "train" if not lately and dice.random() < TRAINS / (1 - LATELY) else "history"
        talk = looked_at["talk"] = _id(at, dice)
        if length == LONG:
            looked_at["long"], consent, user = talk, "train", users[1]
        rows[Conversation].append({
            "id": talk, "user_id": user, "title": dice.choice(prompts)[:60], "consent": None, "pinned": False,
            "created_at": at, "updated_at": at + timedelta(minutes=length), "deleted_at": None,
        })  # fmt: skip
        before = None
        for turn in range(length):
            at += timedelta(minutes=1)
            asked, said, answer = _id(at, dice), _id(at, dice), _id(at, dice)
            response = _text(prompts, RESPONSE, dice)
            common = {"conversation_id": talk, "user_id": user, "extra": None}
            for key, parent, role, content in ((asked, before, "user", dice.choice(prompts)),
                                               (said, asked, "assistant", response)):  # fmt: skip
                rows[Message].append({
                    "id": key, "parent_id": parent, "role": role, "content": content,
                    "chain_hash": f"{dice.getrandbits(256):064x}", "created_at": at, **common,
                })  # fmt: skip
            before = said
            rows[Generation].append({
                "id": answer, "request_id": answer, "message_id": said, "prompt_message_id": asked, "user_id": user,
                "conversation_id": talk, "checkpoint_id": rounds * number // talks, "model": "ruminate-v0",
                "engine": "http://127.0.0.1:8100", "gateway": "gateway-0", "reasoning": _text(prompts, THOUGHT, dice),
                "response": response, "ending": "complete", "finish_reason": "stop", "sampling": {"temperature": 0.7},
                "prompt_tokens": 200, "completion_tokens": 500, "reasoning_tokens": 300, "started_at": at,
                "first_token_at": at, "thought_ended_at": at, "ended_at": at + timedelta(seconds=20),
                "origin": "chat", "consent": consent, "error": None,
            })  # fmt: skip
            looked_at["answer"] = answer
            if consent == "train" and len(taught) < 100_000:
                taught.append((asked, talk, user))
            if dice.random() < RATED:
                rows[Feedback].append({
                    "id": _id(at, dice), "generation_id": answer, "user_id": user, "rating": dice.choice((1, -1)),
                    "tags": [], "words": "", "shown": None, "created_at": at,
                })  # fmt: skip
            if turn and dice.random() < COMPARED:
                rows[Comparison].append({
                    "id": _id(at, dice), "user_id": user, "prompt_message_id": asked, "left_generation_id": answer,
                    "right_generation_id": answer, "choice": "left", "shown": {}, "created_at": at,
                })  # fmt: skip
        if len(rows[Message]) >= BATCH or number == talks - 1:
            _write(database, rows)
    _lessons(database, rounds, taught, dice)
    if database.kind == "postgresql":
        with database.transaction() as session:  # their ids were given
            for table in ("rounds", "checkpoints"):
                session.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"))
    return Filled(
        users[0], users[1], looked_at["long"], looked_at["talk"], looked_at["answer"], f"v{rounds}", turns
    )  # fmt: skip


def _lessons(database: Database, rounds: int, taught: Sequence[tuple[str, str, str]], dice: random.Random) -> None:
    """What each round trained on: recent prompts of people."""
    for some in chunks(range(1, rounds + 1), 40):
        rows = [
            {
                "round_id": number, "position": position, "message_id": asked, "conversation_id": talk,
                "user_id": user, "source": "recorded", "split": "train" if position % 5 < 3 else "heldout",
                "verdict": "kept", "why": "eligible", "prompt": [{"role": "user", "content": "x" * 300}],
                "erased_at": None,
            }
            for number in some
            for position, (asked, talk, user) in enumerate(dice.choices(taught, k=ROUND_PROMPTS))
        ]  # fmt: skip
        with database.transaction() as session:
            session.execute(insert(table_of(RoundPrompt)), rows)


def _write(database: Database, rows: dict[type[Base], list[dict[str, Any]]]) -> None:
    with database.transaction() as session:
        for table, waiting in rows.items():
            if waiting:
                session.execute(insert(table_of(table)), waiting)
            waiting.clear()


def _text(prompts: Sequence[str], characters: int, dice: random.Random) -> str:
    parts, length = [], 0
    while length < characters:
        parts.append(dice.choice(prompts)[: characters - length])
        length += len(parts[-1]) + 1
    return " ".join(parts)


def _id(at: datetime, dice: random.Random) -> str:
    """A UUIDv7 of that time."""
    milliseconds = int(at.timestamp() * 1000)
    value = (milliseconds << 80) | (7 << 76) | (dice.getrandbits(12) << 64) | (0b10 << 62) | dice.getrandbits(62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def saved(filled: Filled, path: Path) -> None:
    """Note what was filled, so that the database can be measured again."""
    path.write_text(json.dumps(filled.__dict__), encoding="utf-8")


def known(path: Path) -> Filled | None:
    """What was filled there before; None: nothing."""
    return Filled(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
