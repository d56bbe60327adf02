"""Of the steps of a side: samples a second, what a step is made of, time to a reward; and sides against each other.

Arithmetic only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

PARTS = ("sample", "score", "train")
LARGER_FLOOR = 1.3
"""The goal: a step takes at most so many times what the larger of its two parts takes alone."""


@dataclass(frozen=True)
class Side:
    """What was measured of one side, step by step, in seconds.

    `wall`: from the end of a step to the end of the next; of the first from where it began. `parts`: what of it was
    sampling, scoring and training; what they leave is `rest`, such as saving. `tokens`: sampled in each step.
    `rewards`: of held-out prompts, by the number of updates.
    """

    name: str
    samples: int
    wall: Sequence[float]
    parts: Mapping[str, Sequence[float]]
    tokens: Sequence[float]
    rewards: dict[int, float] = field(default_factory=dict)

    def as_json(self, target: float | None) -> dict[str, Any]:
        """Means over all steps but the first, which warms up; a single one is that one."""
        step = fmean(_warm(self.wall))
        parts = {name: fmean(_warm(self.parts[name])) for name in PARTS}
        told = {"step": step, **parts, "rest": step - sum(parts.values())}
        return {
            "steps": len(self.wall),
            "samples_per_second": round(self.samples / step, 3),
            "tokens_per_second": round(fmean(_warm(self.tokens)) / step, 1),
            "seconds": {name: round(value, 3) for name, value in told.items()},
            "seconds_first_step": round(self.wall[0], 3),
            "seconds_all": round(sum(self.wall), 1),
            "tokens_per_sample": round(fmean(_warm(self.tokens)) / self.samples, 1),
            "rewards": {str(step): round(value, 4) for step, value in sorted(self.rewards.items())},
            "seconds_to_target": None if target is None else _rounded(self.seconds_to(target)),
        }

    def seconds_to(self, target: float) -> float | None:
        """Training seconds until the held-out reward first reached `target`, on straight lines between what was
        measured; None where it never did."""
        points = sorted(self.rewards.items())
        ends = [0.0]
        for seconds in self.wall:
            ends.append(ends[-1] + seconds)
        if points and points[0][1] >= target:
            return ends[points[0][0]]
        for (before, low), (after, high) in zip(points, points[1:], strict=False):
            if low < target <= high:
                return ends[before] + (ends[after] - ends[before]) * (target - low) / (high - low)
        return None


def target_of(sides: Sequence[Side]) -> float | None:
    """The reward that every side came to: the least of their best ones. None where one did not learn at all."""
    if not sides or any(len(side.rewards) < 2 for side in sides):
        return None
    best = min(max(side.rewards.values()) for side in sides)
    start = max(side.rewards[min(side.rewards)] for side in sides)
    return best if best > start else None


def compared(sides: Sequence[Side], sampling: float, training: Mapping[str, float], goal: float) -> dict[str, Any]:
    """All of it. `sampling`, `training`: seconds of a step that does nothing else, the latter by our sides' names.

    The side `trl` is the other one; `goal` times its samples a second are wanted of our fastest. In few steps the
    samples of one side may be longer than the other's by chance: `times_trl_tokens` is the same in tokens a second.
    """
    target = target_of(sides)
    told = {side.name: side.as_json(target) for side in sides}
    ours = [side for side in sides if side.name in training]
    for side in ours:
        larger = max(sampling, training[side.name])
        told[side.name]["of_larger_floor"] = round(fmean(_warm(side.wall)) / larger, 3)
    found: dict[str, Any] = {
        "target_reward": _rounded(target, 4),
        "sides": told,
        "floors": {
            "sampling": round(sampling, 3),
            "training": {name: round(value, 3) for name, value in training.items()},
        },
    }
    best = min(ours, key=lambda side: fmean(_warm(side.wall)), default=None)
    reached: dict[str, bool] = {}
    if best is not None:
        reached["larger_floor"] = told[best.name]["of_larger_floor"] <= LARGER_FLOOR
        if "trl" in told:
            one, other = told[best.name], told["trl"]
            times = one["samples_per_second"] / other["samples_per_second"]
            found["times_trl"] = round(times, 3)
            found["times_trl_tokens"] = round(one["tokens_per_second"] / other["tokens_per_second"], 3)
            reached["trl"] = times > goal if goal == 1 else times >= goal
    return found | {"best": None if best is None else best.name, "goal": goal, "reached": reached}


def _warm(values: Sequence[float]) -> Sequence[float]:
    return values[1:] if len(values) > 1 else values


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)
