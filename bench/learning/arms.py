"""Rounds of several arms, seed by seed, each from the same base, with gold before and after: the shared experiment.

An arm is an algorithm with settings. All arms of a seed have the same prompts and reward models; the second judge and
gold are never trained on. What ends a training early is off (`EVEN`), and the gate's verdict is noted but changes
nothing, so that no arm is cut short where another is not. What is done stands in notes: run it again to go on.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.learning.notes import Entry, Notes
from bench.rounds import FIRST, SMOKE_ROUND, Bench, Ended, Wanted, unseen
from bench.stack import Stack, running
from cli.profiles import TINY, Profile

KEPT = ("reward", "reward_well_formed", "thought_tokens", "response_tokens", "malformed_share", "sampled_tokens", "kl")
"""Figures of which every step is noted."""
EVEN = {"lookout_every": 0, "stop_kl": 0.0, "stop_malformed": 0.0}
SMOKE = {"seeds": [1], "prompts": 8, "samples": 1}
AT_MOST = 4
"""So many times the steps may an arm train that has a budget of tokens instead."""


@dataclass(frozen=True)
class Arm:
    """A way to learn. `tokens_of`: the arm of the same seed whose sampled tokens this one may use, in place of steps.

    That one must stand before this one.
    """

    name: str
    algorithm: str = "grpo"
    config: Mapping[str, Any] = field(default_factory=dict)
    tokens_of: str = ""

    @property
    def thoughtless(self) -> bool:
        """Whether it is sampled, trained and measured without a thought."""
        return bool(self.config.get("rlhf"))


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line. `own`: settings of single arms, by their names."""

    seeds: Sequence[int]
    prompts: int
    samples: int
    out: Path
    common: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]]

    def config(self, arm: Arm, tokens: int = 0) -> dict[str, Any]:
        """What a round of this arm runs with. `tokens`: its budget, where it has one."""
        config = {**EVEN, **self.common, **arm.config, **self.own.get(arm.name, {})}
        if arm.tokens_of:
            from trainer.round_config import RoundConfig

            config["steps"] = AT_MOST * int(config.get("steps", RoundConfig.model_fields["steps"].default))
            config["max_sampled_tokens"] = tokens
        return config


