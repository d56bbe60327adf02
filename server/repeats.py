"""Requests that are sent again: an `Idempotency-Key` makes a chat one turn, however often its client tries.

The record is the memory: the key gives the turn its unique request id, so that not even two gateways record it twice,
and a repeat is answered from what was recorded. What is not recorded word for word can't be given again: 409 says so.
While it is answered its key is held, here in memory and for other gateways by `server.holding`.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import DatabaseUnavailable
from db.schema import Generation
from db.session import Database
from server.asking import Ask
from server.errors import ApiError, invalid
from server.holding import PREFIX, SECONDS, Holding
from server.lookups import Lookups

log = logging.getLogger(__name__)

HEADER = b"idempotency-key"
LONGEST = 255  # characters of a key
MOST = 10_000  # ended requests remembered, for as long as their turns wait in the spool
LOOK_SECONDS = (0.05, 0.5)  # how soon, and then how often, is looked whether another gateway's answer is there
BODY = "idempotency_body"  # in the record's sampling: tells the same request from another one under the same key
STOP = "stop_reason"  # in the record's sampling, beside it: at which of the texts or tokens to stop at it ended
ENDED_WELL = ("complete", "no_thought", "malformed", "truncated_thought", "truncated_response")
UNKEPT = ("tools", "functions", "logprobs", "prompt_logprobs", "return_token_ids", "return_prompt_text", "echo")
"""Fields that put something into an answer that the record does not hold."""


@dataclass(frozen=True)
class Key:
    """A request that may be a repeat. `request_id` is the turn's, the same for each try."""

    request_id: str
    body: str


@dataclass(frozen=True)
class Stored:
    """The answer of an earlier try, made from its record."""

    generation_id: str
    body: bytes
    headers: list[tuple[bytes, bytes]]


@dataclass
class _Running:
    body: str
    over: bool = False  # it is answered, and about to be let go
    ended: asyncio.Event = field(default_factory=asyncio.Event)


def key_of(headers: Mapping[bytes, bytes], user_id: str, raw: bytes, path: str) -> Key | None:
    """The key of a request to `path` whose body `raw` is JSON; None when it has none. Different users' never meet."""
    given = headers.get(HEADER)
    if given is None:
        return None
    text = given.decode("latin-1")
    if not 0 < len(text) <= LONGEST or not text.isascii() or not text.isprintable():
        raise invalid(f"an Idempotency-Key has 1 to {LONGEST} printable ASCII characters", "Idempotency-Key")
    name = hashlib.sha256(f"{user_id}\n{text}".encode()).hexdigest()[:40]
    same = orjson.dumps([path, orjson.loads(raw)], option=orjson.OPT_SORT_KEYS)
    return Key(f"{PREFIX}{name}", hashlib.sha256(same).hexdigest()[:32])


class Repeats:
    """Which keys are being answered, and what was answered before. `pending`: turns wait for the database."""

    def __init__(self, database: Database, lookups: Lookups, holding: Holding, pending: Callable[[], bool]) -> None:
        self._database, self._lookups, self._holding, self._pending = database, lookups, holding, pending
        self._running: dict[str, _Running] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    @asynccontextmanager
    async def once(self, key: Key, ask: Ask) -> AsyncIterator[Stored | None]:
        """Hold the key while its request is answered. Yields an earlier try's answer, or None: this is the first.

        A try that came to nothing leaves the key free. Raises ApiError 409 where there is a turn already
        that can't be given again.
        """
        while (running := self._running.get(key.request_id)) is not None:
            if running.body != key.body:
                raise _reused()
            if ask.stream and not running.over:
                raise _in_progress()
            await running.ended.wait()
        mine = self._running[key.request_id] = _Running(key.body)
        took_place = False
        try:
            stored = await self._find(key, ask)
            took_place = True  # from here on also where its client leaves
            yield stored
        except Exception:
            took_place = False
            raise
        finally:
            mine.over = True
            if took_place:
                self._ended[key.request_id] = None
                if len(self._ended) > MOST:
                    self._ended.popitem(last=False)
            try:
                await self._holding.let_go(key.request_id, late=self._unwritten(key))
            finally:
                del self._running[key.request_id]
                mine.ended.set()

    async def _find(self, key: Key, ask: Ask) -> Stored | None:
        """Hold the key at all gateways, once no other one does. Gives what is recorded under it by then."""
        pause, longest = LOOK_SECONDS
        heard = None  # when another gateway was last known to answer
        while True:
            try:
                row, held_for, taken = await self._lookups.ask(self._look, key)
            except DatabaseUnavailable as error:
                if heard is None or time.monotonic() - heard > SECONDS:
                    log.warning("whether %s is a repeat is not known: %s", key.request_id, error)
                    row = None  # nobody goes without an answer for it; the record keeps one turn in any case
                    break
            else:
                if taken:
                    self._holding.keep(key.request_id, key.body)
                if held_for is None:
                    break
                if held_for != key.body:
                    raise _reused()
                if ask.stream:
                    raise _in_progress()
                heard = time.monotonic()
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
        if (row is None or row.ended_at is None) and self._unwritten(key):
            raise _conflict("this request was answered; its record is on its way to the database", "pending")
        return None if row is None else _stored(row, key, ask)

    def _look(self, key: Key) -> tuple[Generation | None, str | None, bool]:
        """The turn; what the key is held for at another gateway; whether there was neither, and it is held here now."""
        with self._database.reading() as session:
            row = _recorded(session, key)
            if row is not None and row.ended_at is not None:
                return row, None, False
            held_for = self._holding.elsewhere(session, key.request_id)
            if row is not None or held_for is not None:
                return row, held_for, False
        with self._database.transaction() as session:
            held_for = self._holding.take(session, key.request_id, key.body)
            row = _recorded(session, key)  # again: it may have been answered and let go between the two
            return row, held_for, held_for is None

    def _unwritten(self, key: Key) -> bool:
        """Whether the record of this request, which was answered here, may be on its way still."""
        return key.request_id in self._ended and self._pending()


