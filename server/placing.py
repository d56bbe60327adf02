"""Which conversation a turn belongs to, and what its user allows there. Asked before an answer starts, so it is cheap.

A history that opens with its first message begins a conversation; a longer one that names none is found again by the
hash of its chain. A database that is down or hangs costs nobody an answer: then the user's own setting holds.
"""

import logging
import time
from dataclasses import dataclass
from typing import NamedTuple

from db.errors import DatabaseUnavailable
from db.ids import new_id
from db.queries import tree
from db.schema import Conversation
from db.session import Database
from server.asking import Ask
from server.auth import Identity
from server.errors import not_found
from server.lookups import Lookups

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0  # how old what is known of a conversation may be
MOST = 10_000  # conversations remembered at once


class Place(NamedTuple):
    """Which conversation a turn belongs to, and what may be kept of it."""

    conversation: str
    consent: str


@dataclass(frozen=True)
class _Known:
    owner: str
    consent: str | None  # None: the user's own
    deleted: bool
    at: float


class Places:
    """Conversations, as far as answering goes."""

    def __init__(self, database: Database, lookups: Lookups) -> None:
        self._database, self._lookups = database, lookups
        self._known: dict[str, _Known] = {}
        self._forgotten = 0  # how often something was: what was being looked up then is not remembered

    async def place(self, identity: Identity, ask: Ask) -> tuple[str, str]:
        """The conversation's id, and the consent that holds in it. Raises ApiError 404 for another's or a gone one."""
        if ask.conversation_id is not None:
            known = await self._look_up(ask.conversation_id)
            if known is None:
                return ask.conversation_id, identity.consent
            if known.owner != identity.user_id or known.deleted:
                raise not_found("conversation", ask.conversation_id)
            return ask.conversation_id, known.consent or identity.consent
        if ask.kind == "text" or not any(message["role"] == "assistant" for message in ask.messages):
            return new_id(), identity.consent
        try:
            found = await self._lookups.ask(self._attach, identity.user_id, ask)
        except (DatabaseUnavailable, ValueError) as error:
            log.warning("a history is taken for a new conversation: %s", error)
            return new_id(), identity.consent
        known = await self._look_up(found) if found is not None else None
        return found or new_id(), (known and known.consent) or identity.consent

    def forget(self, conversation_id: str) -> None:
        """What is remembered of a conversation has changed. From any thread."""
        self._forgotten += 1
        self._known.pop(conversation_id, None)

    async def _look_up(self, conversation_id: str) -> _Known | None:
        known = self._known.get(conversation_id)
        if known is not None and time.monotonic() - known.at < FRESH_SECONDS:
            return known
        forgotten = self._forgotten
        try:
            found = await self._lookups.ask(self._read, conversation_id)
        except DatabaseUnavailable:
            return self._known.get(conversation_id)  # as it is now
        if found is not None and self._forgotten == forgotten:
            if len(self._known) >= MOST:
                self._known.pop(next(iter(self._known)), None)
            self._known[conversation_id] = found
        return found

    def _read(self, conversation_id: str) -> _Known | None:
        with self._database.reading() as session:
            row = session.get(Conversation, conversation_id)
        if row is None:
            return None
        return _Known(row.user_id, row.consent, row.deleted_at is not None, time.monotonic())

    def _attach(self, user_id: str, ask: Ask) -> str | None:
        with self._database.reading() as session:
            return tree.attach(session, user_id, ask.messages)
