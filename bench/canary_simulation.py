"""How often a canary's tests err, and how many conversations they need: drawn arms, looked at after every conversation.

Run `make bench-canary_simulation`. The canary gets a tenth of the conversations.
"""

import argparse
import json
from typing import Any

import numpy as np

from server.sequential import evidence
from server.trial import MARGINS, TESTS

SHARE, LEVEL = 0.1, 0.05
BLOCK = round((1 - SHARE) / SHARE)


def gaps(dice: np.random.Generator, candidate: float, live: float, runs: int, events: int) -> np.ndarray:
    """Each of the candidate's outcomes less the mean of live's meanwhile: (runs, events)."""
    return dice.binomial(1, candidate, (runs, events)) - dice.binomial(BLOCK, live, (runs, events)) / BLOCK


def reached(gains: np.ndarray, worst: float, needed: float) -> tuple[float, float]:
    """Share of runs whose evidence ever reached `needed`, and the median event at which it did (inf: most never)."""
    events = gains.shape[1]
    looks = np.unique(np.linspace(1, events, 60).astype(int))
    when = np.full(len(gains), np.inf)
    for look in looks[::-1]:
        when[evidence(gains[:, :look], worst) >= needed] = look
    return float((when <= events).mean()), float(np.median(when))


def as_json(share: float, median: float) -> dict[str, float | None]:
    """`conversations`: the median; None where most runs never came to it."""
    return {"share": round(share, 4), "conversations": None if np.isinf(median) else median}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--events", type=int, default=1000, help="conversations of the canary")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    dice = np.random.default_rng(given.seed)
    size = (given.runs, given.events)
    rolled_back: list[dict[str, Any]] = []
    no_worse: list[dict[str, Any]] = []
    print("rolled back by one of the five tests (live's rate, canary's): share of runs, median conversations")
    for live, candidate in ((0.01, 0.01), (0.1, 0.1), (0.3, 0.3), (0.01, 0.06), (0.01, 0.2), (0.15, 0.3)):
        share, median = reached(gaps(dice, candidate, live, *size), 1.0, TESTS / LEVEL)
        rolled_back.append({"live": live, "canary": candidate} | as_json(share, median))
        print(f"  {live:.0%} and {candidate:.0%}: {share:.1%}, {median:g}")
    print("shown to be no worse, by the margin (live's rate, canary's)")
    for name, live, candidate in (
        ("errors", 0.01, 0.01), ("errors", 0.01, 0.06), ("regenerations", 0.15, 0.15), ("regenerations", 0.15, 0.25),
    ):  # fmt: skip
        margin = MARGINS[name]
        share, median = reached(margin - gaps(dice, candidate, live, *size), 1 - margin, 1 / LEVEL)
        no_worse.append({"what": name, "live": live, "canary": candidate} | as_json(share, median))
        print(f"  {name}, {live:.0%} and {candidate:.0%}: {share:.1%}, {median:g}")
    print(json.dumps({"bench": "canary_simulation", **vars(given), "rolled_back": rolled_back, "no_worse": no_worse}))


if __name__ == "__main__":
    main()
