"""Honest turns for tests of whatever reads or writes the record."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from db.ids import new_id
from db.queries.checkpoints import ensure_base
from db.queries.users import ensure_user
from db.values import Completion, Turn


def settle(session: Session, name: str = "ann", consent: str = "train") -> str:
    """A base checkpoint and a user; gives the user's id."""
    ensure_base(session, "tiny", {})
    return ensure_user(session, name, "user", consent).id


def said(*words: str) -> list[dict[str, Any]]:
    """A history in which user and assistant take turns, the user first."""
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(words)]


def a_turn(user_id: str, messages: Sequence[Mapping[str, Any]], **changed: Any) -> Turn:
    """A turn with ids of its own, under consent `train` unless changed."""
    fields: dict[str, Any] = {
        "request_id": f"request-{new_id()}",
        "generation_id": new_id(),
        "user_id": user_id,
        "messages": messages,
        "checkpoint_id": 0,
        "model": "ruminate-v0",
        "started_at": datetime.now(UTC),
        "consent": "train",
    }
    return Turn(**(fields | changed))


def its_end(turn: Turn, response: str = "Hello.", **changed: Any) -> Completion:
    """How that turn ended: well, unless changed."""
    fields: dict[str, Any] = {
        "request_id": turn.request_id,
        "reasoning": "They greet me.",
        "response": response,
        "ending": "complete",
        "ended_at": datetime.now(UTC),
        "finish_reason": "stop",
        "prompt_tokens": 5,
        "completion_tokens": 9,
        "reasoning_tokens": 4,
    }
    return Completion(**(fields | changed))
