"""OpenAI's Responses API as a form: a request may go on from an earlier answer by its id, which the record holds, or
name items of earlier answers by theirs.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from db.errors import DatabaseUnavailable
from db.queries.answers import Answered, find_answer, find_said
from db.session import Database
from server.asking import Ask, Kind, read_object, understand
from server.auth import Identity
from server.errors import ApiError, unavailable
from server.forms.form import RESPONSES
from server.forms.references import named, put_in
from server.forms.responses_answer import PREFIX, ResponsesTelling
from server.forms.responses_request import read
from server.lookups import Lookups

INSTRUCTED = "instructed"  # in the record's sampling: the first message were this answer's instructions alone
LOOK_SECONDS = 0.1  # a spooled turn reaches the database in about as long, when that is well
LOOKS = 20


class Responses:
    """`pending`: turns wait for the database."""

    path = RESPONSES
    kind: Kind = "chat"
    id_header = b"x-request-id"

    def __init__(self, database: Database, lookups: Lookups, pending: Callable[[], bool]) -> None:
        self._database, self._lookups, self._pending = database, lookups, pending

    async def ask(self, raw: bytes, headers: Mapping[bytes, bytes], identity: Identity) -> Ask:
        """Raises ApiError 503 while it can't be known what came before."""
        given = read_object(raw)
        found = read(await self._with_items(given, identity))
        ask = replace(understand("chat", found.body, headers), asked=given, wants_usage=True)
        if found.previous is not None:
            ask = _joined(ask, found.instructed, await self._previous(found.previous, identity))
        return replace(ask, sampling=ask.sampling | {INSTRUCTED: True}) if found.instructed else ask

    def writer(self, ask: Ask, generation_id: str) -> ResponsesTelling:
        return ResponsesTelling(generation_id, ask.hides_thought, ask.asked)

    async def _previous(self, name: str, identity: Identity) -> Answered:
        for _ in range(LOOKS):
            try:
                found = await self._lookups.ask(self._read, name.removeprefix(PREFIX), identity.user_id)
            except DatabaseUnavailable as error:
                raise unavailable(f"what came before can't be read: {error}", "database_unavailable") from None
            if found is not None and found.messages:
                return found
            if found is not None or not self._pending():
                raise _gone(name, "it was broken off" if found else "it was not kept, was deleted, or is not yours")
            await asyncio.sleep(LOOK_SECONDS)
        raise unavailable(f"{name} may be on its way to the database; try again in a moment", "database_unavailable")

    async def _with_items(self, given: dict[str, Any], identity: Identity) -> dict[str, Any]:
        """The request with the items that it only names."""
        items = given.get("input")
        wanted = named(items)
        said = await self._said(wanted, identity) if wanted else {}
        return given | {"input": put_in(items, said)} if isinstance(items, list) else given

    async def _said(self, wanted: set[str], identity: Identity) -> dict[str, dict[str, Any]]:
        for _ in range(LOOKS):
            try:
                found = await self._lookups.ask(self._read_said, wanted, identity.user_id)
            except DatabaseUnavailable as error:
                raise unavailable(f"what `input` names can't be read: {error}", "database_unavailable") from None
            if found.keys() == wanted or not self._pending():
                return found
            await asyncio.sleep(LOOK_SECONDS)
        message = "what `input` names may be on its way to the database; try again in a moment"
        raise unavailable(message, "database_unavailable")

    def _read_said(self, generation_ids: set[str], user_id: str) -> dict[str, dict[str, Any]]:
        with self._database.reading() as session:
            return find_said(session, user_id, generation_ids)

    def _read(self, generation_id: str, user_id: str) -> Answered | None:
        with self._database.reading() as session:
            return find_answer(session, user_id, generation_id)


def _joined(ask: Ask, instructed: bool, earlier: Answered) -> Ask:
    """The earlier answer's history before the new messages. Instructions hold for one answer: earlier ones go."""
    before = earlier.messages[1:] if earlier.generation.sampling.get(INSTRUCTED) else earlier.messages
    first = 1 if instructed else 0
    messages = ask.messages[:first] + before + ask.messages[first:]
    place = ask.conversation_id or earlier.generation.conversation_id
    return replace(ask, messages=messages, body=ask.body | {"messages": messages}, conversation_id=place)


def _gone(name: str, why: str) -> ApiError:
    message = f"there is no response {name!r} to go on from: {why}; send the whole history as input"
    return ApiError(400, message, code="previous_response_not_found", param="previous_response_id")
