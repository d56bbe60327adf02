"""Where a client gets the events of a detached answer from when it comes back: memory, another gateway's, the record.

The database is the truth: it says whose answer it is, whether it is still being written, and how it ended. Events that
are told from the record are numbered anew (`record-1` …) and begin at the answer's beginning.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import orjson

from db.errors import DatabaseUnavailable
from db.schema import Generation, Message
from db.session import Database
from server.arrivals import began_within
from server.errors import ApiError, broken_off, invalid, not_found, unavailable
from server.feed import Feeds
from server.lookups import Lookups
from server.streams import Lost, Streams

RECORD = "record-"
HIDES = "hides_thought"  # in the record's sampling: the client was not to see the thought
BROKEN_OFF = ("interrupted", "error")
YOUNG_SECONDS = 3.0
"""An answer of another gateway that began so lately may be on its way here still: its client has the first event before
the database has its row and Redis its stream."""
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Place:
    """After which event to go on: of the stream, or of what was told from the record."""

    after: int = 0
    recorded: bool = False


@dataclass(frozen=True)
class Picked:
    """Events from some place on. `source`: "stream", or "record" for those told from the record."""

    source: str
    events: AsyncIterator[bytes]


def place_of(last_event_id: str | None, after: int) -> Place:
    """The header wins, as browsers send it by themselves. Raises ApiError 400."""
    if last_event_id is None:
        return Place(after)
    number = last_event_id.removeprefix(RECORD)
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise invalid(f"Last-Event-ID is {last_event_id!r}; expected the `id` of an event", "Last-Event-ID")
    return Place(int(number), last_event_id.startswith(RECORD))


class Pickup:
    """Finds the events of one answer for the user whose it is. `pending`: whether turns may be on their way into the
    record; `mirror`: answers carry the thought under its older name too."""

    def __init__(
        self,
        database: Database,
        lookups: Lookups,
        feeds: Feeds,
        streams: Streams,
        pending: Callable[[], bool],
        mirror: bool,
    ) -> None:
        self._database, self._lookups, self._feeds, self._streams = database, lookups, feeds, streams
        self._pending, self._mirror = pending, mirror

    async def find(self, generation_id: str, user_id: str, place: Place) -> Picked:
        """Raises ApiError: 404 for what is not this user's, 409 while another gateway has it alone, 410 wordless."""
        known = self._feeds.get(generation_id)
        if known is not None and known[0].user_id != user_id:
            raise not_found("generation", generation_id)
        if known is not None and not (known[1].ended and place.recorded):
            if known[1].ended and await self._was_deleted(generation_id):
                raise not_found("generation", generation_id)
            return Picked("stream", known[1].follow(place.after))
        row, calls, streamed = await self._look(generation_id, known is None)
        if row is None or row.user_id != user_id:
            raise not_found("generation", generation_id)
        if streamed and not place.recorded:
            return Picked("stream", self._elsewhere(generation_id, place.after))
        if row.ended_at is None:
            message = f"the gateway {row.gateway} writes this answer; its events can be had there, or at its end here"
            raise ApiError(409, message, code="answered_elsewhere", headers={"Retry-After": "2"})
        if row.response is None or row.consent == "none":
            raise ApiError(410, "no words of this answer were kept", code="not_kept")
        return Picked("record", _told(_events(row, calls, self._mirror), place.after if place.recorded else 0))

    async def _was_deleted(self, generation_id: str) -> bool:
        """Whether a finished answer of this gateway is in the record no more; False where it may be on its way there,
        or the record can't be asked."""
        pending = self._pending()  # before the record is looked at: its turn may arrive meanwhile
        try:
            row, _ = await self._lookups.ask(self._read, generation_id)
        except DatabaseUnavailable:
            return False
        return row is None and not pending

    async def _look(self, generation_id: str, elsewhere: bool) -> tuple[Generation | None, list[dict[str, Any]], bool]:
        """The record, and whether Redis has its events; of an answer that has hardly begun elsewhere, once both can be
        there."""
        while True:
            row, calls = await self._lookups.ask(self._read, generation_id)
            streamed = elsewhere and await self._streams.has(generation_id)
            if (
                not elsewhere
                or (streamed and row is not None)
                or self._settled(row)
                or not began_within(generation_id, YOUNG_SECONDS)
            ):
                return row, calls, streamed
            await asyncio.sleep(LOOK_SECONDS)

    def _settled(self, row: Generation | None) -> bool:
        """Whether no stream is to be waited for."""
        return row is not None and (not self._streams.carries or row.ended_at is not None or row.consent == "none")

    async def _elsewhere(self, generation_id: str, after: int) -> AsyncIterator[bytes]:
        async def unfinished() -> bool:
            try:
                row, _ = await self._lookups.ask(self._read, generation_id)
            except DatabaseUnavailable:
                return True  # as long as its gateway keeps the stream
            return row is not None and row.ended_at is None

        try:
            async for event in self._streams.follow(generation_id, after, unfinished):
                yield event
        except Lost:
            try:
                row, _ = await self._lookups.ask(self._read, generation_id)
            except DatabaseUnavailable as error:
                yield unavailable(str(error), "database_unavailable").event()
            else:
                yield _lost(row).event()

    def _read(self, generation_id: str) -> tuple[Generation | None, list[dict[str, Any]]]:
        with self._database.reading() as session:
            row = session.get(Generation, generation_id)
            message = None if row is None or row.message_id is None else session.get(Message, row.message_id)
            return row, ((message.extra or {}).get("tool_calls") or []) if message is not None else []


def _events(row: Generation, calls: list[dict[str, Any]], mirror: bool) -> list[bytes]:
    """A finished answer as a stream would have told it, in as few events as there are parts."""
    head = {
        "id": f"chatcmpl-{row.id}",
        "object": "chat.completion.chunk",
        "created": int(row.started_at.timestamp()),
        "model": row.model,
    }
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if row.reasoning and not row.sampling.get(HIDES):
        deltas.append({"reasoning": row.reasoning} | ({"reasoning_content": row.reasoning} if mirror else {}))
    if row.response:
        deltas.append({"content": row.response})
    if calls:
        deltas.append({"tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]})
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    if row.ending not in BROKEN_OFF:
        choices.append({"index": 0, "delta": {}, "finish_reason": row.finish_reason})
    told = [b"data: " + orjson.dumps(head | {"choices": [choice]}) for choice in choices]
    told.append(_lost(row).event().rstrip() if row.ending in BROKEN_OFF else b"data: [DONE]")
    return told


async def _told(events: list[bytes], after: int) -> AsyncIterator[bytes]:
    for number, event in enumerate(events[after:], after + 1):
        yield b"id: %s%d\n%s\n\n" % (RECORD.encode(), number, event)


def _lost(row: Generation | None) -> ApiError:
    """Why no more events come, as far as the record says."""
    if row is None:
        return ApiError(404, "this answer was deleted", code="not_found")
    if row.ended_at is None:
        message = f"the gateway {row.gateway}, which writes this answer, can't be heard; ask again in a moment"
        return ApiError(503, message, code="gateway_lost")
    if row.ending == "interrupted":
        return broken_off()
    if row.ending == "error":
        return ApiError(502, f"this answer was broken off: {row.error or 'its engine failed'}", code="engine_lost")
    return ApiError(503, "the rest of this answer is in the record: ask again from the beginning", code="recorded")
