"""Forgetting in every place where a gateway keeps words: rows, the spool, the journal of open turns, its memory; and
taking back what may be trained on, without it.

Rows go first and leave a mark that refuses late turns; then what waits on disk goes, which could come back no more.
Last the database lets go of the pages that held it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from db.errors import NotFound
from db.queries import conversations, users
from db.queries import forget as queries
from db.schema import Conversation, User
from db.values import Consent, Forgotten, Turn
from server.auth import LOCAL
from server.claim import Claim
from server.gateway import Gateway
from server.journal import Journal
from server.spool import Spool


@dataclass(frozen=True)
class Gone:
    """Rows by kind, and turns on this machine's disk."""

    rows: Forgotten
    spooled: int


def forget(gateway: Gateway, *, user_id: str | None = None, conversation_id: str | None = None) -> Gone:
    """Delete a user with all of theirs, or one conversation. What is gone already is no error.

    The user of requests that need no key loses their data and stays: there is nobody else to be on this machine.
    """
    if user_id is not None:
        return _of_user(gateway, user_id, lambda user: user is not None and user.name == LOCAL)
    assert conversation_id is not None
    try:
        with gateway.database.transaction() as session:
            rows = queries.delete_conversation(session, conversation_id)
    except NotFound:
        rows = Forgotten()
    return _elsewhere(gateway, rows, [conversation_id], lambda turn: turn.conversation_id == conversation_id)


def withdraw(gateway: Gateway, *, user_id: str | None = None, conversation_id: str | None = None) -> Forgotten:
    """Take back what a user, or one conversation, allowed to train on, as an opt-out of their own does.

    Words stay theirs; the copies that rounds kept of them go. Of what is deleted already there is nothing to take back.
    """
    with gateway.database.transaction() as session:
        if user_id is not None:
            rows = queries.opt_out(session, user_id)
            user = session.get(User, user_id)
            if user is not None and user.consent == Consent.TRAIN:
                users.set_consent(session, user_id, Consent.HISTORY)
        else:
            assert conversation_id is not None
            rows = queries.opt_out_conversation(session, conversation_id)
            place = session.get(Conversation, conversation_id)
            if place is not None and place.deleted_at is None and place.consent in (None, Consent.TRAIN):
                conversations.set_consent(session, conversation_id, place.user_id, Consent.HISTORY)
    if user_id is not None:
        gateway.door.forget(user_id)
    else:
        gateway.places.forget(str(conversation_id))
    gateway.database.scrub()
    return rows


def forget_data(gateway: Gateway, user_id: str) -> Gone:
    """Delete all that a user said and was told; they remain, with their keys."""
    return _of_user(gateway, user_id, lambda _: True)


def _of_user(gateway: Gateway, user_id: str, stays: Callable[[User | None], bool]) -> Gone:
    rows, places = Forgotten(), list[str]()
    while True:
        with gateway.database.transaction() as session:
            some = queries.delete_some(session, user_id)
        if some is None:
            break
        rows, places = rows + some[0], places + some[1]
    with gateway.database.transaction() as session:
        delete = queries.delete_user_data if stays(session.get(User, user_id)) else queries.delete_user
        rows += delete(session, user_id)
    gateway.door.forget(user_id)
    return _elsewhere(gateway, rows, places, lambda turn: turn.user_id == user_id)


def _elsewhere(gateway: Gateway, rows: Forgotten, places: list[str], whose: Callable[[Turn], bool]) -> Gone:
    spooled = erase_files(gateway, whose)
    for place in places:
        gateway.places.forget(place)
    gateway.database.scrub()
    return Gone(rows, spooled)


def erase_files(gateway: Gateway, whose: Callable[[Turn], bool]) -> int:
    """Take turns out of this gateway's files, and out of those that gateways which are gone left behind."""
    gateway.feeds.erase(whose)
    erased = gateway.spool.erase(whose) + gateway.journal.erase(whose)
    own = gateway.spool.folder
    for folder in sorted(path for path in own.parent.glob("gateway-*") if path.is_dir() and path != own):
        claim = Claim(folder)
        try:
            if claim.take():
                erased += Spool(folder).erase(whose) + Journal(folder).erase(whose)
        finally:
            claim.release()
    return erased
