"""What the rounds of several arms come to: each against its base, and two arms against each other, over all seeds."""

from collections.abc import Sequence
from typing import Any

from bench.learning.arms import Arm
from bench.learning.notes import Entry, Notes
from bench.learning.pooling import pooled


def summary(notes: Notes, arms: Sequence[Arm], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Of each arm its gold and what it cost; of each pair of arms (first, second) by how much the second is better."""
    return {
        "arms": {arm.name: of_arm(notes, arm) for arm in arms},
        "contrasts": {f"{second} over {first}": contrast(notes, first, second) for first, second in pairs},
    }


def of_arm(notes: Notes, arm: Arm) -> dict[str, Any]:
    """Means over the seeds whose round came to a checkpoint; `failed` are the seeds of the others."""
    rounds = notes.all(what="round", arm=arm.name)
    good = _with_gold(rounds)
    told: dict[str, Any] = {
        "seeds": [one["seed"] for one in good],
        "failed": {one["seed"]: one["error"] for one in rounds if one not in good},
        "published": sum(one["state"] == "published" for one in good),
    }
    if good:
        told["gold"] = pooled([_before(notes, one) for one in good], [one["gold"] for one in good])
        for name in ("reward", "judge", "steps", "sampled_tokens", "seconds"):
            known = [one[name] for one in good if one[name] is not None]
            told[name] = round(sum(known) / len(known), 4) if known else None
        for name in ("malformed", "thought_tokens", "response_tokens"):
            told[name] = round(sum(one[name] for one in good) / len(good), 4)
    return told


def contrast(notes: Notes, first: str, second: str) -> dict[str, Any] | None:
    """`level`: gold of the second arm against that of the first, on the same prompts; `gain`: what each added to its
    own base, against each other. Over the seeds that both have; None where there is none."""
    ones, others = (
        {one["seed"]: one for one in _with_gold(notes.all(what="round", arm=arm))} for arm in (first, second)
    )
    seeds = sorted(ones.keys() & others.keys())
    if not seeds:
        return None
    gains = [[_gain(notes, side[seed]) for seed in seeds] for side in (ones, others)]
    return {
        "seeds": seeds,
        "level": pooled([ones[seed]["gold"] for seed in seeds], [others[seed]["gold"] for seed in seeds]),
        "gain": pooled(*gains),
    }


def _with_gold(rounds: Sequence[Entry]) -> list[Entry]:
    return [one for one in rounds if one.get("gold")]


def _before(notes: Notes, round_: Entry) -> list[float]:
    """The base's gold, asked as the arm is."""
    found = notes.find(what="before", thoughtless=round_["thoughtless"])
    if found is None:
        raise ValueError(f"the notes have no gold of the base for arm {round_['arm']}; run the experiment again")
    return found["gold"]


def _gain(notes: Notes, round_: Entry) -> list[float]:
    return [after - before for before, after in zip(_before(notes, round_), round_["gold"], strict=True)]
