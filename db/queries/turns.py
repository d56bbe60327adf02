"""Recording turns: when one begins, when it has ended, or both at once; singly, or many in one transaction.

Everything is idempotent by `request_id`, so that a spool can be replayed. A history is laid into the conversation's
tree by the hash of its chain: what is there already is used again, an edit branches off. Under consent `none` only
that the turn took place is kept: its weights, tokens and times, no words. A turn may be recorded long after it began:
its consent is no wider than what its user and conversation allow when it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.orm import Session

from db.chain import Link, link, links
from db.errors import TurnRefused
from db.queries.common import chunks, insert, table_of, utcnow
from db.queries.tree import Branch, Held, homes, lay_in, open_conversations
from db.schema import Conversation, Generation, Message, User
from db.types import to_json
from db.values import ASIDE, LIMITS, STOPS, ChatMessage, Completion, Consent, Refused, Turn

INTERRUPTED = "interrupted"
WORDLESS = ("error", INTERRUPTED)
"""Endings after which an empty response is no answer; otherwise it is one: a thought that found no end."""
WIDTHS = list(Consent)
"""From the narrowest to the widest."""
UNFINISHED = or_(Generation.ended_at.is_(None), Generation.ending == INTERRUPTED)
"""May still be completed: a turn called interrupted at a restart may have ended well after all, in the spool."""


class Living(NamedTuple):
    """What a user's row says of turns to be recorded. Whatever began until `forgotten_at` was deleted, and what began
    until `withdrawn_at` may not be trained on."""

    forgotten_at: datetime | None
    withdrawn_at: datetime | None
    consent: str


class Placed(NamedTuple):
    """Where a turn stands in the record, by ids."""

    conversation_id: str | None = None
    prompt_message_id: str | None = None
    message_id: str | None = None


def begin_turn(session: Session, turn: Turn) -> None:
    """It was asked. Raises TurnRefused when its user or conversation is gone or somebody else's."""
    for refused in begin_many(session, [turn]):
        raise TurnRefused(refused.request_id, refused.why)


def complete_turn(session: Session, completion: Completion) -> bool:
    """It has ended. False: no such turn was begun, or what it belongs to was deleted meanwhile."""
    return not complete_many(session, [completion])


def record_turn(session: Session, turn: Turn, completion: Completion) -> None:
    """Asked and ended. Raises TurnRefused as `begin_turn` does."""
    for refused in record_many(session, [(turn, completion)]):
        raise TurnRefused(refused.request_id, refused.why)


def begin_many(session: Session, turns: Sequence[Turn]) -> list[Refused]:
    """As `begin_turn`, for a batch with few statements; gives those that are not recorded, and why."""
    return _record(session, [(turn, None) for turn in turns])


def record_many(session: Session, pairs: Sequence[tuple[Turn, Completion]]) -> list[Refused]:
    """As `record_turn`, for a batch with few statements; gives those that are not recorded, and why."""
    for turn, completion in pairs:
        if turn.request_id != completion.request_id:
            raise ValueError(f"turn {turn.request_id!r} was paired with the end of {completion.request_id!r}")
    return _record(session, pairs)


def complete_many(session: Session, completions: Sequence[Completion]) -> list[str]:
    """As `complete_turn`, for a batch; gives the request ids of which nothing is known (any more)."""
    ends = {completion.request_id: completion for completion in completions}
    rows: dict[str, Any] = {}
    for ids in chunks(list(ends)):
        wanted = select(
            Generation.id,
            Generation.request_id,
            Generation.user_id,
            Generation.conversation_id,
            Generation.prompt_message_id,
            Generation.consent,
            Message.chain_hash,
        ).outerjoin(Message, Message.id == Generation.prompt_message_id)
        wanted = wanted.add_columns(UNFINISHED.label("unfinished"))
        rows.update({row.request_id: row for row in session.execute(wanted.where(Generation.request_id.in_(ids)))})
    waiting = sorted((row for row in rows.values() if row.unfinished), key=lambda row: row.id)
    _alive(session, {row.user_id for row in waiting})  # locks come in one order everywhere: users, conversations, turns
    held = open_conversations(
        session,
        [(row.conversation_id, row.user_id, ends[row.request_id].ended_at) for row in waiting if row.conversation_id],
    )
    branches: dict[str, Branch] = {}
    for row in waiting:
        end = ends[row.request_id]
        answer = _answer(end)
        if row.chain_hash is not None and answer is not None and held[row.conversation_id].owner == row.user_id:
            grown = [(link(row.chain_hash, answer), end.ended_at)]
            branches[row.request_id] = Branch(row.conversation_id, row.user_id, row.prompt_message_id, grown)
    messages = lay_in(session, list(branches.values()))
    changes = []
    for row in waiting:
        branch = branches.get(row.request_id)
        message_id = None if branch is None else messages[branch.conversation_id, branch.links[0][0].chain_hash]
        changes.append({"key": row.id, "message_id": message_id, **_ended(ends[row.request_id], row.consent)})
    if changes:
        table = table_of(Generation)
        columns: dict[str, Any] = {name: bindparam(name) for name in changes[0] if name != "key"}
        session.execute(update(table).where(table.c.id == bindparam("key"), UNFINISHED).values(columns), changes)
    return [request_id for request_id in ends if request_id not in rows]


