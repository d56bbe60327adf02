"""Which of two answers people preferred, as far as it may be trained on: choices side by side, and thumbs.

Both answers and their prompt must have been given under consent to training, and the consent must hold today.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from db.queries.curation import trainable_histories
from db.schema import Comparison, Feedback, Generation
from db.values import Consent, Preference


def trainable_preferences(session: Session) -> list[Preference]:
    """Every choice and every pair of thumbs on answers to one prompt, oldest prompt first.

    Of thumbs, each answer that a person liked against each that they disliked. Ties and equal answers tell nothing.
    """
    found: dict[tuple[str, str], tuple[str, str, str, str, str, str]] = {}
    for prompt, user, chosen, rejected in (*_choices(session), *_thumbs(session)):
        if chosen.response != rejected.response:
            answers = chosen.response, rejected.response, chosen.reasoning or "", rejected.reasoning or ""
            found.setdefault((chosen.id, rejected.id), (prompt, *answers, user))
    prompts = sorted({prompt for prompt, *_ in found.values()})
    histories = trainable_histories(session, prompts)
    return sorted(
        (Preference(prompt, histories[prompt], *answers) for prompt, *answers in found.values() if prompt in histories),
        key=lambda one: (one.message_id, one.chosen, one.rejected),
    )


def _choices(session: Session) -> Iterator[tuple[str, str, Any, Any]]:
    left, right = aliased(Generation), aliased(Generation)
    rows = session.execute(
        select(Comparison.prompt_message_id, Comparison.user_id, Comparison.choice, left, right)
        .join(left, left.id == Comparison.left_generation_id)
        .join(right, right.id == Comparison.right_generation_id)
        .where(Comparison.choice != "tie", *_free(left), *_free(right))
        .order_by(Comparison.created_at, Comparison.id)
    )
    for prompt, user, choice, one, other in rows:
        yield (prompt, user, one, other) if choice == "left" else (prompt, user, other, one)


def _thumbs(session: Session) -> Iterator[tuple[str, str, Any, Any]]:
    up, down, liked, disliked = aliased(Feedback), aliased(Feedback), aliased(Generation), aliased(Generation)
    rows = session.execute(
        select(liked.prompt_message_id, up.user_id, liked, disliked)
        .join(up, up.generation_id == liked.id)
        .join(disliked, disliked.prompt_message_id == liked.prompt_message_id)
        .join(down, (down.generation_id == disliked.id) & (down.user_id == up.user_id))
        .where(up.rating == 1, down.rating == -1, *_free(liked), *_free(disliked))
        .order_by(liked.id, disliked.id)
    )
    yield from ((str(prompt), str(user), one, other) for prompt, user, one, other in rows)


def _free(generation: Any) -> Sequence[Any]:
    return generation.consent == Consent.TRAIN.value, generation.response.is_not(None), generation.response != ""
