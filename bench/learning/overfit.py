"""Does overfitting show, and is it stopped? A round that trains far too long, with all of its brakes off.

Every so many steps the adapter is kept. Each kept one is then looked at: gold on unseen prompts; and on the gate's
prompts, by the gate's own code, reward, second judge, lengths and the verdict that it would have got against the base.
Whether the trainer's lookout would have ended the training is told by its rule, on as many of the gate's prompts as it
has prompts of its own. Run it again to go on. Writes `overfit-SEED.png` and `overfit.json`; JSON is the last line.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.kept import Keeper, kept
from bench.learning.looks import verdict
from bench.learning.notes import Notes
from bench.learning.overfit_plot import plot
from bench.rounds import FIRST, SMOKE_ROUND, Bench, Wanted, ask, unseen
from bench.stack import running
from cli.profiles import TINY

UNBRAKED = {"lookout_every": 0, "stop_kl": 0.0, "stop_malformed": 0.0}
SMOKE = {"seeds": [1], "steps": 4, "every": 2, "prompts": 8, "samples": 1}
COURSES = ("reward", "reward_well_formed", "thought_tokens", "response_tokens", "malformed_share", "kl")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, or go on with, the trainings that were asked for, and print the figures."""
    options = _options(arguments)
    given = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in options.set)}
    config = UNBRAKED | (SMOKE_ROUND if options.smoke else {}) | {"steps": options.steps} | given
    told = []
    for seed in options.seeds:
        home = options.out.absolute() / f"seed-{seed}"
        sizes = {name: getattr(options, name) for name in ("every", "prompts", "samples")}
        notes = Notes(home / "notes.jsonl", {"seed": seed, "config": config, **sizes})
        if notes.find(what="done") is None:
            learn_and_look(home, notes, seed, config, options)
        looks = sorted(notes.all(what="look"), key=lambda one: one["step"])
        training = notes.find(what="round") or {}
        picture = plot(looks, training, options.out / f"overfit-{seed}.png")
        lines = [{name: value for name, value in one.items() if not isinstance(value, list)} for one in looks]
        for line, look in zip(lines, looks, strict=True):
            line["gold"] = round(sum(look["gold"]) / len(look["gold"]), 4)
        told.append({"seed": seed, **verdict(looks), "looks": lines, "picture": str(picture)})
        told[-1] |= {name: training.get(name) for name in ("state", "error", "missing")}
    found = {"bench": "learning.overfit", "settings": config, "seeds": told}
    (options.out / "overfit.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(json.dumps(found))
    return 0


def learn_and_look(home: Path, notes: Notes, seed: int, config: dict[str, Any], options: argparse.Namespace) -> None:
    """What is not done yet of one training: the round, and a look at the base and at each kept adapter."""
    from bench.learning.looking import Looker

    adapters = home / "adapters"
    with running(home / "home") as stack:
        bench = Bench(stack, TINY, unseen(options.prompts, TINY), options.samples)
        wanted = Wanted(config, seed, f"overfit, seed {seed}")
        folder = stack.home / "rounds" / str(ask(stack, wanted))
        if notes.find(what="round") is None:
            with Keeper(folder, adapters, options.every) as keeper:
                ended = bench.run(wanted)
            if not ended.checkpoint and not kept(adapters):
                raise RuntimeError(f"the round came to no adapter: {ended.row.state}, {ended.row.error}")
            series = {name: ended.series[name] for name in COURSES if name in ended.series}
            told = {"state": ended.row.state, "error": ended.row.error, "missing": keeper.missing(ended.row.step)}
            notes.add({"what": "round", "steps": ended.row.step, **told, "series": series})
        with Looker(stack, bench, folder) as looker:
            if notes.find(what="look", step=0) is None:
                notes.add({"what": "look", "step": 0, **looker.base(FIRST)})
            for step, adapter in kept(adapters).items():
                if notes.find(what="look", step=step) is None:
                    look = notes.add({"what": "look", "step": step, **looker.look(step, adapter)})
                    print(f"seed {seed}, step {step}: {look['words']}", flush=True)
    notes.add({"what": "done"})


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.learning overfit", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=280, help="a round has 35")
    parser.add_argument("--every", type=int, default=20, help="steps between adapters that are kept and looked at")
    parser.add_argument("--prompts", type=int, default=256, help="unseen prompts for gold")
    parser.add_argument("--samples", type=int, default=4, help="answers to each")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the round")
    parser.add_argument("--smoke", action="store_true", help="minutes instead of hours: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=Path("bench/out/overfit"))
    if parser.parse_args(arguments).smoke:
        parser.set_defaults(**SMOKE, out=Path("bench/out/overfit-smoke"))
    return parser.parse_args(arguments)
