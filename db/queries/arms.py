"""What came of the answers of a checkpoint: how they ended, what people thought of them. Nobody's words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, aliased

from db.queries.turns import INTERRUPTED
from db.schema import Comparison, Feedback, Generation
from db.values import ASIDE, LOST, Origin


@dataclass(frozen=True)
class Answered:
    """An answer that came to its end, to a person or a program. One that was interrupted says nothing and is left out.

    `conversation` is None where no words were kept. `lost`: its engine died while it wrote.
    """

    conversation: str | None
    checkpoint_id: int
    prompt: str | None
    ending: str
    sampling: dict[str, Any]
    started_at: datetime
    ended_at: datetime
    engine: str = ""
    lost: bool = False
    tokens: int = 0  # that were written, thought and response; 0: not known


def answered(
    session: Session,
    checkpoint_ids: Sequence[int],
    *,
    since: datetime | None = None,
    before: datetime | None = None,
    most: int | None = None,
    newest: bool = False,
) -> list[Answered]:
    """Answers of these checkpoints that began in [since, before), in the order in which they began.

    Without those that were asked for by version or as raw text: nobody compares these with what the alias means.

    `most`: so many of the first ones, or of the `newest`.
    """
    row = Generation
    wanted = select(
        row.conversation_id, row.checkpoint_id, row.prompt_message_id, row.ending, row.sampling, row.started_at,
        row.ended_at, row.engine, func.coalesce(row.finish_reason == LOST, False),
        func.coalesce(row.completion_tokens, 0),
    ).where(
        row.checkpoint_id.in_(checkpoint_ids),
        row.origin.in_([Origin.CHAT, Origin.API]),
        row.ended_at.is_not(None),
        row.ending != INTERRUPTED,
        _compared(row),
    )  # fmt: skip
    if since is not None:
        wanted = wanted.where(row.started_at >= since)
    if before is not None:
        wanted = wanted.where(row.started_at < before)
    order = (row.started_at.desc(), row.id.desc()) if newest else (row.started_at, row.id)
    found = [Answered(*one) for one in session.execute(wanted.order_by(*order).limit(most))]
    return found[::-1] if newest else found


def thumbs(session: Session, checkpoint_ids: Sequence[int], since: datetime) -> list[tuple[str, int, int]]:
    """(conversation, checkpoint, rating) of each thumb on an answer that began since then, in their order."""
    rows = session.execute(
        select(Generation.conversation_id, Generation.checkpoint_id, Feedback.rating)
        .join(Feedback, Feedback.generation_id == Generation.id)
        .where(
            Generation.checkpoint_id.in_(checkpoint_ids),
            Generation.started_at >= since,
            Generation.conversation_id.is_not(None),
            _compared(Generation),
        )
        .order_by(Feedback.created_at, Feedback.id)
    )
    return [(conversation, checkpoint, rating) for conversation, checkpoint, rating in rows if conversation]


def choices(session: Session, one: int, other: int, since: datetime) -> list[tuple[str, float]]:
    """(conversation, how the choice went for `one`: 1 chosen, 0 the other, 0.5 neither) of each choice since then.

    Of answers that were asked for by version only where whoever chose did not see which is whose.
    """
    left, right = aliased(Generation), aliased(Generation)
    rows = session.execute(
        select(
            left.conversation_id, left.checkpoint_id, Comparison.choice, Comparison.shown, left.sampling, right.sampling
        )
        .join(left, left.id == Comparison.left_generation_id)
        .join(right, right.id == Comparison.right_generation_id)
        .where(
            Comparison.created_at >= since,
            left.checkpoint_id.in_([one, other]),
            right.checkpoint_id.in_([one, other]),
            left.checkpoint_id != right.checkpoint_id,
        )
        .order_by(Comparison.created_at, Comparison.id)
    )
    won = {("left", True): 1.0, ("right", False): 1.0, ("left", False): 0.0, ("right", True): 0.0}
    return [
        (where, won.get((choice, first == one), 0.5))
        for where, first, choice, shown, *how in rows
        if where is not None and (shown.get("blind") is True or not any(ASIDE in sampling for sampling in how))
    ]


def _compared(row: type[Generation]) -> ColumnElement[bool]:
    return row.sampling[ASIDE].as_boolean().is_(None)
