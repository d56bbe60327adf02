"""One open page: which conversation it shows, and the values with which it is told so."""

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ui.tree import Conversation

Value = dict[str, Any]
Update = Any  # a value for a channel, or gr.skip()


@dataclass
class Tab:
    """The state that Gradio keeps per browser session. `place` stands in for a conversation's id until it has one."""

    conversation: Conversation = field(default_factory=Conversation)
    place: str = ""
    naming: "Future[str] | None" = None
    """The name that is being made for the conversation."""

    def show(self, conversation: Conversation) -> None:
        """Turn to another conversation."""
        self.conversation = conversation
        self.place = conversation.id or f"new-{uuid4().hex}"
        self.naming = None


def transcript(tab: Tab, keep: int = 0, attach: bool = False) -> Value:
    """The rows from position `keep`; `attach`: an answer is in the making, or waits for a choice."""
    conversation = tab.conversation
    return {
        "n": time.monotonic_ns(),
        "keep": keep,
        "rows": conversation.view(keep),
        "attach": attach,
        "consent": conversation.consent or "",
        "thinking": conversation.thinking,
    }


def told(sentence: str = "", download: Value | None = None, kept: Value | None = None) -> Value:
    """A sentence for the person, a file to save, or the answer (generation, kind) that an eye is kept on from now."""
    return {"n": time.monotonic_ns(), "toast": sentence, "download": download, "kept": kept}
