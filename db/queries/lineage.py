"""Where a checkpoint comes from and what went into it; and the way back: which checkpoints learnt from somebody.

Answers in counts and ids, never in words that a person wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.queries.checkpoints import find_checkpoint, get_checkpoint, lineage, without_manifests
from db.queries.common import chunks
from db.queries.curation import still_trainable
from db.queries.forget import checkpoints_that_learnt_from, rounds_that_learnt_from
from db.queries.rounds import get_round, metrics, open_round
from db.schema import KEPT, Checkpoint, Conversation, Generation, Lesson, Message, Round, RoundPrompt, User
from db.values import CheckpointState

SERVABLE = (CheckpointState.PUBLISHED, CheckpointState.RETIRED, CheckpointState.CANARY)


@dataclass(frozen=True)
class Story:
    """How a checkpoint came about. `line` goes from itself to the base; the base has no round."""

    checkpoint: Checkpoint
    line: list[Checkpoint]
    round: Round | None
    changed: dict[str, tuple[Any, Any]]
    """Settings that differ from those of the parent's round: (the parent's or None, its own)."""
    prompts: dict[str, int]
    """Prompts trained on, by source; those since forgotten are counted under `erased` as well."""
    metrics: dict[str, tuple[float, float]]
    """First and last value of each."""


@dataclass(frozen=True)
class Learnt:
    """The checkpoints that learnt from somebody, oldest first, and the newest one that did not and can be served."""

    checkpoints: list[Checkpoint]
    last_clean: Checkpoint


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint that an answer stands on. `prompts` are those that its round trained on; the base has no round."""

    checkpoint: Checkpoint
    round: Round | None
    prompts: dict[str, int]


@dataclass(frozen=True)
class Uses:
    """What rounds made of a conversation."""

    own: list[Checkpoint]
    """Those whose round trained on it, or with a reward model that had learnt from a choice in it; oldest first."""
    grown: list[Checkpoint]
    """Those that only grew out of these."""
    open_round: int | None
    """The open round, where that is one that trains on it."""
    prompts: dict[str, int]
    """How many of its messages rounds `trained` on; how many others were `heldout`, or looked at and always `left`."""
    may_train: bool
    """Whether a round may train on any of it at this moment."""


def behind_answer(session: Session, generation_id: str, user_id: str | None) -> tuple[Generation, list[Ancestor]]:
    """An answer, and what went into its weights: from the checkpoint that gave it back to the base.

    `user_id`: only where the answer is this user's. Raises NotFound.
    """
    answer = session.get(Generation, generation_id)
    if answer is None or user_id not in (None, answer.user_id):
        raise NotFound("generation", generation_id)
    line = lineage(session, answer.checkpoint_id)
    ids = [one.round_id for one in line if one.round_id is not None]
    rounds = {row.id: row for some in chunks(ids) for row in session.scalars(select(Round).where(Round.id.in_(some)))}
    counts = _trained_on(session, ids)
    return answer, [
        Ancestor(one, None, {}) if one.round_id is None else Ancestor(one, rounds[one.round_id], counts[one.round_id])
        for one in line
    ]


def story(session: Session, name: str) -> Story:
    """Of the checkpoint of this name, such as "v3". Raises NotFound."""
    checkpoint = find_checkpoint(session, name)
    if checkpoint is None:
        raise NotFound("checkpoint", name)
    line = lineage(session, checkpoint.id)
    if checkpoint.round_id is None:
        return Story(checkpoint, line, None, {}, {}, {})
    series = metrics(session, checkpoint.round_id)
    return Story(
        checkpoint,
        line,
        get_round(session, checkpoint.round_id),
        _changed(_config(line[1]) if len(line) > 1 else {}, _config(checkpoint)),
        trained_on(session, checkpoint.round_id),
        {name: (points[0][1], points[-1][1]) for name, points in series.items()},
    )


def trained_on(session: Session, round_id: int) -> dict[str, int]:
    """How many prompts the round trained on, by source, and how many of them were forgotten since."""
    return _trained_on(session, [round_id])[round_id]


