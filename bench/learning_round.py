"""Does a round raise gold? Rounds through a real engine and gateway, and the gold judge before and after each.

For each seed: one round with the trainer's defaults (others by --set), and one of each over-trained variant, which may
win reward and no gold. Gold is measured on prompts that stand in no file of the models, so that nothing was trained on
or gated with them. The trainer runs as it always does, in a process of its own, niced. JSON is the last line.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.rounds import FIRST, Bench, beside, compare, unseen
from bench.stack import running
from cli.profiles import TINY

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "hot": {"learning_rate": 3e-3, "lora_rank": 16, "lora_alpha": 32},
    "long": {"steps": 140},
}


def main() -> int:
    """Run what was asked for and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", default=["default", "hot"], choices=sorted(VARIANTS))
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of every round")
    parser.add_argument("--prompts", type=int, default=256, help="unseen prompts for gold")
    parser.add_argument("--samples", type=int, default=4, help="answers to each")
    parser.add_argument("--models", type=Path, help="folder of policy, reward, judge and prompts, as models/tiny")
    parser.add_argument("--out", type=Path, default=Path("bench/out/learning_round"))
    options = parser.parse_args()
    given = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in options.set)}
    home = options.out.absolute() / time.strftime("%Y%m%d-%H%M%S")
    profile = TINY if options.models is None else beside(options.models.absolute())
    prompts = unseen(options.prompts, profile)
    with running(home, profile=profile) as stack:
        bench = Bench(stack, profile, prompts, options.samples)
        before = bench.gold(FIRST)
        rounds: list[dict[str, Any]] = []
        for seed in options.seeds:
            for variant in options.variants:
                found = bench.round(seed, given | VARIANTS[variant])
                found = {"seed": seed, "variant": variant} | found
                if found["checkpoint"]:
                    found["gold"] = compare(before, bench.gold_of(found["checkpoint"], len(rounds)))
                rounds.append(found)
                print(json.dumps(found), flush=True)
    figures = {"bench": "learning_round", "prompts": len(prompts), "samples": options.samples, "settings": given}
    print(json.dumps(figures | {"gold_before": round(float(before.mean()), 4), "rounds": rounds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
