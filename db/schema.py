"""The tables. What may be asked of them is in `db.queries`; how they came about is in `db/migrations`.

Ids of people's things are sortable text (`db.ids`), rounds, checkpoints and deployments count up and are never reused.
What was said hangs on `Conversation`; `RoundPrompt` keeps ids without foreign keys, so that lineage outlives deletion.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    MetaData,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.types import Measured, UtcTime, Words

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
COUNTING = {"sqlite_autoincrement": True}  # an id that was given out is never given out again, as in PostgreSQL


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=CONVENTION)
    type_annotation_map = {str: Words, datetime: UtcTime, dict[str, Any]: JSON, list[Any]: JSON, float: Measured}


def part_of(name: str, columns: tuple[str, ...], where: str) -> Index:
    """An index over the rows for which `where` holds: small, however long the table grows. SQLite reads no row for a
    query whose columns, those of `where` among them, are all in it."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


def one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


class User(Base):
    __tablename__ = "users"
    __table_args__ = (one_of("role", "user", "admin", "service"), one_of("consent", "none", "history", "train"))
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    consent: Mapped[str]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    forgotten_at: Mapped[datetime | None]  # all of theirs until then: a turn of then that arrives late is refused
    withdrawn_at: Mapped[datetime | None]  # their consent to train until then: one of then is recorded without it


class ApiKey(Base):
    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    hash: Mapped[str] = mapped_column(unique=True)  # SHA-256 of a key of 256 random bits
    prefix: Mapped[str]  # shown in lists, so that a person can tell keys apart
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    # limits of its own; None: the house's, 0: none
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    concurrent_answers: Mapped[int | None]
    # these two only below the house's
    max_prompt_tokens: Mapped[int | None]
    max_body_bytes: Mapped[int | None]


class Conversation(Base):
    __tablename__ = "conversations"
    __table_args__ = (
        one_of("consent", "none", "history", "train"),
        Index("ix_conversations_user_id_updated_at", "user_id", "updated_at"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str | None]
    consent: Mapped[str | None]  # None: the user's own
    pinned: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]  # a tombstone: a turn that arrives late is not recorded after all
    withdrawn_at: Mapped[datetime | None]  # as a user's, for what is said in it