def _trained_on(session: Session, round_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {round_id: {"erased": 0} for round_id in round_ids}
    for some in chunks(round_ids):
        rows = session.execute(
            select(RoundPrompt.round_id, RoundPrompt.source, func.count(), func.count(RoundPrompt.erased_at))
            .where(RoundPrompt.round_id.in_(some), RoundPrompt.split == "train", KEPT)
            .group_by(RoundPrompt.round_id, RoundPrompt.source)
        )
        for round_id, source, count, erased in rows:
            found[round_id][source] = count
            found[round_id]["erased"] += erased
    return found


def prompts(session: Session, round_id: int, after: int, limit: int, **only: str | None) -> Sequence[RoundPrompt]:
    """Which prompts a round looked at, in the order of positions, from the one behind `after` on. `only`: those whose
    split, verdict or source is this one. Raises NotFound."""
    get_round(session, round_id)
    wanted = select(RoundPrompt).where(RoundPrompt.round_id == round_id, RoundPrompt.position > after)
    for name, value in only.items():
        if value is not None:
            wanted = wanted.where(getattr(RoundPrompt, name) == value)
    return session.scalars(wanted.order_by(RoundPrompt.position).limit(limit)).all()


def preferences(session: Session, round_id: int) -> Sequence[Lesson]:
    """On which prompts people's preferences had taught the round's reward model."""
    return session.scalars(select(Lesson).where(Lesson.round_id == round_id).order_by(Lesson.message_id)).all()


def learnt(session: Session, *, user_id: str | None = None, conversation_id: str | None = None) -> Learnt:
    """Which checkpoints learnt from this user or conversation, also where it is deleted since."""
    family = checkpoints_that_learnt_from(session, user_id=user_id, conversation_id=conversation_id)
    touched = {one.id for one in family}
    servable = (Checkpoint.kind == "base") | (Checkpoint.state.in_(SERVABLE) & Checkpoint.path.is_not(None))
    newest = session.scalars(without_manifests().where(servable).order_by(Checkpoint.id.desc()))
    return Learnt(family, next((one for one in newest if one.id not in touched), None) or get_checkpoint(session, 0))


def uses(session: Session, conversation_id: str, user_id: str | None) -> Uses:
    """`user_id`: only where the conversation is this user's. Raises NotFound, also for one that was deleted."""
    row = session.get(Conversation, conversation_id)
    if row is None or row.deleted_at is not None or user_id not in (None, row.user_id):
        raise NotFound("conversation", conversation_id)
    rounds = rounds_that_learnt_from(session, conversation_id=conversation_id)
    family = checkpoints_that_learnt_from(session, conversation_id=conversation_id)
    running = open_round(session)
    looked = select(RoundPrompt.message_id, RoundPrompt.split, RoundPrompt.verdict).distinct()
    seen = session.execute(looked.where(RoundPrompt.conversation_id == conversation_id)).all()
    trained, heldout = (
        {message for message, split, verdict in seen if (split, verdict) == (kind, "kept")}
        for kind in ("train", "heldout")
    )
    asked = select(Message.id).where(Message.conversation_id == conversation_id, Message.role == "user")
    return Uses(
        own=[one for one in family if one.round_id in rounds],
        grown=[one for one in family if one.round_id not in rounds],
        open_round=running.id if running is not None and running.id in rounds else None,
        prompts={
            "trained": len(trained),
            "heldout": len(heldout - trained),
            "left": len({message for message, _, _ in seen} - trained - heldout),
        },
        may_train=bool(still_trainable(session, session.scalars(asked).all())),
    )


def whose(
    session: Session, user: str | None, conversation: str | None, owner: str | None = None
) -> tuple[str | None, str | None]:
    """(user id, conversation id) of exactly one of these: a user by name or id, or a conversation by id.

    Knows deleted ones too, by id. `owner`: only where the conversation is this user's. Raises NotFound, or ValueError
    when not exactly one is given.
    """
    if (user is None) == (conversation is None):
        raise ValueError("name one user or one conversation")
    if conversation is not None:
        row = session.get(Conversation, conversation)
        if row is None or owner not in (None, row.user_id):
            raise NotFound("conversation", conversation)
        return None, conversation
    found = session.scalars(select(User).where((User.name == user) | (User.id == user))).all()
    if not found:
        raise NotFound("user", str(user))
    by_name = [one for one in found if one.name == user]
    return (by_name or list(found))[0].id, None


def _config(checkpoint: Checkpoint) -> Mapping[str, Any]:
    return (checkpoint.manifest or {}).get("config") or {}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: (before.get(key), value) for key, value in after.items() if before.get(key) != value}
