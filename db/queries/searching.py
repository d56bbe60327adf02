"""Finding a user's conversations by words of their titles and messages, in any branch. Nobody finds another's.

The database narrows it down by LIKE over the JSON of the messages, in which a word of ASCII stands as it is; what it
gives is then read, so that letters of all alphabets match in both cases and no image or field name counts as words.
There is no index: what is not found costs one look at everything that its user said.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, exists, or_, select
from sqlalchemy.orm import Session

from db.queries.conversations import further
from db.schema import Conversation, Message

CHUNK = 100  # conversations looked at together
AROUND = 60  # characters shown on each side of what was found
_UNSURE = re.compile(r'[^!-~]+|["\\%_]')
"""What JSON, LIKE or the case of a letter may write in another way."""


@dataclass(frozen=True)
class Found:
    """`excerpt` is from the newest message that has the words; None where only the title has them."""

    conversation: Conversation
    excerpt: str | None


def search_conversations(
    session: Session,
    user_id: str,
    words: str,
    limit: int = 50,
    before: datetime | None = None,
    before_id: str | None = None,
) -> list[Found]:
    """Those that have `words` in a row, in any case, the latest first; `before` and `before_id` as in listing them."""
    wanted = " ".join(words.split())
    if not wanted:
        return []
    pattern = re.compile(re.escape(wanted), re.IGNORECASE)
    like = f"%{_UNSURE.sub('%', wanted)}%"
    found: list[Found] = []
    for chunk in _candidates(session, user_id, like, before, before_id):
        excerpts = _excerpts(session, [row.id for row in chunk], like, pattern)
        for row in chunk:
            if row.id in excerpts or pattern.search(_flat(row.title or "")):
                found.append(Found(row, excerpts.get(row.id)))
        if len(found) >= limit:
            break
    return found[:limit]


def _candidates(
    session: Session, user_id: str, like: str, before: datetime | None, before_id: str | None
) -> Iterator[list[Conversation]]:
    said = exists().where(Message.conversation_id == Conversation.id, _alike(session, Message.content, like))
    if session.get_bind().dialect.name == "postgresql":  # looks through all messages at once: let these be the user's
        said = said.where(Message.user_id == user_id)
    wanted = select(Conversation).where(
        Conversation.user_id == user_id,
        Conversation.deleted_at.is_(None),
        or_(_alike(session, Conversation.title, like), said),
    )
    if before is not None:
        wanted = wanted.where(further(before, before_id))
    wanted = wanted.order_by(Conversation.updated_at.desc(), Conversation.id.desc()).limit(CHUNK)
    last: Conversation | None = None
    while True:
        rest = wanted if last is None else wanted.where(further(last.updated_at, last.id))
        chunk = list(session.scalars(rest))
        if not chunk:
            return
        yield chunk
        if len(chunk) < CHUNK:
            return
        last = chunk[-1]


def _excerpts(session: Session, ids: list[str], like: str, pattern: re.Pattern[str]) -> dict[str, str]:
    """Of each conversation that has the words in a message, those around them in the newest one."""
    said = select(Message.conversation_id, Message.content).where(Message.conversation_id.in_(ids))
    said = said.where(_alike(session, Message.content, like)).order_by(Message.id)
    excerpts: dict[str, str] = {}
    for conversation_id, content in session.execute(said):
        text = _flat(_text(content))
        if (hit := pattern.search(text)) is not None:
            begin, end = max(0, hit.start() - AROUND), hit.end() + AROUND
            excerpts[conversation_id] = (
                ("…" if begin else "") + text[begin:end].strip() + ("…" if end < len(text) else "")
            )
    return excerpts


def _alike(session: Session, column: Any, like: str) -> ColumnElement[bool]:
    """LIKE in any case: SQLite's own takes ASCII so, and lower() of it would only cost time."""
    text = cast(column, Text)
    return text.ilike(like) if session.get_bind().dialect.name == "postgresql" else text.like(like)


def _text(content: Any) -> str:
    """A message's words, without its images."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and part.get("text"))


def _flat(text: str) -> str:
    return " ".join(text.split())
