"""The plain values that cross into and out of storage. They know no table, no session and no driver."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

ChatMessage = Mapping[str, Any]
"""An OpenAI chat message: `role`, `content` (text or parts), and for tools `tool_calls`, `tool_call_id`, `name`."""

ASIDE = "aside"  # in a turn's sampling: asked for by version, or as raw text; nothing is judged by it
LIMITS = frozenset({"max_tokens", "max_completion_tokens", "thinking_token_budget"})
STOPS = frozenset({"stop", "stop_token_ids"})
"""By these, in its sampling, a request ends its answer itself. Of a turn that is not kept it is noted which it had."""
LOST = "engine_lost"  # the finish reason of an answer whose engine died while it wrote


class Consent(StrEnum):
    """What a user allows to be done with a turn."""

    NONE = "none"  # not kept: only that a turn took place, its tokens and times
    HISTORY = "history"  # kept for the user
    TRAIN = "train"  # kept, and its prompt may be trained on


class Origin(StrEnum):
    """Where a generation came from. Only the prompts of the first two can be trained on."""

    CHAT = "chat"
    API = "api"
    TITLE = "title"
    ROLLOUT = "rollout"
    EVAL = "eval"


class RoundState(StrEnum):
    REQUESTED = "requested"
    RUNNING = "running"
    PUBLISHED = "published"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CheckpointState(StrEnum):
    CANDIDATE = "candidate"
    CANARY = "canary"
    PUBLISHED = "published"
    RETIRED = "retired"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Turn:
    """A request as it begins: what was asked, by whom, of which weights, under which consent."""

    request_id: str
    generation_id: str
    user_id: str
    messages: Sequence[ChatMessage]
    checkpoint_id: int
    model: str  # the name it was served under
    started_at: datetime
    conversation_id: str | None = None  # None: attached by the history itself; an unknown id is created
    engine: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    origin: str = Origin.API
    consent: str = Consent.NONE
    gateway: str = ""  # which gateway process streams it: that one may call it interrupted


@dataclass(frozen=True)
class Completion:
    """How that request ended. `ending` is a value of `thinking.Ending`, or "error", or "interrupted"."""

    request_id: str
    reasoning: str
    response: str
    ending: str
    ended_at: datetime
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    first_token_at: datetime | None = None
    thought_ended_at: datetime | None = None
    error: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Refused:
    """A turn of a batch that was left out, and why."""

    request_id: str
    why: str


@dataclass(frozen=True)
class TrainablePrompt:
    """A recorded prompt that may be trained on now: the messages from the root to the user's message."""

    message_id: str
    conversation_id: str
    user_id: str
    messages: list[dict[str, Any]]
    created_at: datetime


@dataclass(frozen=True)
class CuratedPrompt:
    """Curation's verdict on one prompt of a round. The ids are None for a prompt of the base mix."""

    position: int
    source: str  # recorded | mix
    split: str  # train | heldout
    verdict: str  # kept | left
    why: str
    prompt: Sequence[ChatMessage]
    message_id: str | None = None
    conversation_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True)
class Forgotten:
    """What a deletion or an opt-out took away: rows by kind."""

    conversations: int = 0
    messages: int = 0
    generations: int = 0
    feedback: int = 0
    comparisons: int = 0
    keys: int = 0
    round_prompts: int = 0  # emptied, not deleted: lineage keeps their ids
    regressions: int = 0  # answers that the gate kept an eye on

    def __add__(self, other: "Forgotten") -> "Forgotten":
        return Forgotten(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class KeptAnswer:
    """An answer that the gate asks for again: to stay as good (`good`), or never to come back (`never`)."""

    id: str
    kind: str  # good | never
    message_id: str
    messages: list[dict[str, Any]]
    response: str


@dataclass(frozen=True)
class Preference:
    """Of two answers to the prompt `message_id` the one that a person (`user_id`) preferred. The thoughts before them
    are apart."""

    message_id: str
    messages: list[dict[str, Any]]
    chosen: str
    rejected: str
    chosen_thought: str = ""
    rejected_thought: str = ""
    user_id: str = ""