def options(name: str, about: str, arms: Sequence[Arm], arguments: Sequence[str] | None) -> Asked:
    """Read the command line of experiment `name`. Exits with a sentence where it is wrong."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.learning {name}", description=about.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--prompts", type=int, default=256, help="unseen prompts for gold")
    parser.add_argument("--samples", type=int, default=4, help="answers to each")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="[ARM:]NAME=VALUE", help="settings of every round, or of one arm's"
    )
    parser.add_argument("--smoke", action="store_true", help="minutes instead of hours: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=Path(f"bench/out/{name}"))
    smoke = parser.parse_args(arguments).smoke
    if smoke:
        parser.set_defaults(**SMOKE, out=Path(f"bench/out/{name}-smoke"))
    found = parser.parse_args(arguments)
    common: dict[str, Any] = dict(SMOKE_ROUND, dpo_min_valid=2) if smoke else {}
    own: dict[str, dict[str, Any]] = {}
    for given in found.set:
        try:
            arm, setting, value = parsed(given, arms)
        except ValueError as error:
            parser.error(str(error))
        (own.setdefault(arm, {}) if arm else common)[setting] = value
    return Asked(found.seeds, found.prompts, found.samples, found.out, common, own)


def parsed(given: str, arms: Sequence[Arm]) -> tuple[str, str, Any]:
    """Arm (empty: all of them), name and value of a setting. Raises ValueError."""
    place, sign, value = given.partition("=")
    arm, colon, name = place.rpartition(":")
    if not sign or (colon and arm not in [one.name for one in arms]):
        known = ", ".join(one.name for one in arms)
        raise ValueError(f"--set {given}: expected NAME=VALUE or ARM:NAME=VALUE with one of the arms {known}")
    try:
        return arm, name, json.loads(value)
    except ValueError:
        return arm, name, value  # a word, such as an algorithm's name


def run(
    name: str,
    arms: Sequence[Arm],
    asked: Asked,
    profile: Profile = TINY,
    after_round: Callable[[Notes], object] = lambda notes: None,
) -> Notes:
    """Run what is not done yet, from the profile's base; the notes of everything.

    `after_round` writes figures, so that an experiment that is cut off leaves some.
    """
    out = asked.out.absolute()
    settings = {"prompts": asked.prompts, "samples": asked.samples, "common": dict(asked.common), "own": asked.own}
    notes = Notes(out / "notes.jsonl", settings)
    if any(notes.find(what="round", arm=arm.name, seed=seed) is None for arm in arms for seed in asked.seeds):
        with running(out / "home", profile=profile) as stack:
            runner = _Runner(name, stack, notes, asked, profile)
            for seed in asked.seeds:
                for arm in arms:
                    if notes.find(what="round", arm=arm.name, seed=seed) is None:
                        runner.round(arm, seed)
                        after_round(notes)
    return notes


class _Runner:
    def __init__(self, name: str, stack: Stack, notes: Notes, asked: Asked, profile: Profile) -> None:
        self._name, self._stack, self._notes, self._asked, self._profile = name, stack, notes, asked, profile
        self._unseen = unseen(asked.prompts, profile)
        self._benches: dict[bool, Bench] = {}

    def round(self, arm: Arm, seed: int) -> None:
        bench, tokens = self._bench(arm.thoughtless), 0
        if arm.tokens_of:
            other = self._notes.find(what="round", arm=arm.tokens_of, seed=seed)
            tokens = int(other["sampled_tokens"]) if other else 0
            if not tokens:  # that round failed, which is told; the other seeds go on
                why = f"it has the tokens of {arm.tokens_of}, which has sampled none"
                self._notes.add(failed(arm, seed, why))
                print(f"{self._name}: {arm.name}, seed {seed}: {why}", flush=True)
                return
        reason = f"{self._name}: {arm.name}, seed {seed}"
        ended = bench.run(Wanted(self._asked.config(arm, tokens), seed, reason, arm.algorithm))
        found = noted(arm, seed, ended)
        if ended.checkpoint:
            measured = bench.measure_folder(ended.checkpoint, f"round-bench-{ended.row.id}")
            found |= {"gold": [round(float(score), 4) for score in measured.gold], **measured.habits}
        self._notes.add(found)
        gold = f"gold {sum(found['gold']) / len(found['gold']):.3f}" if "gold" in found else found["error"]
        print(f"{reason}: {found['state']} after {found['steps']} steps, {gold}", flush=True)

    def _bench(self, thoughtless: bool) -> Bench:
        """That asks with a thought or without; the base's gold is noted before anything of its kind is trained."""
        if thoughtless not in self._benches:
            bench = Bench(self._stack, self._profile, self._unseen, self._asked.samples, thoughtless=thoughtless)
            self._benches[thoughtless] = bench
            if self._notes.find(what="before", thoughtless=thoughtless) is None:
                measured = bench.measure(FIRST)
                gold = [round(float(score), 4) for score in measured.gold]
                self._notes.add({"what": "before", "thoughtless": thoughtless, "gold": gold, **measured.habits})
        return self._benches[thoughtless]


def failed(arm: Arm, seed: int, why: str) -> Entry:
    """A round that could not be asked for, as the notes have it."""
    told: Entry = {"what": "round", "arm": arm.name, "seed": seed, "thoughtless": arm.thoughtless}
    return told | {"state": "failed", "error": why, "steps": 0, "sampled_tokens": 0, "series": {}}


def noted(arm: Arm, seed: int, ended: Ended) -> Entry:
    """A round as the notes have it, before its gold is measured."""
    row, series = ended.row, ended.series
    verdict = row.verdict or {}
    sampled = [value for _, value in series.get("sampled_tokens", [])]
    return {
        "what": "round",
        "arm": arm.name,
        "seed": seed,
        "thoughtless": arm.thoughtless,
        "round": row.id,
        "state": row.state,
        "error": row.error,
        "words": verdict.get("words"),
        "steps": row.step,
        "seconds": round(ended.seconds, 1),
        "sampled_tokens": int(sum(sampled)),
        "reward": (verdict.get("reward") or {}).get("difference"),
        "judge": (verdict.get("judge") or {}).get("difference"),
        "series": {name: [[step, round(value, 4)] for step, value in series[name]] for name in KEPT if name in series},
    }
