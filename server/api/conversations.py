"""A user's conversations with their branches, and what they think of the answers. Nobody reaches another's."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from db.queries import conversations, feedback, forget, regressions
from db.queries.searching import search_conversations
from db.schema import Conversation
from server.api.common import ANSWERED, Before, BeforeId, House, Limit, Me, Shown
from server.forgetting import erase_files
from server.refusals import NOT_FOUND, refused
from server.views import comparison_view, conversation_view, message_view, when

router = APIRouter(prefix="/api", tags=["conversations"])
UNKNOWN = refused(NOT_FOUND)
Row = TypeVar("Row")


class ConversationChange(BaseModel):
    """What is left out stays as it is."""

    title: str | None = Field(None, max_length=500)
    pinned: bool | None = None
    consent: Literal["none", "history", "train"] | None = None
    unless_titled: bool = False
    """Leave a title alone that is there already: one that a person gave wins over one that was made up."""


class Opinion(BaseModel):
    rating: Literal[-1, 1]
    tags: list[str] = Field(default=[], max_length=20)
    words: str = Field("", max_length=10_000)
    shown: Shown = {}
    """How the answer was shown: whether its thought was in sight, and the like."""


@router.get("/conversations")
def list_conversations(
    gateway: House,
    me: Me,
    limit: Limit = 50,
    before: Before = None,
    before_id: BeforeId = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
) -> dict[str, Any]:
    """The latest first; `before` and `before_id` (`updated_at` and `id` of the last one) go on with the next page.

    With `search` those that have these words in their title or in any message; `excerpt` then shows them in the newest
    message, and is null where only the title has them.
    """
    most = min(max(limit, 1), 500)
    with gateway.database.reading() as session:
        if search and search.strip():
            found = search_conversations(session, me.user_id, search, most, before, before_id)
            return {"data": [conversation_view(one.conversation) | {"excerpt": one.excerpt} for one in found]}
        rows = conversations.list_conversations(session, me.user_id, most, before, before_id)
    return {"data": [conversation_view(row) for row in rows]}


@router.get("/conversations/{conversation_id}", responses=UNKNOWN)
def get_conversation(gateway: House, me: Me, conversation_id: str) -> dict[str, Any]:
    """With all messages: a tree, every parent before its children. Answers carry how they were generated."""
    with gateway.database.reading() as session:
        return whole(session, [conversations.get_conversation(session, conversation_id, me.user_id)])[0]


def whole(session: Session, rows: Sequence[Conversation]) -> list[dict[str, Any]]:
    """Conversations with their messages, how they were generated, and what was thought of them."""
    ids = [row.id for row in rows]
    messages = _by_place((one.conversation_id, one) for one in conversations.messages_of(session, *ids))
    answers = {one.message_id: one for one in conversations.generations_of(session, *ids) if one.message_id is not None}
    opinions = _by_place(feedback.feedback_in(session, ids))
    compared = _by_place(feedback.comparisons_in(session, ids))
    kept = _by_place(regressions.kept_in(session, ids))
    return [
        conversation_view(row) | {
            "messages": [message_view(one, answers.get(one.id)) for one in messages[row.id]],
            "feedback": [
                {"generation_id": one.generation_id, "rating": one.rating, "tags": one.tags, "words": one.words,
                 "shown": one.shown or {}, "created_at": when(one.created_at)}
                for one in opinions[row.id]
            ],
            "comparisons": [comparison_view(one) for one in compared[row.id]],
            "regressions": [
                {"generation_id": one.generation_id, "kind": one.kind, "created_at": when(one.created_at)}
                for one in kept[row.id]
            ],
        }
        for row in rows
    ]  # fmt: skip


def _by_place(found: Iterable[tuple[str, Row]]) -> defaultdict[str, list[Row]]:
    """What hangs on conversations, by their ids."""
    places: defaultdict[str, list[Row]] = defaultdict(list)
    for place, row in found:
        places[place].append(row)
    return places


@router.patch("/conversations/{conversation_id}", responses=UNKNOWN)
def change_conversation(gateway: House, me: Me, conversation_id: str, change: ConversationChange) -> dict[str, Any]:
    """Rename, pin, or say what may be done with this conversation alone (null: as the user's own setting)."""
    with gateway.database.transaction() as session:
        if "title" in change.model_fields_set:
            conversations.rename(session, conversation_id, me.user_id, change.title, change.unless_titled)
        if change.pinned is not None:
            conversations.pin(session, conversation_id, me.user_id, change.pinned)
        if "consent" in change.model_fields_set:
            conversations.set_consent(session, conversation_id, me.user_id, change.consent)
        view = conversation_view(conversations.get_conversation(session, conversation_id, me.user_id))
    gateway.places.forget(conversation_id)
    return view


@router.delete("/conversations/{conversation_id}", responses=UNKNOWN)
def delete_conversation(gateway: House, me: Me, conversation_id: str) -> dict[str, Any]:
    """With all in it, also what still waits on disk."""
    with gateway.database.transaction() as session:
        gone = forget.delete_conversation(session, conversation_id, me.user_id)
    gateway.places.forget(conversation_id)
    spooled = erase_files(gateway, lambda turn: turn.conversation_id == conversation_id)
    gateway.database.scrub()
    return {"deleted": asdict(gone) | {"spooled": spooled}}


@router.post("/generations/{generation_id}/feedback", status_code=201, dependencies=[ANSWERED], responses=UNKNOWN)
def give_feedback(gateway: House, me: Me, generation_id: str, opinion: Opinion) -> dict[str, Any]:
    """A thumb, with tags and words. A second one replaces the first."""
    with gateway.database.transaction() as session:
        feedback.give_feedback(
            session, generation_id, me.user_id, opinion.rating, opinion.tags, opinion.words, opinion.shown
        )
    return {"generation_id": generation_id, **opinion.model_dump()}


@router.delete("/generations/{generation_id}/feedback", status_code=204, responses=UNKNOWN)
def take_feedback_back(gateway: House, me: Me, generation_id: str) -> Response:
    """No thumb any more, and no words."""
    with gateway.database.transaction() as session:
        feedback.take_back(session, generation_id, me.user_id)
    return Response(status_code=204)
