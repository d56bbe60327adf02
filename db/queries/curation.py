"""Which recorded prompts may be trained on now, and which ones a round took.

A prompt is trainable when a turn that asked it allowed training, its user allows it today, its conversation does not
say otherwise, and no message on its path was given under a lesser consent. Rules about its content are the trainer's.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, or_, select, true
from sqlalchemy.orm import Session, aliased

from db.chain import as_message
from db.ids import first_id_at
from db.queries.common import chunks
from db.queries.rounds import _held, get_round
from db.schema import Conversation, Generation, Message, RoundPrompt, User
from db.values import Consent, CuratedPrompt, Origin, TrainablePrompt

PAGE = 500
"""Prompts read at a time, so that a long record is never in memory at once."""


def _asked(consent: ColumnElement[bool]) -> ColumnElement[bool]:
    """Some turn asked this message, under `consent`."""
    return select(Generation.id).where(Generation.prompt_message_id == Message.id, consent).exists()


def _trainable() -> ColumnElement[bool]:
    trains = and_(
        Generation.consent == Consent.TRAIN.value, Generation.origin.in_([Origin.CHAT.value, Origin.API.value])
    )
    return and_(
        Message.role == "user",
        User.consent == Consent.TRAIN.value,
        User.deleted_at.is_(None),
        Conversation.deleted_at.is_(None),
        or_(Conversation.consent.is_(None), Conversation.consent == Consent.TRAIN.value),
        _asked(trains),
    )


def _joined(*columns: Any) -> Select[Any]:
    return (
        select(*columns)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .join(User, User.id == Message.user_id)
    )


def trainable_prompts(session: Session, since: datetime | None = None) -> Iterator[TrainablePrompt]:
    """Every prompt that may be trained on, oldest first, each distinct history once; `since`: recorded since then.

    Reads a page at a time: keep the session open while iterating, and call `still_trainable` before using a prompt
    later. An assistant's earlier words are its responses as the client sent them.
    """
    wanted = _joined(Message.id, Message.conversation_id, Message.user_id, Message.chain_hash, Message.created_at)
    wanted = wanted.where(_trainable()).order_by(Message.id).limit(PAGE)
    if since is not None:
        wanted = wanted.where(Message.id >= first_id_at(since))
    seen: set[bytes] = set()
    last = ""
    while page := session.execute(wanted.where(Message.id > last)).all():
        last = page[-1].id
        paths = _paths(session, [row.id for row in page])
        for row in page:
            history, free = paths[row.id]
            chain = bytes.fromhex(row.chain_hash)
            if free and chain not in seen:
                seen.add(chain)
                yield TrainablePrompt(row.id, row.conversation_id, row.user_id, history, row.created_at)


def count_prompts(session: Session) -> tuple[int, int]:
    """(recorded, trainable) prompts, each distinct history counted once.

    An estimate from above of what `trainable_prompts` yields: it does not look at the consent along each path.
    """
    asked = select(func.count(Message.chain_hash.distinct())).where(Message.role == "user", _asked(true()))
    trainable = _joined(func.count(Message.chain_hash.distinct())).where(_trainable())
    return session.scalars(asked).one(), session.scalars(trainable).one()


def still_trainable(session: Session, message_ids: Sequence[str]) -> set[str]:
    """Those of the prompts that may be trained on at this moment. A round asks before each of its steps."""
    return set(trainable_histories(session, message_ids))


def trainable_histories(session: Session, message_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Of those that may be trained on at this moment, the messages from the root to the user's."""
    left: dict[str, list[dict[str, Any]]] = {}
    for chunk in chunks(message_ids, PAGE):
        found = sorted(session.scalars(_joined(Message.id).where(Message.id.in_(chunk), _trainable())))
        paths = _paths(session, found)
        left |= {message_id: paths[message_id][0] for message_id in found if paths[message_id][1]}
    return left


def save_prompts(session: Session, round_id: int, owner: str, prompts: Sequence[CuratedPrompt]) -> None:
    """What curation decided, replacing an earlier attempt's decisions. Raises LeaseLost."""
    _held(session, round_id, owner)
    session.execute(delete(RoundPrompt).where(RoundPrompt.round_id == round_id))
    rows = [
        {
            "round_id": round_id,
            "position": prompt.position,
            "message_id": prompt.message_id,
            "conversation_id": prompt.conversation_id,
            "user_id": prompt.user_id,
            "source": prompt.source,
            "split": prompt.split,
            "verdict": prompt.verdict,
            "why": prompt.why,
            "prompt": [dict(message) for message in prompt.prompt],
        }
        for prompt in prompts
    ]
    if rows:
        session.execute(insert(RoundPrompt), rows)


def round_prompts(
    session: Session, round_id: int, *, split: str | None = None, verdict: str | None = None
) -> Sequence[RoundPrompt]:
    """In the order of positions. One that was forgotten since has `prompt` None."""
    wanted = select(RoundPrompt).where(RoundPrompt.round_id == round_id).order_by(RoundPrompt.position)
    if split is not None:
        wanted = wanted.where(RoundPrompt.split == split)
    if verdict is not None:
        wanted = wanted.where(RoundPrompt.verdict == verdict)
    return session.scalars(wanted).all()


def funnel(session: Session, round_id: int) -> Sequence[tuple[str, str, str, str, int]]:
    """How many prompts of a round came to which end: (source, split, verdict, why, prompts), the most first.

    Numbers that begin a reason are left out, so that those of one kind count together. Raises NotFound.
    """
    get_round(session, round_id)
    rows = session.execute(
        select(RoundPrompt.source, RoundPrompt.split, RoundPrompt.verdict, RoundPrompt.why, func.count())
        .where(RoundPrompt.round_id == round_id)
        .group_by(RoundPrompt.source, RoundPrompt.split, RoundPrompt.verdict, RoundPrompt.why)
    )
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for source, split, verdict, why, number in rows:
        counts[source, split, verdict, re.sub(r"^\d+ tokens, ", "", why)] += number
    return [(*key, number) for key, number in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]


def _paths(session: Session, leaves: Sequence[str]) -> dict[str, tuple[list[dict[str, Any]], bool]]:
    """For each message the history from the root to it, and whether every turn on the way allowed training.

    A message that no turn of ours asked (a history brought by the client) goes with the turn that brought it.
    """
    if not leaves:
        return {}
    walk = (
        select(Message.id.label("leaf"), Message.id, Message.parent_id)
        .where(Message.id.in_(leaves))
        .cte("walk", recursive=True)
    )
    parent = aliased(Message)
    walk = walk.union_all(select(walk.c.leaf, parent.id, parent.parent_id).join(parent, parent.id == walk.c.parent_id))
    withheld = and_(
        _asked(Generation.consent != Consent.TRAIN.value), ~_asked(Generation.consent == Consent.TRAIN.value)
    )
    rows = session.execute(
        select(walk.c.leaf, Message.id, Message.parent_id, Message.role, Message.content, Message.extra, withheld).join(
            Message, Message.id == walk.c.id
        )
    )
    nodes: dict[str, dict[str | None, Any]] = {}
    for row in rows:
        nodes.setdefault(row.leaf, {})[row.id] = row
    paths: dict[str, tuple[list[dict[str, Any]], bool]] = {}
    for leaf, by_id in nodes.items():
        history: list[dict[str, Any]] = []
        free = True
        at: str | None = leaf
        while at is not None:
            node = by_id[at]
            history.append(as_message(node.role, node.content, node.extra))
            free = free and not node[-1]
            at = node.parent_id
        paths[leaf] = (history[::-1], free)
    return paths
