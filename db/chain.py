"""The hash of a chat history: each message's covers all before it, so that equal histories meet in one node.

What clients vary without meaning it changes no hash: a single text part against plain text, empty fields of an SDK's
message, a thought sent back, white space around an answer. Nothing here knows the database.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.types import to_json
from db.values import ChatMessage

ROOT = ""
"""The chain hash before the first message."""
DROPPED = {"role", "content", "reasoning", "reasoning_content", "refusal", "annotations", "audio", "function_call"}
"""Fields that are kept elsewhere (role, content), or not at all: a thought is no part of a history."""


@dataclass(frozen=True)
class Link:
    """A message with the hash of the chain that ends in it (64 hexadecimal digits of SHA-256)."""

    chain_hash: str
    role: str
    content: Any
    extra: dict[str, Any] | None


def link(before: str, message: ChatMessage) -> Link:
    """The link that `message` makes after the chain of hash `before`."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ValueError("a message of the history is no object with a role")
    role = message["role"]
    content = message.get("content")
    extra = {key: message[key] for key in sorted(message) if key not in DROPPED and message[key]}
    told = to_json([before, role, _essence(role, content), extra])
    return Link(hashlib.sha256(told.encode()).hexdigest(), role, content, extra or None)


def links(messages: Sequence[ChatMessage]) -> list[Link]:
    """The chain of a whole history, root first. Raises ValueError on one that is empty or no list of messages."""
    if not messages:
        raise ValueError("the history has no messages")
    chain: list[Link] = []
    before = ROOT
    for message in messages:
        chain.append(link(before, message))
        before = chain[-1].chain_hash
    return chain


def as_message(role: str, content: Any, extra: dict[str, Any] | None) -> dict[str, Any]:
    """The OpenAI message that a link was made of, without what was dropped."""
    return {"role": role, "content": content, **(extra or {})}


def _essence(role: str, content: Any) -> Any:
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        part = content[0]
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            content = part["text"]
    if role == "assistant":
        return content.strip() if isinstance(content, str) else content or ""
    return content
