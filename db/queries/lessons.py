"""Whose preferences a round's reward model had learnt from: ids that outlive a deletion, so that it can be told."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.queries.common import chunks, insert
from db.schema import Comparison, Feedback, Generation, Lesson, Message


def save(session: Session, round_id: int, message_ids: Collection[str]) -> None:
    """For round `round_id` those on answers to these prompts: of who asked, and of who chose."""
    asked = select(Message.id, Message.conversation_id, Message.user_id)
    compared = select(Message.id, Message.conversation_id, Comparison.user_id).join(
        Comparison, Comparison.prompt_message_id == Message.id
    )
    rated = (
        select(Message.id, Message.conversation_id, Feedback.user_id)
        .join(Generation, Generation.prompt_message_id == Message.id)
        .join(Feedback, Feedback.generation_id == Generation.id)
    )
    for ids in chunks(sorted(message_ids)):
        for whose in (asked, compared, rated):
            found = [
                {"round_id": round_id, "message_id": message, "conversation_id": conversation, "user_id": user}
                for message, conversation, user in set(session.execute(whose.where(Message.id.in_(ids))).all())
            ]
            if found:
                session.execute(insert(session, Lesson).on_conflict_do_nothing(), found)
