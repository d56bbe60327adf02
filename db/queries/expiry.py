"""What is older than the house keeps it: deleted, or no longer trained on, as if its user had asked for it."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.queries.forget import _bury, _count, _erase, _withdraw
from db.schema import Conversation, Feedback, Generation, Regression, RoundPrompt
from db.values import Consent, Forgotten

SOME = 200
"""Conversations, or turns, in one transaction: nobody who records waits long for it."""


def delete_older(session: Session, before: datetime) -> tuple[Forgotten, list[str]]:
    """Some conversations in which nothing was said since `before`, and turns of then that belong to none; with their
    ids. Nothing is left when it takes nothing away."""
    old = select(Conversation.id).where(Conversation.updated_at < before, Conversation.deleted_at.is_(None))
    places = list(session.scalars(old.order_by(Conversation.id).limit(SOME).with_for_update()))
    gone = _bury(session, places)
    lone = select(Generation.id).where(Generation.conversation_id.is_(None), Generation.started_at < before)
    ids = list(session.scalars(lone.order_by(Generation.id).limit(SOME)))
    hanging: tuple[Any, ...] = (Feedback, Regression)
    for table in hanging:
        _count(session, delete(table).where(table.generation_id.in_(ids)))
    turns = _count(session, delete(Generation).where(Generation.id.in_(ids)))
    return Forgotten(
        gone.conversations,
        gone.messages,
        gone.generations + turns,
        gone.feedback,
        gone.comparisons,
        0,
        gone.round_prompts,
        gone.regressions,
    ), places


def withdraw_older(session: Session, before: datetime) -> int:
    """Some turns that began before `before` are kept for their users and trained on no more. Gives their number."""
    old = select(Generation.id, Generation.prompt_message_id).where(
        Generation.started_at < before, Generation.consent == Consent.TRAIN.value
    )
    rows = session.execute(old.order_by(Generation.id).limit(SOME)).all()
    _withdraw(session, Generation.id.in_([row.id for row in rows]))
    _erase(session, RoundPrompt.message_id.in_([row.prompt_message_id for row in rows]))
    return len(rows)
