"""An answer that was given, with the history that it ended: for a request that goes on from it by its id alone.

Or the answers alone, for a request that names them in place of their words.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.chain import as_message
from db.queries.tree import path_to
from db.schema import Conversation, Generation, Message


@dataclass(frozen=True)
class Answered:
    """One generation, and its conversation from the first message to this answer; without messages it had none."""

    generation: Generation
    messages: list[dict[str, Any]]


def find_answer(session: Session, user_id: str, generation_id: str) -> Answered | None:
    """None where there is no such generation of this user's, its words were not kept, or they were deleted."""
    row = session.get(Generation, generation_id)
    if row is None or row.user_id != user_id or row.response is None or row.conversation_id is None:
        return None
    conversation = session.get(Conversation, row.conversation_id)
    if conversation is None or conversation.deleted_at is not None:
        return None
    path = path_to(session, row.message_id or "")
    return Answered(row, [as_message(node.role, node.content, node.extra) for node in path])


def find_said(session: Session, user_id: str, generation_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The messages that these generations are, by id; without those that `find_answer` does not find either."""
    rows = session.execute(
        select(Generation.id, Message)
        .join(Message, Message.id == Generation.message_id)
        .join(Conversation, Conversation.id == Generation.conversation_id)
        .where(Generation.id.in_(generation_ids), Generation.user_id == user_id, Generation.response.is_not(None))
        .where(Conversation.deleted_at.is_(None))
    )
    return {found: as_message(node.role, node.content, node.extra) for found, node in rows}
