"""A conversation as a file to keep: Markdown for people, JSON for programs. Pure."""

import json

from ui.tree import Conversation
from ui.words import Words


def as_markdown(conversation: Conversation, words: Words) -> str:
    """The shown path: each message under a heading, the thought as a quotation before its answer."""
    parts = [f"# {conversation.title or words('untitled')}"]
    for row in conversation.shown():
        if row.role == "user":
            parts.append(f"## {words('you_said')}\n\n{row.text}")
            parts += [f"![{words('picture')}]({url})" for url in row.pictures]
            continue
        if row.role != "assistant":
            heading = words("tool_result" if row.role == "tool" else "instructions")
            parts.append(f"## {heading}\n\n{row.text}")
            continue
        parts.append(f"## {row.model or words('answer_from')}")
        if row.thought:
            parts.append("\n".join(f"> {line}".rstrip() for line in row.thought.splitlines()))
        parts.append(row.text)
    return "\n\n".join(parts) + "\n"


def as_json(conversation: Conversation) -> str:
    """Every branch, with parents, so that nothing is lost."""
    rows = [
        {
            "id": row.id,
            "parent": row.parent,
            "role": row.role,
            "text": row.text,
            "pictures": row.pictures or None,
            "thought": row.thought or None,
            "model": row.model or None,
            "ending": row.ending if row.role == "assistant" else None,
        }
        for row in conversation.rows.values()
    ]
    whole = {"id": conversation.id, "title": conversation.title, "messages": rows}
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"
