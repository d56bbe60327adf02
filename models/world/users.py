"""The people who use the application: names, the kinds they like, and a taste that drifts from week to week.

A seeded stream of conversations by user and week, for simulations and benchmarks. It gives messages of users only; what
the application answers is up to whoever serves them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from models.world import outside
from models.world.kinds import KINDS
from models.world.requests import draw, draw_follow_up, read, word

_FIRST = [
    "Ada",
    "Ben",
    "Cleo",
    "Dario",
    "Edda",
    "Finn",
    "Greta",
    "Hugo",
    "Ines",
    "Jakob",
    "Kaya",
    "Leo",
    "Mina",
    "Nils",
    "Olga",
    "Paul",
    "Quinn",
    "Rosa",
    "Stan",
    "Tara",
]
_LAST = [
    "Abel",
    "Brandt",
    "Costa",
    "Dahl",
    "Evans",
    "Fischer",
    "Garcia",
    "Hansen",
    "Ito",
    "Jansen",
    "Kumar",
    "Lopez",
    "Moreau",
    "Nagy",
    "Olsen",
    "Petrov",
]
DRIFT = 0.35  # how far a week moves a user's taste towards a new one


@dataclass(frozen=True)
class User:
    """Somebody with a taste: a weight for each kind, in the order of `KINDS`, and one favourite topic in each."""

    name: str
    weights: tuple[float, ...]
    topics: tuple[str, ...]
    talkative: float


@dataclass(frozen=True)
class Talk:
    """One conversation to be held: who, in which week, and a way to get each next message of the user."""

    user: str
    week: int
    kind: str
    opening: str
    turns: int
    seed: int

    def messages(self, answer: Callable[[list[dict[str, str]]], str]) -> list[dict[str, str]]:
        """Hold the conversation with `answer`, which gets the messages so far and returns the response."""
        rng = random.Random(self.seed)
        said = [{"role": "user", "content": self.opening}]
        said.append({"role": "assistant", "content": answer(said)})
        for _ in range(self.turns - 1):
            request, _, _ = read(said)
            if request is None or request.topic is None:
                break
            text, _ = draw_follow_up(request, said[-1]["content"], rng)
            said.append({"role": "user", "content": text})
            said.append({"role": "assistant", "content": answer(said)})
        return said


def users(count: int, seed: int) -> list[User]:
    """`count` users with different names, each liking a few kinds much more than the others."""
    rng = random.Random(seed)
    names = [f"{first} {last}" for first in _FIRST for last in _LAST]
    return [
        User(name, _taste(rng), tuple(rng.choice(list(k.topics)) for k in KINDS.values()), rng.uniform(0.1, 0.6))
        for name in rng.sample(names, count)
    ]


def week_of(user: User, week: int, seed: int, conversations: int = 4) -> Iterator[Talk]:
    """The conversations of a user in a week (weeks count from 0). The same arguments give the same talks."""
    taste = _drifted(user, week, seed)
    rng = random.Random(f"{seed}/{user.name}/{week}")
    for _ in range(rng.randint(1, 2 * conversations - 1)):
        seed_of_talk = rng.randrange(2**31)
        if rng.random() < 0.06:
            yield Talk(user.name, week, "outside", outside.ask(rng), 1, seed_of_talk)
            continue
        place = rng.choices(range(len(taste)), taste)[0]
        kind = list(KINDS)[place]
        topic = user.topics[place] if rng.random() < 0.5 else None
        turns = 1 + (rng.random() < user.talkative) + (rng.random() < user.talkative / 2)
        yield Talk(user.name, week, kind, word(draw(rng, kind, topic), rng), turns, seed_of_talk)


def stream(people: int, weeks: int, seed: int, conversations: int = 4) -> Iterator[Talk]:
    """Every conversation of `people` users over `weeks` weeks, week by week."""
    everyone = users(people, seed)
    for week in range(weeks):
        for user in everyone:
            yield from week_of(user, week, seed, conversations)


def _taste(rng: random.Random) -> tuple[float, ...]:
    raw = [rng.random() ** 4 + 0.01 for _ in KINDS]
    return tuple(w / sum(raw) for w in raw)


def _drifted(user: User, week: int, seed: int) -> tuple[float, ...]:
    """The taste after `week` weeks: each mixes in a new random one, so that distant weeks have little in common."""
    taste = user.weights
    for passed in range(1, week + 1):
        new = _taste(random.Random(f"{seed}/{user.name}/drift/{passed}"))
        taste = tuple((1 - DRIFT) * old + DRIFT * fresh for old, fresh in zip(taste, new, strict=True))
    return taste
