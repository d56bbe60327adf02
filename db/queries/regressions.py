"""Answers that people keep an eye on: "this was good", "never again". The gate asks their prompts again.

Only ids are kept here; the words stand in the turn, and go with it. What may not be trained on is not asked again
either: such an answer is refused, and one whose consent is withdrawn later is kept no more.
"""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.ids import new_id
from db.queries.common import insert, utcnow
from db.queries.curation import still_trainable, trainable_histories
from db.queries.feedback import own_generation
from db.schema import Generation, Regression
from db.values import Consent, KeptAnswer


def keep(session: Session, generation_id: str, user_id: str, kind: str) -> Regression:
    """`kind` is good or never; a second one replaces the first. Raises NotFound for an answer that is not this user's,
    and ValueError for one that can't be asked for again."""
    answer = own_generation(session, generation_id, user_id)
    prompt = answer.prompt_message_id
    if prompt is None or not answer.response or answer.ending != "complete":
        raise ValueError(
            f"generation {generation_id} has no recorded prompt with a whole answer (it is {answer.ending})"
        )
    if answer.consent != Consent.TRAIN or prompt not in still_trainable(session, [prompt]):
        raise ValueError(f"generation {generation_id}: its consent is not `train`, and the gate may not ask it again")
    said = {"kind": kind, "created_at": utcnow()}
    row = insert(session, Regression).values(id=new_id(), generation_id=generation_id, user_id=user_id, **said)
    session.execute(row.on_conflict_do_update(index_elements=["generation_id"], set_=said))
    found = select(Regression).where(Regression.generation_id == generation_id)
    return session.scalars(found.execution_options(populate_existing=True)).one()


def drop(session: Session, generation_id: str, user_id: str) -> None:
    """Keep no eye on it any more. Raises NotFound."""
    own = (Regression.generation_id == generation_id, Regression.user_id == user_id)
    if session.scalars(select(Regression.id).where(*own)).first() is None:
        raise NotFound("regression", generation_id)
    session.execute(delete(Regression).where(*own))


def kept_by(session: Session, user_id: str) -> Sequence[tuple[Regression, Generation]]:
    """This user's, newest first, each with its answer."""
    rows = session.execute(
        select(Regression, Generation)
        .join(Generation, Generation.id == Regression.generation_id)
        .where(Regression.user_id == user_id)
        .order_by(Regression.id.desc())
    )
    return [(row[0], row[1]) for row in rows]


def kept_in(session: Session, conversation_ids: Sequence[str]) -> list[tuple[str, Regression]]:
    """Each with the conversation of its answer, oldest first."""
    rows = session.execute(
        select(Generation.conversation_id, Regression)
        .join(Generation, Generation.id == Regression.generation_id)
        .where(Generation.conversation_id.in_(conversation_ids))
        .order_by(Regression.id)
    )
    return [(str(place), row) for place, row in rows]


def to_ask(session: Session, most: int, per_user: int) -> list[KeptAnswer]:
    """What the gate asks again: of each user the newest `per_user`, in all the newest `most`; oldest first.

    Only where the answer and its whole history may be trained on at this moment.
    """
    rows = session.execute(
        select(Regression, Generation.prompt_message_id, Generation.response)
        .join(Generation, Generation.id == Regression.generation_id)
        .where(Generation.consent == Consent.TRAIN.value)
        .order_by(Regression.created_at.desc(), Regression.id.desc())
    ).all()
    histories = trainable_histories(session, sorted({row.prompt_message_id for row in rows}))
    taken: Counter[str] = Counter()
    found: list[KeptAnswer] = []
    for kept, prompt, response in rows:
        if len(found) >= most:
            break
        if prompt in histories and taken[kept.user_id] < per_user:
            taken[kept.user_id] += 1
            found.append(KeptAnswer(kept.generation_id, kept.kind, prompt, histories[prompt], response or ""))
    return found[::-1]
