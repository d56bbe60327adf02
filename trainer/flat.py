"""Groups whose samples all earn the same: their advantages are 0, so that a step learns nothing from them.

Which of a step's groups are flat, which prompts are asked in their place, and which groups the step trains on. What is
asked in their place follows from the round's seed and the step alone, so that a resumed step asks the same. Plain
values only: samples and scores come from `trainer.rollout`.
"""

import random
from collections.abc import Collection, Sequence

FLAT = 1e-4
"""Rewards that lie nearer to each other than this: TRL adds as much to the deviation that it divides by."""


def flat(rewards: Sequence[float], group_size: int) -> list[int]:
    """The places of the flat groups among rewards that stand group by group."""
    groups = [rewards[start : start + group_size] for start in range(0, len(rewards), group_size)]
    return [place for place, group in enumerate(groups) if max(group) - min(group) < FLAT]


def others(keys: Sequence[str], step_keys: Collection[str], seed: int) -> list[str]:
    """Those of `keys` that are not in this step, in the order in which they are to be asked in place of flat ones."""
    left = [key for key in keys if key not in step_keys]
    random.Random(seed).shuffle(left)
    return left


def replacements(flat_places: Sequence[int], rewards: Sequence[float], group_size: int) -> list[tuple[int, int]]:
    """(place of a flat group, place of the further group that is trained on instead), for as many as there are.

    `rewards`: of the further groups; those that are flat as well replace nothing.
    """
    useless = set(flat(rewards, group_size))
    useful = [place for place in range(len(rewards) // group_size) if place not in useless]
    return list(zip(flat_places, useful, strict=False))
