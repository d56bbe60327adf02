"""What people thought of answers: a thumb with words, or a choice between two."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, aliased

from db.errors import NotFound
from db.ids import new_id
from db.queries.common import insert, utcnow
from db.schema import Comparison, Feedback, Generation


def own_generation(session: Session, generation_id: str, user_id: str) -> Generation:
    """Raises NotFound for one that is not this user's."""
    generation = session.get(Generation, generation_id)
    if generation is None or generation.user_id != user_id:
        raise NotFound("generation", generation_id)
    return generation


def give_feedback(
    session: Session,
    generation_id: str,
    user_id: str,
    rating: int,
    tags: Sequence[str] = (),
    words: str = "",
    shown: Mapping[str, Any] | None = None,
) -> None:
    """`rating` is 1 or -1; `shown` says how they saw the answer. A second one by the same user replaces the first."""
    own_generation(session, generation_id, user_id)
    said = {"rating": rating, "tags": list(tags), "words": words, "created_at": utcnow()}
    said["shown"] = None if shown is None else dict(shown)
    row = insert(session, Feedback).values(id=new_id(), generation_id=generation_id, user_id=user_id, **said)
    session.execute(row.on_conflict_do_update(index_elements=["generation_id", "user_id"], set_=said))


def take_back(session: Session, generation_id: str, user_id: str) -> None:
    """The user has no opinion on this answer any more. Raises NotFound for one that is not this user's."""
    own_generation(session, generation_id, user_id)
    session.execute(delete(Feedback).where(Feedback.generation_id == generation_id, Feedback.user_id == user_id))


def feedback_in(session: Session, conversation_ids: Sequence[str]) -> list[tuple[str, Feedback]]:
    """Each with the conversation of its answer, in the order in which it was first given."""
    rows = session.execute(
        select(Generation.conversation_id, Feedback)
        .join(Generation, Generation.id == Feedback.generation_id)
        .where(Generation.conversation_id.in_(conversation_ids))
        .order_by(Feedback.id)
    )
    return [(str(place), row) for place, row in rows]


def compare(
    session: Session, user_id: str, left_id: str, right_id: str, choice: str, shown: Mapping[str, Any]
) -> Comparison:
    """The user saw generations `left_id` and `right_id`, two answers to one prompt, and chose left, right or tie."""
    left, right = (own_generation(session, generation_id, user_id) for generation_id in (left_id, right_id))
    if left.prompt_message_id is None or left.prompt_message_id != right.prompt_message_id:
        raise ValueError(f"generations {left_id} and {right_id} don't answer the same recorded prompt")
    comparison = Comparison(
        id=new_id(),
        user_id=user_id,
        prompt_message_id=left.prompt_message_id,
        left_generation_id=left_id,
        right_generation_id=right_id,
        choice=choice,
        shown=dict(shown),
        created_at=utcnow(),
    )
    session.add(comparison)
    session.flush()
    return comparison


def comparisons_in(session: Session, conversation_ids: Sequence[str]) -> list[tuple[str, Comparison]]:
    """Each choice with the conversation that its answers are of, oldest first."""
    rows = session.execute(
        select(Generation.conversation_id, Comparison)
        .join(Generation, Generation.id == Comparison.left_generation_id)
        .where(Generation.conversation_id.in_(conversation_ids))
        .order_by(Comparison.created_at, Comparison.id)
    )
    return [(str(place), row) for place, row in rows]


def chosen(session: Session) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Of each two models that people compared: how often the first was chosen, the second, and neither."""
    left, right = aliased(Generation), aliased(Generation)
    rows = session.execute(
        select(left.model, right.model, Comparison.choice, func.count())
        .join(left, left.id == Comparison.left_generation_id)
        .join(right, right.id == Comparison.right_generation_id)
        .where(left.model != right.model)
        .group_by(left.model, right.model, Comparison.choice)
    )
    found: dict[tuple[str, str], list[int]] = {}
    for one, other, choice, count in rows:
        first, second = sorted((one, other))
        winner = {"left": one, "right": other}.get(choice)
        counts = found.setdefault((first, second), [0, 0, 0])
        counts[2 if winner is None else 0 if winner == first else 1] += count
    return {pair: (counts[0], counts[1], counts[2]) for pair, counts in found.items()}
