"""How often the check on people's kept answers stops a candidate: `make bench-regression_simulation`.

Draws answers that hold with given chances, the same for every prompt, and asks the gate's own test.
"""

import argparse
import json

import numpy as np

from trainer.regressions import Regressions
from trainer.round_config import RoundConfig

KEPT = (1, 4, 16, 64)
CHANCES = ((0.8, 0.8), (0.8, 0.7), (0.8, 0.5), (1.0, 0.75))
"""That an answer of live's holds, and that one of the candidate's does."""


def stopped(dice: np.random.Generator, kept: int, live: float, candidate: float, config: RoundConfig) -> bool:
    """Whether one drawn candidate is stopped."""
    old, new = (dice.binomial(config.gate_samples, chance, kept).tolist() for chance in (live, candidate))
    return Regressions([str(place) for place in range(kept)], old, new, config.gate_samples).fell(config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice, config = np.random.default_rng(options.seed), RoundConfig.model_validate({})
    print("| hold with live, with the candidate | " + " | ".join(f"{kept} kept" for kept in KEPT) + " |")
    found = []
    for live, candidate in CHANCES:
        shares = [
            float(np.mean([stopped(dice, kept, live, candidate, config) for _ in range(options.runs)])) for kept in KEPT
        ]
        stops = dict(zip(map(str, KEPT), shares, strict=True))
        found.append({"live": live, "candidate": candidate, "stopped_by_kept": stops})
        print(f"| {live:.0%}, {candidate:.0%} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    print(json.dumps({"bench": "regression_simulation", **vars(options), "found": found}))


if __name__ == "__main__":
    main()