class Message(Base):
    """A node of a conversation's tree. An assistant's holds the response only, never a thought."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("conversation_id", "chain_hash"),
        Index("ix_messages_user_id_chain_hash", "user_id", "chain_hash"),
        part_of("ix_messages_asked", ("id", "chain_hash", "role"), "role = 'user'"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id"), index=True)
    role: Mapped[str]
    content: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    extra: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # tool calls and the like
    chain_hash: Mapped[str]  # of the whole path from the root, see db.chain
    created_at: Mapped[datetime]


class Generation(Base):
    """One answer. Under consent `none` it has neither words nor messages, only that it took place."""

    __tablename__ = "generations"
    __table_args__ = (
        one_of("origin", "chat", "api", "title", "rollout", "eval"),
        one_of("consent", "none", "history", "train"),
        Index("ix_generations_user_id_started_at", "user_id", "started_at"),
        Index("ix_generations_checkpoint_id_started_at", "checkpoint_id", "started_at"),
        part_of("ix_generations_unfinished", ("started_at",), "ended_at IS NULL"),
        part_of("ix_generations_train", ("prompt_message_id", "origin", "consent"), "consent = 'train'"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(unique=True)
    message_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id"), index=True)
    prompt_message_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    conversation_id: Mapped[str | None] = mapped_column(ForeignKey("conversations.id"), index=True)
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoints.id"))
    model: Mapped[str]
    engine: Mapped[str]
    gateway: Mapped[str]
    reasoning: Mapped[str | None]
    response: Mapped[str | None]
    ending: Mapped[str | None]
    finish_reason: Mapped[str | None]
    sampling: Mapped[dict[str, Any]]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    reasoning_tokens: Mapped[int | None]
    started_at: Mapped[datetime]
    first_token_at: Mapped[datetime | None]
    thought_ended_at: Mapped[datetime | None]  # of a streamed answer: when its response began
    ended_at: Mapped[datetime | None]
    origin: Mapped[str]
    consent: Mapped[str]
    error: Mapped[str | None]


class Feedback(Base):
    __tablename__ = "feedback"
    __table_args__ = (UniqueConstraint("generation_id", "user_id"), CheckConstraint("rating IN (-1, 1)", name="rating"))
    id: Mapped[str] = mapped_column(primary_key=True)
    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    rating: Mapped[int]
    tags: Mapped[list[Any]]
    words: Mapped[str]
    shown: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # None: it was not told how
    created_at: Mapped[datetime]


class Comparison(Base):
    """Two answers to one prompt, side by side, and a person's choice. `shown` says what they saw, and in what order."""

    __tablename__ = "comparisons"
    __table_args__ = (one_of("choice", "left", "right", "tie"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    prompt_message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    left_generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"), index=True)
    right_generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"), index=True)
    choice: Mapped[str]
    shown: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Regression(Base):
    """An answer that a later checkpoint must not fall behind ("this was good"), or come back to ("never again")."""

    __tablename__ = "regressions"
    __table_args__ = (one_of("kind", "good", "never"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    kind: Mapped[str]
    created_at: Mapped[datetime]


class Round(Base):
    __tablename__ = "rounds"
    __table_args__ = (
        one_of("state", "requested", "running", "published", "rejected", "failed", "cancelled"),
        one_of("phase", "curate", "train", "gate", "publish"),
        COUNTING,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    open: Mapped[bool | None] = mapped_column(unique=True)  # true until it ends, then NULL: one open round at a time
    state: Mapped[str]
    algorithm: Mapped[str]
    config: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    requested_by: Mapped[str]
    reason: Mapped[str]
    trigger: Mapped[str]
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)  # claims; each has names of its own for what it loads
    stops: Mapped[int] = mapped_column(default=0, server_default="0")  # of these, those whose trainer was asked to end
    parent_checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id"))
    candidate_checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id"))
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    phase: Mapped[str | None]
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[str | None]
    funnel: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    """Once what it left is kept by number alone."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Replay(Base):
    """A round to be done again without what was forgotten, in the order of ids. `round_id`: the one that does it."""

    __tablename__ = "replays"
    __table_args__ = (COUNTING,)
    id: Mapped[int] = mapped_column(primary_key=True)
    of_round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id"))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id"), unique=True)
    by: Mapped[str]
    created_at: Mapped[datetime]


class RoundPrompt(Base):
    """A prompt that a round considered. Erasing empties `prompt`; the ids stay, to tell who learnt from it.

    What a person asked and the round left has no `prompt` either: nobody reads it again."""

    __tablename__ = "round_prompts"
    __table_args__ = (
        one_of("source", "recorded", "mix"),
        one_of("split", "train", "heldout"),
        one_of("verdict", "kept", "left"),
        part_of("ix_round_prompts_kept_of", ("user_id", "split", "round_id", "verdict"), "verdict = 'kept'"),
        part_of("ix_round_prompts_kept", ("round_id", "split", "source", "erased_at", "verdict"), "verdict = 'kept'"),
    )
    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    message_id: Mapped[str | None] = mapped_column(index=True)
    conversation_id: Mapped[str | None] = mapped_column(index=True)
    user_id: Mapped[str | None] = mapped_column(index=True)
    source: Mapped[str]
    split: Mapped[str]
    verdict: Mapped[str]
    why: Mapped[str]
    prompt: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    erased_at: Mapped[datetime | None]


class Lesson(Base):
    """A preference that a round's reward model had learnt from: whose, and on which prompt. Ids, as `RoundPrompt`."""

    __tablename__ = "lessons"
    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id"), primary_key=True)
    message_id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(index=True)
    user_id: Mapped[str] = mapped_column(primary_key=True, index=True)


class RoundMetric(Base):
    __tablename__ = "round_metrics"
    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(nullable=True)


class Checkpoint(Base):
    """A set of weights under a name that is never reused. Its files are complete when it has a `path`."""

    __tablename__ = "checkpoints"
    __table_args__ = (
        one_of("kind", "base", "adapter", "full"),
        one_of("state", "candidate", "canary", "published", "retired", "rejected"),
        COUNTING,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id"), index=True)
    # rounds and checkpoints name each other; this side is added once both tables stand
    round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id", use_alter=True), index=True)
    base: Mapped[str]
    path: Mapped[str | None]
    manifest: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    state: Mapped[str]
    created_at: Mapped[datetime]


class Deployment(Base):
    """The wanted state, append-only: the newest row holds. `supersedes` is the row it replaced, 0 for the first."""

    __tablename__ = "deployments"
    __table_args__ = (
        CheckConstraint("canary_share >= 0 AND canary_share <= 1", name="canary_share"),
        COUNTING,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    supersedes: Mapped[int] = mapped_column(unique=True)  # the compare-and-set: a row can be replaced once
    live_checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoints.id"))
    previous_checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id"))
    canary_checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id"))
    canary_share: Mapped[float] = mapped_column(default=0.0)  # of conversations, 0 to 1
    by: Mapped[str]
    reason: Mapped[str]
    created_at: Mapped[datetime]


class Engine(Base):
    """What was changed about an engine while gateways run: added to those of their settings, or removed from them."""

    __tablename__ = "engines"
    url: Mapped[str] = mapped_column(primary_key=True)
    wanted: Mapped[bool]
    by: Mapped[str]
    at: Mapped[datetime]


class EngineState(Base):
    """What an engine has loaded, probed since (`loaded`), or could not take (`failed`, and why)."""

    __tablename__ = "engine_states"
    __table_args__ = (one_of("state", "loaded", "failed"),)
    engine: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_name: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    detail: Mapped[str]
    observed_at: Mapped[datetime]


class Lease(Base):
    """What one process may do at a time, and who it is until when."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]


class Wish(Base):
    """An adapter that engines should have beside what is deployed. `until`: None is until it is taken back."""

    __tablename__ = "wishes"
    __table_args__ = (one_of("kind", "candidate", "guest", "step"),)
    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)  # as engines know it
    path: Mapped[str]
    by: Mapped[str]
    at: Mapped[datetime]
    until: Mapped[datetime | None]


class Audit(Base):
    """Who did what to the house: administration only, never what was said."""

    __tablename__ = "audit"
    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(index=True)
    detail: Mapped[dict[str, Any]]


# Written out, not as parameters: for all that SQLite knows of those, they might be in no part of an index.
KEPT = RoundPrompt.verdict == literal_column("'kept'")
"""What a round trained on or was judged on."""
ASKED = Message.role == literal_column("'user'")
"""What people wrote."""
TRAINS = Generation.consent == literal_column("'train'")
"""Turns that may be trained on."""
