"""How many choices of people does the reward model need to order the answers of what is served as gold does?

The served model, or an adapter of it, answers prompts of the world twice each; simulated people choose between the two,
as in `month`. By the parts of the trainer's own refresh, and from so many of these choices and as many pairs of the
world, what traits of an answer are worth is fitted beside the reward model's score, and copies of it are trained at
such a rate; each then orders further answers, to prompts of which none was chosen about. The answers are kept: run it
again with other counts and rates. JSON is the last line.
"""

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.learning.people import APART, GROUP, LEAST, chooses_left, write_kept_pairs
from bench.rounds import FIRST, Bench, unseen
from bench.stack import running
from cli.profiles import TINY

NAME = "round-bench-choices"
TAUGHT_SEED = 910_000
Prompts = list[list[dict[str, Any]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer what is not answered yet, train and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.learning choices", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--adapter", type=Path, help="what is served; by default the base")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 400, 1600], help="choices to learn from")
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-4])
    parser.add_argument("--prompts", type=int, default=96, help="whose answers are ordered, six to each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("bench/out/choices"))
    options = parser.parse_args(arguments)
    from trainer.refresh import add_traits, train_copy
    from trainer.refresh_pairs import mixed, read_pairs

    told = answered(options, max(options.counts))
    asked, groups = told["asked"], told["groups"]
    choices = chosen(told["taught"], told["pairs"], options.seed)
    source = Path(TINY.reward_model)
    kept = read_pairs(str(write_kept_pairs(options.out / "kept-pairs.jsonl", options.seed)))
    found = [{"choices": 0, **figures(source, asked, groups)}]
    print(json.dumps(found[0]), flush=True)
    for count in options.counts:
        row: dict[str, Any] = {"choices": len(choices[:count])}
        with tempfile.TemporaryDirectory(dir=options.out) as scratch:
            plain = Path(shutil.copytree(source, Path(scratch) / "plain"))
            add_traits(plain, mixed(choices[:count], kept, options.seed))
            found.append(row | {"traits": True, **figures(plain, asked, groups)})
            print(json.dumps(found[-1]), flush=True)
            for rate in options.rates:
                copy = Path(scratch) / f"trained-{rate}"
                train_copy(source, mixed(choices[:count], kept, options.seed), copy, rate, options.seed)
                found.append(row | {"rate": rate, **figures(copy, asked, groups)})
                print(json.dumps(found[-1]), flush=True)
    served = "base" if options.adapter is None else options.adapter.name
    print(json.dumps({"bench": "learning.choices", "served": served, "prompts": len(asked), "models": found}))
    return 0


def answered(options: argparse.Namespace, count: int) -> dict[str, Any]:
    """Two answers to each of `count` prompts to choose between, and six to each of those whose answers are ordered."""
    from models.prompts import draw_prompts
    from models.tokens import key

    file = options.out / "answers.json"
    if file.is_file():
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if len(told["taught"]) >= count and len(told["asked"]) == options.prompts:
            return told
    asked = unseen(options.prompts, TINY)
    taught = [
        list(one.messages) for one in draw_prompts(count, TAUGHT_SEED + options.seed, {key(one) for one in asked})
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    with running(options.out.absolute() / "home") as stack:
        name = FIRST
        if options.adapter is not None:
            name = NAME
            Bench(stack, TINY, [], 1).load(name, options.adapter.absolute())
        pairs = Bench(stack, TINY, taught, 1).responses(name, 2)
        groups = Bench(stack, TINY, asked, 1).responses(name, GROUP)
    told = {"taught": taught, "pairs": pairs, "asked": asked, "groups": groups}
    file.write_text(json.dumps(told), encoding="utf-8")
    return told


def chosen(prompts: Prompts, answers: Sequence[Sequence[str]], seed: int) -> list[Any]:
    """A preference for each prompt whose two answers are not the same."""
    from models.gold import score
    from trainer.refresh_pairs import Pair

    dice, found = random.Random(seed), []
    for messages, (left, right) in zip(prompts, answers, strict=True):
        if left != right and left and right:
            first = chooses_left(score(messages, left).score, score(messages, right).score, dice)
            found.append(Pair(messages, *((left, right) if first else (right, left)), "said"))
    return found


def figures(model: Path, asked: Prompts, groups: Sequence[Sequence[str]]) -> dict[str, float]:
    """How often a model orders two answers to one prompt as gold does: of all that differ, and of those far apart."""
    from models.gold import score
    from models.measure import agreement
    from trainer.rewards import SequenceClassifier

    truth = [[score(messages, text).score for text in group] for messages, group in zip(asked, groups, strict=True)]
    flat = [(messages, text) for messages, group in zip(asked, groups, strict=True) for text in group]
    scores = SequenceClassifier(model).score(flat)
    size = len(groups[0])
    parts = [scores[start : start + size] for start in range(0, len(scores), size)]
    return {name: round(agreement(parts, truth, least), 4) for name, least in (("all", LEAST), ("apart", APART))}
