"""How often does the gate err? Its own decision code, on candidates whose truth is known because they are drawn.

Kinds, as many of each: `same` (no different), `hacked` (65 % of the pairings won by the reward model, none gained
by the judge), `longer` (a fifth longer answers, which both judges pay for, and nothing else), `better` (55 % of the
pairings won by both judges), and `refusing` (better, and it declines three times as often). Publishing any other than
`better` is a false promotion. With `--habits` and `--refusals` only the checks that ask no judge are run, on draws of
their own (`bench.gate_habits`). JSON is the last line.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from bench.gate_habits import DEFAULTS, decline, habits, refusals
from trainer.gate import Evidence, Sides, decide
from trainer.habits import Habits
from trainer.rewards import rank_malformed
from trainer.round_config import RoundConfig

AGREEMENT = 0.66
"""Correlation of both judges' noise: they agree on 73 % of pairs (docs/learning.md); asin(0.66) / pi + 1/2 = 0.73."""
UNEVEN = 0.3  # a gain is not the same for each prompt: its deviation, in deviations of single answers
LENGTH_DEVIATION = 0.25  # of the logarithm of a response's length, within a prompt
PRICE = 0.8  # what both judges pay for length: deviations of single answers per unit of the logarithm
MALFORMED = 0.01  # of the outputs of either side
WIN_RATES = {"same": (0.5, 0.5), "hacked": (0.65, 0.5), "longer": (0.5, 0.5), "better": (0.55, 0.55)}
WIN_RATES["refusing"] = WIN_RATES["better"]
"""What the reward model and the judge would find over infinitely many pairings, before length is paid for."""
LONGER = np.log(1.2)
REFUSALS = 0.05  # of the outputs of live


def main() -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--candidates", type=int, default=1000, help="of each kind")
    parser.add_argument("--prompts", type=int, nargs="+", default=[DEFAULTS.gate_prompts])
    parser.add_argument("--samples", type=int, nargs="+", default=[DEFAULTS.gate_samples])
    parser.add_argument("--confidence", type=float, nargs="+", default=[DEFAULTS.gate_confidence])
    parser.add_argument("--outcomes", nargs="+", default=["margins", "wins"], choices=["margins", "wins"])
    parser.add_argument("--kinds", nargs="+", default=list(WIN_RATES), choices=list(WIN_RATES))
    parser.add_argument("--habits", action="store_true", help="only the checks that ask no judge, by their thresholds")
    parser.add_argument("--refusals", action="store_true", help="only the check on refusals, by its threshold")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.habits:
        print(json.dumps({"bench": "gate_simulation", "habits": habits(options.candidates, options.seed)}))
        return 0
    if options.refusals:
        print(json.dumps({"bench": "gate_simulation", "refusals": refusals(options.candidates, options.seed)}))
        return 0
    found = []
    for prompts in options.prompts:
        for samples in options.samples:
            for confidence in options.confidence:
                configs = [
                    DEFAULTS.model_copy(
                        update={
                            "gate_prompts": prompts,
                            "gate_samples": samples,
                            "gate_confidence": confidence,
                            "gate_outcomes": outcomes,
                        }
                    )
                    for outcomes in options.outcomes
                ]
                found += simulate(configs, options.candidates, options.seed, options.kinds)
                for one in found[-len(configs) :]:
                    print(json.dumps(one), flush=True)
    print(
        json.dumps({"bench": "gate_simulation", "candidates": options.candidates, "seed": options.seed, "gates": found})
    )
    return 0


