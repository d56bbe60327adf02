"""One open page: which conversation it shows, and the values with which it is told so."""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ui.tree import Conversation

Value = dict[str, Any]
Update = Any  # a value for a channel, or gr.skip()

FORGOTTEN_S = 86_400.0  # a page that lies idle for a day is loaded anew when somebody comes back to it


@dataclass
class Tab:
    """The state that Gradio keeps per browser session. `place` stands in for a conversation's id until it has one."""

    conversation: Conversation = field(default_factory=Conversation)
    place: str = ""
    showing: str = ""
    """The page's name for what it shows; it takes a new one at each turn, and everything sent carries it. Values under
    another one are for a conversation that the page has left, or come from before a restart of its server."""
    wanted: str = ""
    """What the page asked for last, until it is read."""
    browser: str = ""
    """Whose cookie the conversation was read with."""
    naming: "Future[str] | None" = None
    """The name that is being made for the conversation that was answered last."""
    answered: Conversation | None = None

    def show(self, conversation: Conversation, browser: str = "", showing: str = "") -> None:
        """Turn to another conversation."""
        self.conversation, self.browser, self.showing = conversation, browser, showing
        self.place = conversation.id or f"new-{uuid4().hex}"

    def shows(self, browser: str, asked: Mapping[str, Any]) -> bool:
        """Whether the page that asks has before it what this tab has, as the same person."""
        return self.showing != "" and (self.showing, self.browser) == (asked.get("showing"), browser)


def transcript(tab: Tab, keep: int = 0, attach: bool = False, turned: bool = False) -> Value:
    """The rows from position `keep`. `attach`: an answer is in the making, or waits for a choice; `turned`: somebody
    has chosen this branch."""
    conversation = tab.conversation
    return {
        "n": time.monotonic_ns(),
        "showing": tab.showing,
        "keep": keep,
        "rows": conversation.view(keep),
        "attach": attach,
        "turned": turned,
        "consent": conversation.consent or "",
        "thinking": conversation.thinking,
    }


def failed(showing: str, away: bool = False) -> Value:
    """Nothing can be shown at present; what the page would have sent stays with it. `away`: the page asks again."""
    return {**transcript(Tab(showing=showing)), "failed": True, "away": away}


def stale(showing: str) -> Value:
    """The tab has lost what the page shows: it is to be read anew."""
    return {"n": time.monotonic_ns(), "showing": showing, "stale": True}


def told(
    sentence: str = "", download: Value | None = None, kept: Value | None = None, learnt: Value | None = None
) -> Value:
    """A sentence for the person, a file to save, the answer (generation, kind) that an eye is kept on from now, or what
    learnt from a conversation (`ui.learnt`)."""
    return {"n": time.monotonic_ns(), "toast": sentence, "download": download, "kept": kept, "learnt": learnt}
