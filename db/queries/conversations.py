"""A user's conversations: listing, reading as a tree, naming, pinning, consent. Nobody sees another user's."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, select, true, tuple_, update
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.queries.forget import opt_out_conversation
from db.schema import Conversation, Generation, Message
from db.values import Consent


def list_conversations(
    session: Session, user_id: str, limit: int = 50, before: datetime | None = None, before_id: str | None = None
) -> Sequence[Conversation]:
    """The latest first; `before` and `before_id`, `updated_at` and `id` of the last one, go on with the next page."""
    wanted = select(Conversation).where(Conversation.user_id == user_id, Conversation.deleted_at.is_(None))
    if before is not None:
        wanted = wanted.where(further(before, before_id))
    return session.scalars(wanted.order_by(Conversation.updated_at.desc(), Conversation.id.desc()).limit(limit)).all()


def further(before: datetime, before_id: str | None) -> ColumnElement[bool]:
    """What a list has after a conversation, the latest first; without its id those of the same time are left out."""
    if before_id is None:
        return Conversation.updated_at < before
    return tuple_(Conversation.updated_at, Conversation.id) < (before, before_id)


def get_conversation(session: Session, conversation_id: str, user_id: str) -> Conversation:
    """Raises NotFound also for one that was deleted or is another user's."""
    row = session.get(Conversation, conversation_id)
    if row is None or row.deleted_at is not None or row.user_id != user_id:
        raise NotFound("conversation", conversation_id)
    return row


def all_conversations(
    session: Session, user_id: str, limit: int = 50, before_id: str | None = None
) -> Sequence[Conversation]:
    """In an order that nothing said meanwhile changes; `before_id`, the `id` of the last one, goes on with the next
    page. So that whoever reads all of them misses none."""
    wanted = select(Conversation).where(Conversation.user_id == user_id, Conversation.deleted_at.is_(None))
    if before_id is not None:
        wanted = wanted.where(Conversation.id < before_id)
    return session.scalars(wanted.order_by(Conversation.id.desc()).limit(limit)).all()


def messages_of(session: Session, *conversation_ids: str) -> Sequence[Message]:
    """All nodes of the trees, every parent before its children."""
    wanted = select(Message).where(Message.conversation_id.in_(conversation_ids))
    return session.scalars(wanted.order_by(Message.id)).all()


def generations_of(session: Session, *conversation_ids: str) -> Sequence[Generation]:
    """In the order in which they began."""
    wanted = select(Generation).where(Generation.conversation_id.in_(conversation_ids))
    return session.scalars(wanted.order_by(Generation.started_at, Generation.id)).all()


def rename(
    session: Session, conversation_id: str, user_id: str, title: str | None, unless_titled: bool = False
) -> None:
    """`unless_titled`: only a conversation without a title gets it, also when somebody renames it just now."""
    row = get_conversation(session, conversation_id, user_id)
    untitled = Conversation.title.is_(None) if unless_titled else true()
    session.execute(update(Conversation).where(Conversation.id == row.id, untitled).values(title=title))
    session.refresh(row)


def pin(session: Session, conversation_id: str, user_id: str, pinned: bool) -> None:
    get_conversation(session, conversation_id, user_id).pinned = pinned
    session.flush()


def set_consent(session: Session, conversation_id: str, user_id: str, consent: str | None) -> None:
    """For this conversation alone; None: as the user's. Less than `train` also takes back what was allowed before.

    It can't allow more than the user does: both must say `train`.
    """
    conversation = get_conversation(session, conversation_id, user_id)
    if consent is not None and consent != Consent.TRAIN:
        opt_out_conversation(session, conversation_id)
    conversation.consent = None if consent is None else Consent(consent)
    session.flush()
