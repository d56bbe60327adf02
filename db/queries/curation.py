"""Which recorded prompts may be trained on now, and which ones a round took.

A prompt is trainable when a turn that asked it allowed training, its user allows it today, its conversation does not
say otherwise, and no message on its path was given under a lesser consent. Rules about its content are the trainer's.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, or_, select, true
from sqlalchemy.orm import Session, aliased

from db.chain import as_message
from db.ids import first_id_at
from db.queries.common import chunks, table_of, utcnow
from db.queries.rounds import _held, get_round
from db.schema import ASKED, TRAINS, Conversation, Generation, Message, Round, RoundPrompt, User
from db.values import Consent, CuratedPrompt, Origin, TrainablePrompt

LEFT_ROUNDS = 10
"""Rounds that can still tell which prompts they left, and why."""
PAGE = 500
"""Prompts read at a time, so that a long record is never in memory at once."""


def _asked(consent: ColumnElement[bool]) -> ColumnElement[bool]:
    """Some turn asked this message, under `consent`."""
    return select(Generation.id).where(Generation.prompt_message_id == Message.id, consent).exists()


def _trains() -> tuple[ColumnElement[bool], ...]:
    """Of a turn: its prompt may be trained on as far as that turn goes."""
    return TRAINS, Generation.origin.in_([Origin.CHAT.value, Origin.API.value])


def _allowed() -> ColumnElement[bool]:
    """Of a message with its conversation and user: it may be trained on as far as these go."""
    return and_(
        Message.role == "user",
        User.consent == Consent.TRAIN.value,
        User.deleted_at.is_(None),
        Conversation.deleted_at.is_(None),
        or_(Conversation.consent.is_(None), Conversation.consent == Consent.TRAIN.value),
    )


def _trainable_among(session: Session, message_ids: Sequence[str]) -> list[str]:
    """Those that may be trained on, whatever stands before them, in the order of their ids."""
    asked = _asked(and_(*_trains()))
    return sorted(session.scalars(_joined(Message.id).where(Message.id.in_(message_ids), _allowed(), asked)))


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
    asked = select(Generation.prompt_message_id).where(*_trains()).distinct()
    asked = asked.order_by(Generation.prompt_message_id).limit(PAGE)
    if since is not None:
        asked = asked.where(Generation.prompt_message_id >= first_id_at(since))
    seen: set[bytes] = set()
    last = ""
    while ids := session.scalars(asked.where(Generation.prompt_message_id > last)).all():
        last = str(ids[-1])
        wanted = _joined(Message.id, Message.conversation_id, Message.user_id, Message.chain_hash, Message.created_at)
        page = session.execute(wanted.where(Message.id.in_(ids), _allowed()).order_by(Message.id)).all()
        paths = _paths(session, [row.id for row in page])
        for row in page:
            history, free = paths[row.id]
            chain = bytes.fromhex(row.chain_hash)
            if free and chain not in seen:
                seen.add(chain)
                yield TrainablePrompt(row.id, row.conversation_id, row.user_id, history, row.created_at)


def count_prompts(session: Session) -> tuple[int, int]:
    """(recorded, trainable) prompts, each distinct history counted once. Looks through the whole record.

    An estimate from above of what `trainable_prompts` yields: it does not look at the consent along each path.
    """
    asked = select(func.count(Message.chain_hash.distinct())).where(ASKED, _asked(true()))
    train = select(Generation.prompt_message_id).where(*_trains(), Generation.prompt_message_id.is_not(None))
    trainable = _joined(func.count(Message.chain_hash.distinct())).where(Message.id.in_(train), _allowed())
    return session.scalars(asked).one(), session.scalars(trainable).one()


def still_trainable(session: Session, message_ids: Sequence[str]) -> set[str]:
    """Those of the prompts that may be trained on at this moment. A round asks before each of its steps."""
    left: set[str] = set()
    for chunk in chunks(message_ids, PAGE):
        found = _trainable_among(session, chunk)
        nodes = _nodes(session, found)
        left.update(leaf for leaf in found if not any(node.withheld for node in _climb(nodes, leaf)))
    return left


def trainable_histories(session: Session, message_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Of those that may be trained on at this moment, the messages from the root to the user's."""
    left: dict[str, list[dict[str, Any]]] = {}
    for chunk in chunks(message_ids, PAGE):
        paths = _paths(session, _trainable_among(session, chunk))
        left |= {message_id: history for message_id, (history, free) in paths.items() if free}
    return left


