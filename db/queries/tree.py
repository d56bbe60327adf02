"""Conversations as trees: where a history belongs, and laying it in so that what is there already is used again.

Works on batches with a few statements each. Conversations are locked, in the order of their ids, before their messages
are read: of two gateways that lay in the same history one finds what the other wrote.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.orm import Session, aliased

from db.chain import Link, links
from db.ids import new_id
from db.queries.common import chunks, insert, pairs_among, table_of
from db.schema import Conversation, Message
from db.values import ChatMessage

PAIRS = 1_000
"""Pairs looked up in one statement."""


@dataclass(frozen=True)
class Branch:
    """Messages to be laid in below `parent_id` (None: from the root), each with its time."""

    conversation_id: str
    user_id: str
    parent_id: str | None
    links: Sequence[tuple[Link, datetime]]


def attach(session: Session, user_id: str, messages: Sequence[ChatMessage]) -> str | None:
    """The conversation that a history sent without an id goes on with; None: it opens a new one.

    It is the one of this user that shares the longest beginning, which must reach at least the first user's message:
    a common system prompt makes no conversation.
    """
    chain = links(messages)
    known = _known(session, {(user_id, link.chain_hash) for link in opened(chain)})
    return deepest(known, user_id, chain)


def homes(session: Session, histories: Sequence[tuple[str, str | None, Sequence[Link]]]) -> list[str]:
    """The conversation of each (user, given conversation, chain); a new id where there is none yet."""
    asked = {(user, link.chain_hash) for user, given, chain in histories if given is None for link in opened(chain)}
    known = _known(session, asked)
    found = []
    for user, given, chain in histories:
        home = given or deepest(known, user, chain) or new_id()
        for link in opened(chain):
            known.setdefault((user, link.chain_hash), home)  # a later turn of the same batch may go on with this one
        found.append(home)
    return found


def opened(chain: Sequence[Link]) -> Sequence[Link]:
    """The chain from its first user's message on: what tells conversations apart."""
    first = next((index for index, link in enumerate(chain) if link.role == "user"), len(chain))
    return chain[first:]


def deepest(known: dict[tuple[str, str], str], user_id: str, chain: Sequence[Link]) -> str | None:
    for link in reversed(opened(chain)):
        if (user_id, link.chain_hash) in known:
            return known[user_id, link.chain_hash]
    return None


def _known(session: Session, asked: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Where these users have these chains; of several conversations the youngest."""
    known: dict[tuple[str, str], str] = {}
    for pairs in chunks(sorted(asked), PAIRS):
        rows = session.execute(  # a program may open thousands with the same words
            select(Message.user_id, Message.chain_hash, func.max(Message.conversation_id))
            .where(pairs_among(session, Message.user_id, Message.chain_hash, pairs))
            .group_by(Message.user_id, Message.chain_hash)
        )
        known.update({(user_id, chain_hash): conversation_id for user_id, chain_hash, conversation_id in rows})
    return known


class Held(NamedTuple):
    """A conversation that is locked. `owner`: None where it was deleted; `consent`: None where it is the user's own."""

    owner: str | None
    consent: str | None
    withdrawn_at: datetime | None


def open_conversations(session: Session, wanted: Iterable[tuple[str, str, datetime]]) -> dict[str, Held]:
    """Make those of the (id, user, time) that are not there, and lock all until the transaction ends.

    Gives what each id's is. The time becomes that of its last change.
    """
    latest: dict[str, tuple[str, datetime]] = {}
    for conversation_id, user_id, at in wanted:
        owner, before = latest.get(conversation_id, (user_id, at))
        latest[conversation_id] = (owner, max(before, at))
    if not latest:
        return {}
    table = table_of(Conversation)
    rows = [
        {"id": key, "user_id": user_id, "pinned": False, "created_at": at, "updated_at": at}
        for key, (user_id, at) in sorted(latest.items())
    ]
    session.execute(insert(session, table).on_conflict_do_nothing(index_elements=["id"]), rows)
    found: dict[str, Held] = {}
    older = []
    of_its_own = (Conversation.consent, Conversation.withdrawn_at)
    columns = (Conversation.id, Conversation.user_id, Conversation.deleted_at, Conversation.updated_at, *of_its_own)
    for ids in chunks(sorted(latest)):
        held = select(*columns).where(Conversation.id.in_(ids)).order_by(Conversation.id)
        for row in session.execute(held.with_for_update()):
            found[row.id] = Held(None if row.deleted_at else row.user_id, row.consent, row.withdrawn_at)
            user_id, at = latest[row.id]
            if found[row.id].owner == user_id and row.updated_at < at:
                older.append({"key": row.id, "at": at})
    if older:
        touch = update(table).where(table.c.id == bindparam("key")).values(updated_at=bindparam("at"))
        session.execute(touch, older)
    return found


def lay_in(session: Session, branches: Sequence[Branch]) -> dict[tuple[str, str], str]:
    """Add what is missing of these branches, whose conversations are locked; (conversation, hash) → message id."""
    wanted = {(branch.conversation_id, link.chain_hash) for branch in branches for link, _ in branch.links}
    ids: dict[tuple[str, str], str] = {}
    for pairs in chunks(sorted(wanted), PAIRS):
        present = select(Message.conversation_id, Message.chain_hash, Message.id).where(
            pairs_among(session, Message.conversation_id, Message.chain_hash, pairs)
        )
        rows = session.execute(present)
        ids.update({(conversation_id, chain_hash): message_id for conversation_id, chain_hash, message_id in rows})
    new = []
    for branch in branches:
        parent = branch.parent_id
        for link, at in branch.links:
            key = (branch.conversation_id, link.chain_hash)
            if key not in ids:
                ids[key] = new_id()
                new.append(
                    {
                        "id": ids[key],
                        "conversation_id": branch.conversation_id,
                        "user_id": branch.user_id,
                        "parent_id": parent,
                        "role": link.role,
                        "content": link.content,
                        "extra": link.extra,
                        "chain_hash": link.chain_hash,
                        "created_at": at,
                    }
                )
            parent = ids[key]
    if new:
        session.execute(plain_insert(table_of(Message)), new)
    return ids


def path_to(session: Session, message_id: str) -> list[Message]:
    """The messages from the root to this one; none where there is no such."""
    own = select(Message.id, Message.parent_id).where(Message.id == message_id).cte("path", recursive=True)
    parent = aliased(Message)
    path = own.union_all(select(parent.id, parent.parent_id).join(own, parent.id == own.c.parent_id))
    nodes = {node.id: node for node in session.scalars(select(Message).join(path, path.c.id == Message.id))}
    found: list[Message] = []
    node = nodes.get(message_id)
    while node is not None:
        found.append(node)
        node = nodes.get(node.parent_id or "")
    return found[::-1]
