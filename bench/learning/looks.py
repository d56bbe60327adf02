"""An over-long training as a list of looks at it, and what they say: when gold fell, and who stopped before. No models.

A look is a saved step: gold of unseen prompts, the gate's verdict on the weights of that step against the base, and the
scores by which the trainer's lookout would have judged them.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np

from bench.learning.notes import Entry
from bench.rounds import compare
from trainer.lookout import Look, turned_down


def fell(looks: Sequence[Entry]) -> int | None:
    """The first step at which gold is surely below the best look before it (95 %, over prompts); None: it never is."""
    for place, look in enumerate(looks[1:], 1):
        best = max(looks[:place], key=lambda one: float(np.mean(one["gold"])))
        if compare(best["gold"], look["gold"])["high"] < 0:
            return int(look["step"])
    return None


def gate_says_no(looks: Sequence[Entry]) -> int | None:
    """The first step from which the gate rejects every look to the end; None: it publishes the last one."""
    rejected = list(takewhile(lambda one: one["publish"] is False, reversed(looks)))
    return int(rejected[-1]["step"]) if rejected else None


def lookout_ends(looks: Sequence[Entry]) -> dict[str, Any] | None:
    """Where the trainer's lookout would have ended the training by its rule, why, and which weights it would take."""
    for end in range(1, len(looks) + 1):
        seen = [Look(one["step"], one["lookout_reward"], one["lookout_judge"]) for one in looks[:end]]
        why = turned_down(seen)
        if why is not None:
            best = max(seen, key=lambda one: float(np.mean(one.judge)))
            return {"step": seen[-1].updates, "takes": best.updates, "why": why}
    return None


def verdict(looks: Sequence[Entry]) -> dict[str, Any]:
    """What an over-long training shows. `looks` begin with the base (step 0), whose `publish` is None.

    `stopped_before`: whether gate or lookout said no by the look at which gold fell; None where it never fell.
    """
    golds = [float(np.mean(one["gold"])) for one in looks]
    best = int(np.argmax(golds))
    when, gate, lookout = fell(looks), gate_says_no(looks), lookout_ends(looks)
    said_no = [step for step in (gate, None if lookout is None else int(lookout["step"])) if step is not None]
    return {
        "best": {"step": looks[best]["step"], "gold": round(golds[best], 4)},
        "last": {"step": looks[-1]["step"], "against_best": compare(looks[best]["gold"], looks[-1]["gold"])},
        "reward_rose": looks[-1]["reward"] > looks[best]["reward"] if best < len(looks) - 1 else None,
        "gold_fell_at": when,
        "gate_says_no_from": gate,
        "lookout_ends": lookout,
        "stopped_before": None if when is None else bool(said_no) and min(said_no) <= when,
    }
