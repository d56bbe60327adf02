"""A conversation as a tree of rows: edits and regenerations are branches, one path through it is on the page.

Pure: no HTTP, no Gradio. Rows hold what the page draws; the gateway holds the truth.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import uuid4

from ui.files import parted
from ui.markdown import render
from ui.pictures import Content, together


@dataclass
class Row:
    """One message. `generation` and what follows is an assistant's only."""

    role: str
    """user or assistant; system, developer or tool where a program began the conversation."""
    text: str
    parent: str | None
    id: str = field(default_factory=lambda: f"new-{uuid4().hex}")
    thought: str = ""
    model: str = ""
    generation: str | None = None
    seconds: float | None = None
    thought_tokens: int | None = None
    ending: str = "complete"
    rating: int | None = None
    error: str | None = None
    chosen: bool = False
    """Whether it was preferred to another answer."""
    kept: str | None = None
    """As what the gate asks for it again: good, never, or None."""
    pictures: list[str] = field(default_factory=list)
    """Addresses of the pictures that go with a user's words."""

    @cached_property
    def html(self) -> str:
        """An answer's text, rendered once: it does not change any more."""
        return render(self.text) if self.role == "assistant" else ""

    @property
    def content(self) -> Content:
        """What the message says, in OpenAI's form."""
        return together(self.text, self.pictures)


class Conversation:
    """Rows and the path through them that is shown."""

    def __init__(
        self, rows: Iterable[Row] = (), id: str | None = None, title: str = "", consent: str | None = None
    ) -> None:
        self.id, self.title, self.consent = id, title, consent
        self.thinking: dict[str, Any] | None = None  # how the newest answer was asked to think; None: not known
        self.rows: dict[str, Row] = {}
        self.path: list[str] = []
        for row in rows:
            self.rows[row.id] = row
        if self.rows:
            self._show(next(reversed(self.rows.values())))

    # -- reading

    def shown(self) -> list[Row]:
        """The rows on the page, from the first."""
        return [self.rows[name] for name in self.path]

    def messages(self, until: str | None) -> list[dict[str, Any]]:
        """The path from the root to row `until`, in OpenAI form, without thoughts.

        An answer without words (stopped in its thought, failed) goes as an empty one, as the record has it: many chat
        templates refuse two messages of the user in a row. A tool's result is left out, for its call is not known here.
        """
        chain: list[Row] = []
        while until is not None:
            row = self.rows[until]
            chain.append(row)
            until = row.parent
        return [{"role": row.role, "content": row.content} for row in reversed(chain) if row.role != "tool"]

    def siblings(self, row: Row) -> list[Row]:
        """The branches at this place, oldest first, the row itself among them."""
        return [other for other in self.rows.values() if other.parent == row.parent and other.role == row.role]

    def view(self, start: int = 0) -> list[dict[str, Any]]:
        """The shown rows from position `start`, as plain values for the page."""
        return [{**self.bare(row), "html": row.html} for row in self.shown()[start:]]

    # -- changing

    def add(self, row: Row) -> int:
        """Put a row under its parent and show it. Returns its position on the page."""
        self.rows[row.id] = row
        keep = self.path.index(row.parent) + 1 if row.parent in self.path else 0
        self.path = [*self.path[:keep], row.id]
        return keep

    def drop(self, row: Row) -> None:
        """Take a row without children away, such as an answer that failed before it began."""
        del self.rows[row.id]
        self.path = [name for name in self.path if name != row.id]

    def close_gap(self) -> None:
        """Where the record ends with a question, put an answer that was cut off before it began: one can ask again."""
        if self.path and self.rows[self.path[-1]].role == "user":
            self.add(Row("assistant", "", self.path[-1], ending="interrupted"))

    def step(self, name: str, by: int) -> int:
        """Show the branch `by` places beside row `name`. Returns the position from which the page changes."""
        row = self.rows[name]
        branches = self.siblings(row)
        target = branches[max(0, min(len(branches) - 1, branches.index(row) + by))]
        position = self.path.index(name)
        self._show(target)
        return position

    def turn_to(self, row: Row) -> int:
        """Make the path lead through `row`. Returns its position on the page."""
        self._show(row)
        return self.path.index(row.id)

    def follow(self, tip: str) -> None:
        """Show the branch with the row, or the answer, called `tip`, where there is one."""
        for row in self.rows.values():
            if tip and tip in (row.id, row.generation):
                self._show(row)
                return

    def hide(self, generations: Iterable[str]) -> None:
        """End the path above these answers, where the record has them already."""
        made = set(generations)
        for row in self.rows.values():
            if row.generation in made and row.parent is not None:
                self._show(row)
                self.path = self.path[: self.path.index(row.id)]
                return

    def _show(self, row: Row) -> None:
        """Make the path lead through `row` and on to its newest descendants."""
        above: list[str] = []
        parent = row.parent
        while parent is not None:
            above.append(parent)
            parent = self.rows[parent].parent
        self.path = [*reversed(above), row.id]
        while True:
            children = [other for other in self.rows.values() if other.parent == self.path[-1]]
            if not children:
                return
            self.path.append(children[-1].id)

    def bare(self, row: Row) -> dict[str, Any]:
        """A row as plain values, without its HTML."""
        branches = self.siblings(row)
        files, words = parted(row.text) if row.role == "user" else ([], row.text)
        return {
            "id": row.id,
            "role": row.role,
            "text": words,
            "files": [{"name": file.name, "text": file.text} for file in files],
            "pictures": row.pictures,
            "html": "",
            "thought": row.thought,
            "model": row.model,
            "generation": row.generation,
            "seconds": row.seconds,
            "thought_tokens": row.thought_tokens,
            "ending": row.ending,
            "rating": row.rating,
            "error": row.error,
            "chosen": row.chosen,
            "kept": row.kept,
            "branch": [branches.index(row) + 1, len(branches)],
        }
