"""Forgetting: deletion and opt-out, and which weights had learnt from what was forgotten.

Words go; what stays is ids without content, so that lineage can still be told: an empty user, `RoundPrompt` rows
without their prompt, and the mark on a deleted conversation that keeps a late turn from bringing it back.

Locks come in one order everywhere: users, conversations, turns, what hangs on them, prompts of rounds; of each kind by
their keys. Turns and prompts are locked before any is changed, since a statement takes them as it finds them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, UpdateBase, delete, or_, select, update
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.queries import names
from db.queries.checkpoints import descendants
from db.queries.common import chunks, hold, utcnow
from db.schema import (
    KEPT,
    ApiKey,
    Checkpoint,
    Comparison,
    Conversation,
    Feedback,
    Generation,
    Lesson,
    Message,
    Regression,
    RoundPrompt,
    User,
)
from db.values import Consent, Forgotten

SOME = 200
"""Conversations in one transaction: nobody who records waits long for it."""


def delete_user(session: Session, user_id: str) -> Forgotten:
    """Everything of the user, keys included. Their row stays without a name; a second call finds nothing more."""
    user = lock_user(session, user_id)
    names.forget(session, user_id, user.name, f"deleted-{user_id}")
    user.name = f"deleted-{user_id}"
    user.consent = Consent.NONE
    user.deleted_at = user.deleted_at or utcnow()
    session.flush()
    gone = delete_user_data(session, user_id)
    keys = _count(session, delete(ApiKey).where(ApiKey.user_id == user_id))
    return replace(gone, keys=keys)


def delete_user_data(session: Session, user_id: str) -> Forgotten:
    """All that the user said and was told, while they remain a user.

    What of it still waits somewhere to be recorded, or is being answered just now, is refused when it arrives.
    """
    lock_user(session, user_id).forgotten_at = utcnow()
    own = select(Conversation.id).where(Conversation.user_id == user_id, Conversation.deleted_at.is_(None))
    places = list(session.scalars(own.order_by(Conversation.id).with_for_update()))
    hold(session, Generation, Generation.user_id == user_id)
    gone = _bury(session, places)
    # What is in no conversation: turns that were not kept, words about others' answers.
    return gone + Forgotten(
        feedback=_count(session, delete(Feedback).where(Feedback.user_id == user_id)),
        comparisons=_count(session, delete(Comparison).where(Comparison.user_id == user_id)),
        regressions=_count(session, delete(Regression).where(Regression.user_id == user_id)),
        generations=_count(session, delete(Generation).where(Generation.user_id == user_id)),
        round_prompts=_erase(session, RoundPrompt.user_id == user_id),
    )


def delete_some(session: Session, user_id: str) -> tuple[Forgotten, list[str]] | None:
    """A part of what `delete_user_data` deletes, and the ids of its conversations; None once there is no more.

    Whose record is long is forgotten in transactions that nobody waits for long, of which `delete_user_data` is the
    last. One that was broken off goes on where it ended.
    """
    lock_user(session, user_id).forgotten_at = utcnow()
    own = select(Conversation.id).where(Conversation.user_id == user_id, Conversation.deleted_at.is_(None))
    places = list(session.scalars(own.order_by(Conversation.id).limit(SOME).with_for_update()))
    if places:
        return _bury(session, places), places
    lone = select(Generation.id).where(Generation.user_id == user_id, Generation.conversation_id.is_(None))
    turns = list(session.scalars(lone.order_by(Generation.started_at).limit(SOME * 10)))
    if not turns:
        return None
    hold(session, Generation, Generation.id.in_(turns))
    feedback = _count(session, delete(Feedback).where(Feedback.generation_id.in_(turns)))
    return Forgotten(
        generations=_count(session, delete(Generation).where(Generation.id.in_(turns))), feedback=feedback
    ), []


def delete_conversation(session: Session, conversation_id: str, user_id: str | None = None) -> Forgotten:
    """The conversation with all in it; `user_id` makes sure whose it is. Raises NotFound, also when it is gone."""
    row = session.scalars(
        select(Conversation).where(Conversation.id == conversation_id).with_for_update()
    ).one_or_none()
    if row is None or row.deleted_at is not None or (user_id is not None and row.user_id != user_id):
        raise NotFound("conversation", conversation_id)
    return _bury(session, [conversation_id])


def opt_out(session: Session, user_id: str) -> Forgotten:
    """What the user allowed to train on so far is allowed no more, for good; their history stays theirs.

    A later opt-in allows later turns only, and what of before waits somewhere to be recorded, or is being answered just
    now, is recorded without that consent. Call `users.set_consent` for what holds from now on; it calls this.
    """
    lock_user(session, user_id).withdrawn_at = utcnow()
    regressions = _withdraw(session, Generation.user_id == user_id)
    return Forgotten(round_prompts=_erase(session, RoundPrompt.user_id == user_id), regressions=regressions)


def opt_out_conversation(session: Session, conversation_id: str) -> Forgotten:
    """As `opt_out`, for one conversation. `conversations.set_consent` calls it."""
    own = select(Conversation).where(Conversation.id == conversation_id).with_for_update()
    place = session.scalars(own, execution_options={"populate_existing": True}).one_or_none()
    if place is not None:
        place.withdrawn_at = utcnow()
    regressions = _withdraw(session, Generation.conversation_id == conversation_id)
    erased = _erase(session, RoundPrompt.conversation_id == conversation_id)
    return Forgotten(round_prompts=erased, regressions=regressions)


def checkpoints_that_learnt_from(
    session: Session,
    message_ids: Sequence[str] = (),
    *,
    user_id: str | None = None,
    conversation_id: str | None = None,
) -> list[Checkpoint]:
    """The checkpoints whose round trained on any of these, or with a reward model that had learnt from preferences on
    them, and all that grew out of those; oldest first.

    Answers also for what has been deleted since.
    """
    rounds = rounds_that_learnt_from(session, message_ids, user_id=user_id, conversation_id=conversation_id)
    made = select(Checkpoint.id).where(Checkpoint.round_id.in_(rounds))
    return descendants(session, set(session.scalars(made)))


def rounds_that_learnt_from(
    session: Session,
    message_ids: Sequence[str] = (),
    *,
    user_id: str | None = None,
    conversation_id: str | None = None,
) -> set[int]:
    """The same of rounds, the open one among them."""
    rounds: set[int] = set()
    trained = select(RoundPrompt.round_id).where(RoundPrompt.split == "train", KEPT).distinct()
    scored = select(Lesson.round_id).distinct()
    sources: tuple[tuple[Any, Any], ...] = ((trained, RoundPrompt), (scored, Lesson))
    for chosen, table in sources:
        for chunk in chunks(message_ids):
            rounds.update(session.scalars(chosen.where(table.message_id.in_(chunk))))
        if user_id is not None:
            rounds.update(session.scalars(chosen.where(table.user_id == user_id)))
        if conversation_id is not None:
            rounds.update(session.scalars(chosen.where(table.conversation_id == conversation_id)))
    return rounds


def lock_user(session: Session, user_id: str) -> User:
    """Whoever records for this user waits until the transaction ends, and then sees what it did. The row is as it is
    now, also where the session has read it before."""
    own = select(User).where(User.id == user_id).with_for_update()
    user = session.scalars(own, execution_options={"populate_existing": True}).one_or_none()
    if user is None:
        raise NotFound("user", user_id)
    return user


def _bury(session: Session, conversation_ids: list[str]) -> Forgotten:
    """Empty these conversations, which the caller has locked, in the order that foreign keys ask for."""
    totals = [0, 0, 0, 0, 0, 0]
    for ids in chunks(conversation_ids):
        hold(session, Generation, Generation.conversation_id.in_(ids))
    for ids in chunks(conversation_ids, 500):
        generations = select(Generation.id).where(Generation.conversation_id.in_(ids))
        compared = or_(Comparison.left_generation_id.in_(generations), Comparison.right_generation_id.in_(generations))
        dead = update(Conversation).where(Conversation.id.in_(ids))
        for index, statement in enumerate(
            (
                delete(Comparison).where(compared),
                delete(Feedback).where(Feedback.generation_id.in_(generations)),
                delete(Regression).where(Regression.generation_id.in_(generations)),
                delete(Generation).where(Generation.conversation_id.in_(ids)),
                delete(Message).where(Message.conversation_id.in_(ids)),
                dead.values(title=None, deleted_at=utcnow()),
            )
        ):
            totals[index] += _count(session, statement)
    comparisons, feedback, regressions, answers, messages, conversations = totals
    erased = sum(_erase(session, RoundPrompt.conversation_id.in_(ids)) for ids in chunks(conversation_ids))
    return Forgotten(conversations, messages, answers, feedback, comparisons, 0, erased, regressions)


def _withdraw(session: Session, whose: ColumnElement[bool]) -> int:
    """Returns how many answers the gate keeps an eye on no more: it would ask their prompts again."""
    hold(session, Generation, whose, Generation.consent == Consent.TRAIN.value)
    kept = select(Generation.id).where(whose)
    gone = _count(session, delete(Regression).where(Regression.generation_id.in_(kept)))
    trained = update(Generation).where(whose, Generation.consent == Consent.TRAIN.value)
    session.execute(trained.values(consent=Consent.HISTORY.value))
    return gone


def _erase(session: Session, whose: ColumnElement[bool]) -> int:
    hold(session, RoundPrompt, whose, RoundPrompt.erased_at.is_(None))
    copies = update(RoundPrompt).where(whose, RoundPrompt.erased_at.is_(None))
    return _count(session, copies.values(prompt=None, erased_at=utcnow()))


def _count(session: Session, statement: UpdateBase) -> int:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult)
    return result.rowcount