def interrupt_unfinished(session: Session, before: datetime, gateway: str | None = None) -> int:
    """Call the turns that began before `before` and never ended interrupted; gives their number.

    Where several gateways share a database, each names itself: the others' turns may still be running.
    """
    stale = and_(Generation.ended_at.is_(None), Generation.started_at < before)
    if gateway is not None:
        stale = and_(stale, Generation.gateway == gateway)
    # One that is locked is being completed just now.
    ids = session.scalars(select(Generation.id).where(stale).order_by(Generation.id).with_for_update(skip_locked=True))
    lost = ids.all()
    for some in chunks(lost):
        statement = update(Generation).where(Generation.id.in_(some)).values(ending=INTERRUPTED, ended_at=utcnow())
        session.execute(statement, execution_options={"synchronize_session": False})
    return len(lost)


def _record(session: Session, pairs: Sequence[tuple[Turn, Completion | None]]) -> list[Refused]:
    recorded: set[str] = set()
    for ids in chunks(sorted({turn.request_id for turn, _ in pairs})):
        recorded.update(session.scalars(select(Generation.request_id).where(Generation.request_id.in_(ids))))
    begun = [end for turn, end in pairs if end is not None and turn.request_id in recorded]
    fresh = {turn.request_id: (turn, end) for turn, end in pairs if turn.request_id not in recorded}
    refused: dict[str, str] = {}
    chains: dict[str, list[Link]] = {}
    alive = _alive(session, {turn.user_id for turn, _ in fresh.values()})
    for turn, _ in fresh.values():
        if turn.user_id not in alive:
            refused[turn.request_id] = f"user {turn.user_id!r} is unknown or was deleted"
        elif (until := alive[turn.user_id].forgotten_at) is not None and turn.started_at <= until:
            refused[turn.request_id] = f"all that user {turn.user_id!r} had said by then was deleted"
        elif turn.consent != Consent.NONE:
            try:
                to_json(dict(turn.sampling))
                chains[turn.request_id] = links(turn.messages)
            except ValueError as error:  # one turn that can't be kept must not hold up the batch
                refused[turn.request_id] = str(error)
    wanted = [(*fresh[request_id], chain) for request_id, chain in chains.items()]
    placed, consents = _place(session, wanted, alive, refused)
    rows = [
        _generation(
            replace(turn, consent=consents.get(turn.request_id, turn.consent)),
            end,
            placed.get(turn.request_id, Placed()),
        )
        for turn, end in fresh.values()
        if turn.request_id not in refused
    ]
    if rows:
        statement = insert(session, table_of(Generation)).on_conflict_do_nothing(index_elements=["request_id"])
        session.execute(statement, rows)
    if begun:
        complete_many(session, begun)
    return [Refused(request_id, why) for request_id, why in refused.items()]


def _alive(session: Session, user_ids: set[str]) -> dict[str, Living]:
    """Those who are users now. They stay so, with the consent that they have, until the transaction ends: a deletion or
    an opt-out waits for it, or it for one."""
    alive: dict[str, Living] = {}
    for ids in chunks(sorted(user_ids)):
        living = select(User.id, User.forgotten_at, User.withdrawn_at, User.consent).order_by(User.id)
        living = living.where(User.id.in_(ids), User.deleted_at.is_(None)).with_for_update(read=True, key_share=True)
        for row in session.execute(living):
            alive[row.id] = Living(row.forgotten_at, row.withdrawn_at, row.consent)
    return alive


