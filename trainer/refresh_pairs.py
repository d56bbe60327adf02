"""Pairs of answers that a refresh of the reward model learns from: people's, and those kept in a file."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from db.queries.preferences import trainable_preferences
from db.session import Database
from trainer.prompts import Messages, has_pictures, is_heldout, up_to_user

KEPT_SHARE = 1.0
"""Kept pairs for each new one, as far as there are any."""


@dataclass(frozen=True)
class Pair:
    """Two answers to a conversation, the preferred one first. Of a kept pair, `message_id` and `user_id` are None.

    `pictures`: whether something else than text was asked as well, which `messages` leave out.
    """

    messages: Messages
    chosen: str
    rejected: str
    message_id: str | None = None
    user_id: str | None = None
    pictures: bool = False


def preferred(database: Database) -> list[Pair]:
    """What people preferred, as far as it may be trained on now: its conversations as rounds have them, text alone and
    without thoughts."""
    with database.reading() as session:
        found = trainable_preferences(session)
    return [
        Pair(
            up_to_user(one.messages), one.chosen, one.rejected, one.message_id, one.user_id, has_pictures(one.messages)
        )
        for one in found
    ]


def read_pairs(file: str) -> list[Pair]:
    """The kept pairs. Raises ValueError that names the line."""
    pairs = []
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines() if file else [], 1):
        if line.strip():
            try:
                row = json.loads(line)
                messages, answers = up_to_user(row["messages"]), (row["chosen"], row["rejected"])
                if not messages or not all(isinstance(answer, str) for answer in answers):
                    raise ValueError("no user's message, or an answer that is no text")
                pairs.append(Pair(messages, *answers))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{file}, line {number}: expected `messages`, `chosen` and `rejected` ({error!r})"
                ) from None
    return pairs


def recent(pairs: Sequence[Pair], most: int, most_of_one: int) -> list[Pair]:
    """The newest `most` of people's pairs, of which `most_of_one` at most are one user's. Oldest first, as given."""
    taken: list[Pair] = []
    of_users: Counter[str | None] = Counter()
    for pair in reversed(pairs):
        if len(taken) == most:
            break
        if of_users[pair.user_id] < most_of_one:
            of_users[pair.user_id] += 1
            taken.append(pair)
    return taken[::-1]


def mixed(new: Sequence[Pair], kept: Sequence[Pair], seed: int) -> list[Pair]:
    """All new pairs, and kept ones by KEPT_SHARE, in an order that follows from the seed."""
    dice = random.Random(f"refresh {seed}")
    chosen = [*new, *dice.sample(list(kept), min(len(kept), round(KEPT_SHARE * len(new))))]
    dice.shuffle(chosen)
    return chosen


def held_apart(pairs: Sequence[Pair], share: float, held: bool) -> list[Pair]:
    """Those of conversations that are held out, or the others."""
    return [pair for pair in pairs if is_heldout(pair.messages, share) == held]


def name_of(pair: Pair) -> str:
    """Equal for equal pairs, without their words."""
    told = json.dumps([pair.message_id, pair.chosen, pair.rejected])
    return hashlib.sha256(told.encode()).hexdigest()[:16]
