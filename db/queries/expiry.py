"""What is older than the house keeps it: deleted, or no longer trained on, as if its user had asked for it.

Whole tables are looked through for it, so readers find it, a page of ids each time; those who write look at these ids
alone, and again whether they are still to go.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, select
from sqlalchemy.orm import Session

from db.queries.forget import SOME, _bury, _count, _erase, _withdraw
from db.schema import Conversation, Feedback, Generation, Regression, RoundPrompt
from db.values import Consent


def old_conversations(session: Session, before: datetime, after: str = "") -> list[str]:
    """Ids of conversations in which nothing was said since `before`: the first ones `after` that id."""
    return _page(session, select(Conversation.id).where(*_silent(before)), Conversation.id, after)


def delete_conversations(session: Session, ids: Sequence[str], before: datetime) -> tuple[int, list[str]]:
    """Those of them that are still to go. Gives how many rows went, and their ids."""
    chosen = select(Conversation.id).where(Conversation.id.in_(ids), *_silent(before))
    places = list(session.scalars(chosen.order_by(Conversation.id).with_for_update()))
    gone = _bury(session, places)
    return gone.generations + gone.conversations, places


def old_lone_turns(session: Session, before: datetime, _: str = "") -> list[str]:
    """Ids of some turns from before `before` that belong to no conversation. In no order: SQLite would sort all of
    them, for each page anew; those of the page before are deleted by now."""
    return list(session.scalars(select(Generation.id).where(*_lone(before)).limit(SOME)))


def delete_turns(session: Session, ids: Sequence[str], before: datetime) -> int:
    """Those of them that are still to go. Gives their number."""
    chosen = select(Generation.id).where(Generation.id.in_(ids), *_lone(before))
    found = list(session.scalars(chosen.order_by(Generation.id).with_for_update()))
    hanging: tuple[Any, ...] = (Feedback, Regression)
    for table in hanging:
        _count(session, delete(table).where(table.generation_id.in_(found)))
    return _count(session, delete(Generation).where(Generation.id.in_(found)))


def old_lessons(session: Session, before: datetime, after: str = "") -> list[str]:
    """Ids of turns from before `before` that may be trained on: the first ones `after` that id."""
    return _page(session, select(Generation.id).where(*_taught(before)), Generation.id, after)


def withdraw(session: Session, ids: Sequence[str], before: datetime) -> int:
    """Those of them that may be trained on still are kept for their users alone from now on. Gives their number."""
    old = select(Generation.id, Generation.prompt_message_id).where(Generation.id.in_(ids), *_taught(before))
    rows = session.execute(old).all()
    _withdraw(session, Generation.id.in_([row.id for row in rows]))  # locks as an opt-out does, or both would wait
    _erase(session, RoundPrompt.message_id.in_([row.prompt_message_id for row in rows]))
    return len(rows)


def _silent(before: datetime) -> tuple[ColumnElement[bool], ...]:
    return Conversation.updated_at < before, Conversation.deleted_at.is_(None)


def _lone(before: datetime) -> tuple[ColumnElement[bool], ...]:
    return Generation.conversation_id.is_(None), Generation.started_at < before


def _taught(before: datetime) -> tuple[ColumnElement[bool], ...]:
    return Generation.started_at < before, Generation.consent == Consent.TRAIN.value


def _page(session: Session, chosen: Select[str], key: Any, after: str) -> list[str]:
    return list(session.scalars(chosen.where(key > after).order_by(key).limit(SOME)))