def _place(
    session: Session,
    kept: Sequence[tuple[Turn, Completion | None, list[Link]]],
    alive: Mapping[str, Living],
    refused: dict[str, str],
) -> tuple[dict[str, Placed], dict[str, Consent]]:
    """Lay the histories, with their answers, into the tree; by request id where they stand, and the consent that holds.
    What is not kept any more stands nowhere.

    Adds to `refused` what belongs to a conversation that is deleted or somebody else's.
    """
    found = homes(session, [(turn.user_id, turn.conversation_id, chain) for turn, _, chain in kept])
    settled = [(*one, home) for one, home in zip(kept, found, strict=True)]
    quiet = [(turn, home) for turn, _, _, home in settled if alive[turn.user_id].consent == Consent.NONE]
    speak = _speaking(session, {home for _, home in quiet})
    consents = {turn.request_id: Consent.NONE for turn, home in quiet if home not in speak}
    settled = [one for one in settled if one[0].request_id not in consents]
    held = open_conversations(
        session, [(home, turn.user_id, end.ended_at if end else turn.started_at) for turn, end, _, home in settled]
    )
    branches: dict[str, tuple[Branch, Link, Link | None]] = {}
    for turn, end, chain, home in settled:
        if held[home].owner != turn.user_id:
            fate = "was deleted" if held[home].owner is None else "is not this user's"
            refused[turn.request_id] = f"conversation {home!r} {fate}"
            continue
        consents[turn.request_id] = _allowed(turn, alive[turn.user_id], held[home])
        if consents[turn.request_id] == Consent.NONE:
            continue
        grown = [(given, turn.started_at) for given in chain]
        answer = None if end is None else _answer(end)
        said = None if end is None or answer is None else link(chain[-1].chain_hash, answer)
        if end is not None and said is not None:
            grown.append((said, end.ended_at))
        branches[turn.request_id] = (Branch(home, turn.user_id, None, grown), chain[-1], said)
    ids = lay_in(session, [branch for branch, _, _ in branches.values()])
    placed = {
        request_id: Placed(
            branch.conversation_id,
            ids[branch.conversation_id, asked.chain_hash],
            None if said is None else ids[branch.conversation_id, said.chain_hash],
        )
        for request_id, (branch, asked, said) in branches.items()
    }
    return placed, consents


def _speaking(session: Session, conversation_ids: set[str]) -> set[str]:
    """Those that are there and have something kept by their own consent. (None is to be made for what is not kept.)"""
    speak: set[str] = set()
    for ids in chunks(sorted(conversation_ids)):
        own = select(Conversation.id).where(Conversation.id.in_(ids), Conversation.consent != Consent.NONE.value)
        speak.update(session.scalars(own))
    return speak


def _allowed(turn: Turn, user: Living, place: Held) -> Consent:
    """What may be done with a turn that is recorded now. Both, the user and the conversation, must allow training, now
    and since the turn began; what else is kept, the conversation says, and where it says nothing the user."""
    widest = Consent(place.consent or user.consent)
    withdrawn = any(until is not None and turn.started_at <= until for until in (user.withdrawn_at, place.withdrawn_at))
    if widest == Consent.TRAIN and (withdrawn or user.consent != Consent.TRAIN):
        widest = Consent.HISTORY
    return min(Consent(turn.consent), widest, key=WIDTHS.index)


def _generation(turn: Turn, end: Completion | None, placed: Placed) -> dict[str, Any]:
    kept = turn.consent != Consent.NONE
    return {
        "id": turn.generation_id,
        "request_id": turn.request_id,
        "message_id": placed.message_id,
        "prompt_message_id": placed.prompt_message_id,
        "user_id": turn.user_id,
        "conversation_id": placed.conversation_id,
        "checkpoint_id": turn.checkpoint_id,
        "model": turn.model,
        "engine": turn.engine,
        "gateway": turn.gateway,
        "sampling": dict(turn.sampling) if kept else _marks(turn.sampling),
        "started_at": turn.started_at,
        "origin": turn.origin,
        "consent": turn.consent,
        **_ended(end, turn.consent),
    }


def _marks(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Of a turn that is not kept: which settings speak for its end. A stop word or a schema can quote the prompt."""
    return {name: True for name in sampling if name in {ASIDE, *LIMITS, *STOPS}}


def _ended(end: Completion | None, consent: str) -> dict[str, Any]:
    """The columns of a generation that its end fills in."""
    kept = consent != Consent.NONE
    return {
        "reasoning": end.reasoning if end and kept else None,
        "response": end.response if end and kept else None,
        "ending": end.ending if end else None,
        "finish_reason": end.finish_reason if end else None,
        "prompt_tokens": end.prompt_tokens if end else None,
        "completion_tokens": end.completion_tokens if end else None,
        "reasoning_tokens": end.reasoning_tokens if end else None,
        "first_token_at": end.first_token_at if end else None,
        "thought_ended_at": end.thought_ended_at if end else None,
        "ended_at": end.ended_at if end else None,
        "error": end.error if end and kept else None,  # an engine's error can quote the prompt as well
    }


def _answer(end: Completion) -> ChatMessage | None:
    """What the history will hold, as clients send it back."""
    calls = [dict(call) for call in end.tool_calls or ()]
    if end.ending in WORDLESS and not end.response and not calls:
        return None
    answer: dict[str, Any] = {"role": "assistant", "content": end.response}
    return {**answer, "tool_calls": calls} if calls else answer