def _recorded(session: Session, key: Key) -> Generation | None:
    return session.scalars(select(Generation).where(Generation.request_id == key.request_id)).one_or_none()


def _stored(row: Generation, key: Key, ask: Ask) -> Stored:
    """Raises ApiError 409 where the record is not the whole answer."""
    known = {"generation_id": row.id, "conversation_id": row.conversation_id}
    if row.ended_at is None:
        raise _conflict(
            "the gateway that answered this request has ended; ask again with another key", "broken_off", known
        )
    if row.response is None or row.consent == "none":
        raise _conflict("this request was answered, and no words of it were kept", "not_kept", known)
    if row.sampling.get(BODY) != key.body:
        raise _reused()
    if row.ending not in ENDED_WELL:
        raise _conflict("the answer to this request was broken off; ask again with another key", "broken_off", known)
    if ask.stream:
        raise _conflict("this request was answered already; a stream can't be replayed", "not_replayable", known)
    unkept = [name for name in UNKEPT if ask.body.get(name)]
    if unkept or ask.choices != 1:
        what = f"an answer with {unkept[0]}" if unkept else "several choices"
        raise _conflict(f"this request was answered already; {what} can't be replayed", "not_replayable", known)
    return Stored(row.id, orjson.dumps(_answer(row)), _headers(row))


def _answer(row: Generation) -> dict[str, Any]:
    prompt, completion = row.prompt_tokens or 0, row.completion_tokens or 0
    usage: dict[str, Any] = {
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion
    }  # fmt: skip
    if row.reasoning_tokens is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": row.reasoning_tokens}
    message = {"role": "assistant", "content": row.response, "reasoning": row.reasoning or None}
    stop = {name: row.sampling[name] for name in (STOP,) if name in row.sampling}
    return {
        "id": f"chatcmpl-{row.id}",
        "object": "chat.completion",
        "created": int(row.started_at.timestamp()),
        "model": row.model,
        "choices": [{"index": 0, "message": message, "finish_reason": row.finish_reason, **stop}],
        "usage": usage,
    }


def _headers(row: Generation) -> list[tuple[bytes, bytes]]:
    found = [
        (b"idempotent-replayed", b"true"),
        (b"x-ruminate-generation", row.id.encode()),
        (b"x-ruminate-checkpoint", row.model.removeprefix("ruminate-").encode()),
    ]
    if row.conversation_id is not None:
        found.append((b"x-ruminate-conversation", row.conversation_id.encode()))
    return found


def _conflict(message: str, code: str, known: dict[str, Any] | None = None) -> ApiError:
    headers = {"Retry-After": "2"} if code in ("in_progress", "pending") else {}
    return ApiError(
        409, message, code=f"idempotency_{code}", param="Idempotency-Key", extra=known, headers=headers
    )  # fmt: skip


def _in_progress() -> ApiError:
    return _conflict("this request is being answered already; a stream can't be joined", "in_progress")


def _reused() -> ApiError:
    return _conflict("this Idempotency-Key came with another request before; every request needs its own", "key_reused")
