"""What is known of a conversation before an answer begins."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from db.queries import conversations, users
from db.queries.common import utcnow
from db.schema import Conversation
from db.session import Database
from server.placing import Places


class Slow:
    """Lookups that have what they were asked for, and give it when they are told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def ask(self, question: Callable[..., Any], *args: Any) -> Any:
        found = question(*args)
        await self.go_on.wait()
        return found


async def test_what_was_looked_up_while_a_conversation_changed_is_not_remembered(database: Database) -> None:
    with database.transaction() as session:
        user = users.ensure_user(session, "ann").id
        place, now = "dinner", utcnow()
        session.add(Conversation(id=place, user_id=user, created_at=now, updated_at=now))
    lookups = Slow()
    places = Places(database, lookups)  # type: ignore[arg-type]
    identity, ask = SimpleNamespace(user_id=user, consent="train"), SimpleNamespace(conversation_id=place)
    asking = asyncio.create_task(places.place(identity, ask))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    with database.transaction() as session:
        conversations.set_consent(session, place, user, "none")
    places.forget(place)
    lookups.go_on.set()
    await asking
    assert await places.place(identity, ask) == (place, "none")  # type: ignore[arg-type]