def save_prompts(session: Session, round_id: int, owner: str, prompts: Sequence[CuratedPrompt]) -> None:
    """What curation decided, replacing an earlier attempt's decisions. Raises LeaseLost.

    A person's words are written for those that were kept; and not of what was forgotten, or may not be trained on any
    more, since curation read it: no deletion to come would find them.
    """
    gone = _gone(session, [prompt for prompt in prompts if prompt.verdict == "kept"])
    _held(session, round_id, owner)  # locks come in one order everywhere: users, conversations, rounds
    session.execute(delete(RoundPrompt).where(RoundPrompt.round_id == round_id))
    now = utcnow()
    for some in chunks(prompts, PAGE):
        rows = []
        for prompt in some:
            left = prompt.message_id is not None and prompt.verdict != "kept"
            rows.append(
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
                    "prompt": None if left or prompt.message_id in gone else [dict(one) for one in prompt.prompt],
                    "erased_at": now if prompt.message_id in gone else None,
                }
            )
        session.execute(insert(table_of(RoundPrompt)), rows)


def settle_left(session: Session, newest: int) -> None:
    """What people asked and a round left is kept one by one for the LEFT_ROUNDS rounds up to `newest`; of older ones
    the numbers stay (`funnel`). Every round looks through the whole record: else its rows would soon be the most of it.

    Two rounds at a time: nobody waits for it long.
    """
    old = select(Round).where(Round.id <= newest - LEFT_ROUNDS, Round.open.is_(None), Round.funnel.is_(None))
    for row in session.scalars(old.order_by(Round.id).limit(2)).all():
        row.funnel = [list(one) for one in funnel(session, row.id)]
        own = (RoundPrompt.round_id == row.id, RoundPrompt.verdict == "left", RoundPrompt.message_id.is_not(None))
        session.execute(delete(RoundPrompt).where(*own), execution_options={"synchronize_session": False})
    session.flush()


def _gone(session: Session, prompts: Sequence[CuratedPrompt]) -> set[str]:
    """Messages of these that may not be trained on any more. Whoever deletes or withdraws one of the others waits until
    the transaction ends, and then finds what it wrote."""
    places = {prompt.conversation_id for prompt in prompts if prompt.conversation_id is not None}
    owners = {prompt.user_id for prompt in prompts if prompt.user_id is not None}
    found: set[str] = set()
    for table, ids, known in ((User, owners, set[str]()), (Conversation, places, found)):
        for some in chunks(sorted(ids)):
            held = select(table.id).where(table.id.in_(some)).order_by(table.id)
            known.update(session.scalars(held.with_for_update(read=True, key_share=True)))
    asked = {
        prompt.message_id for prompt in prompts if prompt.message_id is not None and prompt.conversation_id in found
    }
    return asked - still_trainable(session, sorted(asked))


def round_prompts(
    session: Session,
    round_id: int,
    *,
    split: str | None = None,
    verdict: str | None = None,
    most: int | None = None,
    with_words: bool = False,
) -> Sequence[RoundPrompt]:
    """In the order of positions, at most so many. One that was forgotten since has `prompt` None; `with_words`: only
    those that have one."""
    wanted = select(RoundPrompt).where(RoundPrompt.round_id == round_id).order_by(RoundPrompt.position).limit(most)
    if split is not None:
        wanted = wanted.where(RoundPrompt.split == split)
    if verdict is not None:
        wanted = wanted.where(RoundPrompt.verdict == verdict)
    if with_words:
        wanted = wanted.where(RoundPrompt.prompt.is_not(None), RoundPrompt.erased_at.is_(None))
    return session.scalars(wanted).all()


def funnel(session: Session, round_id: int) -> Sequence[tuple[str, str, str, str, int]]:
    """How many prompts of a round came to which end: (source, split, verdict, why, prompts), the most first.

    Numbers that begin a reason are left out, so that those of one kind count together. Raises NotFound.
    """
    kept = get_round(session, round_id).funnel
    if kept is not None:
        return [(source, split, verdict, why, number) for source, split, verdict, why, number in kept]
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
    nodes = _nodes(session, leaves, Message.role, Message.content, Message.extra)
    paths: dict[str, tuple[list[dict[str, Any]], bool]] = {}
    for leaf in leaves:
        line = list(_climb(nodes, leaf))[::-1]
        history = [as_message(node.role, node.content, node.extra) for node in line]
        paths[leaf] = history, not any(node.withheld for node in line)
    return paths


def _nodes(session: Session, leaves: Sequence[str], *columns: Any) -> dict[str, Any]:
    """The messages from the roots to `leaves` by id, each read once however many pass it: its `parent_id`, whether it
    is `withheld`, and these columns."""
    if not leaves:
        return {}
    walk = select(Message.id, Message.parent_id).where(Message.id.in_(leaves)).cte("walk", recursive=True)
    parent = aliased(Message)
    walk = walk.union(select(parent.id, parent.parent_id).join(walk, parent.id == walk.c.parent_id))
    withheld = and_(_asked(Generation.consent != Consent.TRAIN.value), ~_asked(TRAINS)).label("withheld")
    wanted = select(Message.id, Message.parent_id, withheld, *columns).join(walk, Message.id == walk.c.id)
    return {row.id: row for row in session.execute(wanted)}


def _climb(nodes: Mapping[str, Any], leaf: str) -> Iterator[Any]:
    """From a message up to the root."""
    at: str | None = leaf
    while at is not None:
        node = nodes[at]
        yield node
        at = node.parent_id