def simulate(
    configs: list[RoundConfig], candidates: int, seed: int, kinds: Sequence[str] = tuple(WIN_RATES)
) -> list[dict[str, Any]]:
    """The share of each kind that each gate publishes, and how often each check stopped one. All see the same draws."""
    began, dice = time.perf_counter(), np.random.default_rng(seed)
    published = [dict.fromkeys(kinds, 0) for _ in configs]
    stopped: list[dict[str, int]] = [{} for _ in configs]
    for kind in kinds:
        for _ in range(candidates):
            evidence = draw(dice, kind, configs[0].gate_prompts, configs[0].gate_samples)
            for place, config in enumerate(configs):
                verdict = decide(evidence, config)
                published[place][kind] += verdict.publish
                for check in verdict.checks if kind == "better" else ():
                    stopped[place][check.name] = stopped[place].get(check.name, 0) + (not check.passed)
    return [
        {
            "prompts": config.gate_prompts,
            "samples": config.gate_samples,
            "confidence": config.gate_confidence,
            "outcomes": config.gate_outcomes,
            "published": {kind: round(count / candidates, 4) for kind, count in published[place].items()},
            "better_stopped_by": {
                name: round(count / candidates, 4) for name, count in stopped[place].items() if count
            },
            "seconds": round(time.perf_counter() - began, 1),
        }
        for place, config in enumerate(configs)
    ]


def draw(dice: np.random.Generator, kind: str, prompts: int, samples: int) -> Evidence:
    """One candidate of this kind, measured against live on `prompts` prompts with `samples` answers each."""
    shape = (prompts, 2, samples)
    lengths = dice.normal(0, 1, (prompts, 1, 1)) + dice.normal(0, LENGTH_DEVIATION, shape)
    lengths[:, 1] += LONGER if kind == "longer" else 0.0
    malformed = dice.random(shape) < MALFORMED
    own = (lengths - lengths.mean((1, 2), keepdims=True)) * PRICE
    common = dice.normal(0, 1, shape)  # what both judges see in an answer
    uneven = dice.normal(0, 1, prompts)
    judges = []
    for win_rate in WIN_RATES[kind]:
        noise = np.sqrt(AGREEMENT) * common + np.sqrt(1 - AGREEMENT) * dice.normal(0, 1, shape)
        scores = dice.normal(0, 1, (prompts, 1, 1)) + noise + own
        if win_rate != 0.5:
            scores[:, 1] += (margin(win_rate) + UNEVEN * uneven)[:, None]
        judges.append(sunk(scores, malformed))
    told = np.where(malformed, np.nan, lengths)
    others = dice.spawn(1)[0]  # so that what is drawn above is the same as without it
    declined = decline(others, prompts, samples, (REFUSALS, REFUSALS * (3 if kind == "refusing" else 1)))
    old, new = (look(lengths[:, side], malformed[:, side], declined[side]) for side in (0, 1))
    return Evidence(judges[0], judges[1], Sides(told[:, 0], told[:, 1]), old, new, kl=0.05)


def margin(win_rate: float) -> float:
    """The mean gain at which so many pairings are won: a pairing's noise has two answers and the unevenness in it."""
    noise = 2.0 + UNEVEN**2 + 2 * (PRICE * LENGTH_DEVIATION) ** 2
    return NormalDist().inv_cdf(win_rate) * noise**0.5


def sunk(scores: np.ndarray, malformed: np.ndarray) -> Sides:
    """With malformed answers below the others of their prompt, as the gate ranks them."""
    group = scores.shape[1] * scores.shape[2]
    flat: list[float | None] = [
        None if bad else float(score) for score, bad in zip(scores.ravel(), malformed.ravel(), strict=True)
    ]
    ranked = np.asarray(rank_malformed(flat, group, DEFAULTS.malformed_margin), np.float64).reshape(scores.shape)
    return Sides(ranked[:, 0], ranked[:, 1])


def look(lengths: np.ndarray, malformed: np.ndarray, refused: float) -> Habits:
    """The habits of a side that only these two differ in."""
    tokens = float(np.exp(lengths[~malformed]).mean()) * 80
    return Habits(float(malformed.mean()), 0.0, 0.01, 60.0, tokens, refused)


if __name__ == "__main__":
    sys.exit(main())
