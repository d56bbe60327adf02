"""The plain values of the world: a constraint, a request, the tables of a kind. No text is made here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
NUMBER_WORDS = {1: "one"} | {value: word for word, value in NUMBERS.items()}


@dataclass(frozen=True, order=True)
class Constraint:
    """One checkable wish, such as ("avoid", "nuts") or ("words", "60")."""

    name: str
    value: str = ""


@dataclass(frozen=True)
class Request:
    """What a conversation asks for at its last user message. `topic` is None where the text names none."""

    kind: str
    topic: str | None
    constraints: tuple[Constraint, ...] = ()

    def get(self, name: str) -> str | None:
        return next((c.value for c in self.constraints if c.name == name), None)

    def having(self, *new: Constraint) -> Request:
        """The request with constraints added; one of the same name is replaced, except wishes to mention more."""
        names = {c.name for c in new if c.name != "mention"}
        kept = tuple(c for c in self.constraints if c.name not in names and c not in new)
        return Request(self.kind, self.topic, kept + new)

    def without(self, *names: str) -> Request:
        return Request(self.kind, self.topic, tuple(c for c in self.constraints if c.name not in names))


@dataclass(frozen=True)
class Item:
    """A line of a list: a head, and details of which one may follow after a comma."""

    head: str
    details: tuple[str, ...]


def items(table: str) -> tuple[Item, ...]:
    """Items of a table with one `head: detail | detail` a line."""
    found = []
    for line in filter(None, map(str.strip, table.splitlines())):
        head, _, rest = line.partition(": ")
        found.append(Item(head, tuple(d.strip() for d in rest.split("|") if d.strip())))
    return tuple(found)


def lines(table: str) -> tuple[str, ...]:
    """The non-empty lines of a table."""
    return tuple(filter(None, map(str.strip, table.splitlines())))


def words(table: str) -> tuple[str, ...]:
    """The words of a table."""
    return tuple(table.split())


@dataclass(frozen=True)
class Topic:
    """A subject within a kind. `plural` names it in a request, `words` are further words that show it was kept to."""

    name: str
    items: tuple[Item, ...] = ()
    sentences: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """The tables of one kind of request.

    `asks` are requests with the slots {n} and {topic}; `values` the values that each constraint may take here;
    `quals` follow the opening of a list inline, `says` are whole sentences that meet a constraint ({v} is its value);
    `mentions` gives for each word that a user may want mentioned the sentences or items that do it. The items of an
    `ordered` kind keep the order of their table; `joint` stands between an item's head and its detail.
    """

    name: str
    label: str
    pattern: str
    topics: Mapping[str, Topic]
    asks: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    says: Mapping[str, tuple[str, ...]]
    quals: Mapping[str, str] = field(default_factory=dict)
    mentions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mention_items: bool = False
    listed: bool = True
    ordered: bool = False
    joint: str = ", "
    noun: str = ""
    intros: tuple[str, ...] = ()
    closings: tuple[str, ...] = ()
    tips: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
