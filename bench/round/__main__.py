"""How fast is a round? Ours against TRL's GRPOTrainer with its own generation, in one run on this CPU.

Both train the same model on the same prompts in the same order, with the same reward model, samples, steps, optimiser
and threads. In turns: our round as it is, our round with the next step sampled ahead, our sampling alone, TRL without
any engine beside it, our training alone; then all adapters are asked about the same held-out prompts. Needs a machine
that does nothing else. JSON is the last line.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.kept import kept
from bench.round.alone import as_json, sampling
from bench.round.figures import Side, compared
from bench.round.heldout import rewards
from bench.round.ours import ours
from bench.round.setups import SETUPS, SMOKE, Setup, parameters, policy, profile
from bench.rounds import Bench, Wanted, reader_of
from bench.stack import KEY, running
from cli.profiles import Profile

PLAIN, AHEAD, TRL = "ours", "ours-ahead", "trl"


def main() -> int:
    """Run the comparisons that were asked for and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.round", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--setups", nargs="+", default=list(SETUPS), choices=list(SETUPS))
    parser.add_argument("--steps", type=int, help="of each side, in place of the setup's")
    parser.add_argument("--seed", type=int, default=1)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="of a training that nothing runs beside")
    parser.add_argument(
        "--threads-ahead", type=int, default=max(1, cores - 1), help="of ours while the engine samples beside it"
    )
    parser.add_argument("--smoke", action="store_true", help="minutes: shows that it runs, and nothing more")
    parser.add_argument("--out", type=Path, default=Path("bench/out/round"))
    options = parser.parse_args()
    threads = {PLAIN: options.threads, AHEAD: options.threads_ahead}
    load, found = os.getloadavg(), {}
    for name in options.setups:
        setup = (SMOKE if options.smoke else SETUPS)[name]
        if options.steps:
            setup = replace(setup, steps=options.steps, every=min(setup.every, options.steps))
        out = options.out.absolute() / ("smoke" if options.smoke else "") / name
        found[name] = Comparison(setup, out, options.seed, threads).run()
        print(json.dumps({name: found[name]}), flush=True)
    told = {"bench": "round", "cores": cores, "threads": threads, "load_before": [round(one, 2) for one in load]}
    print(json.dumps(told | {"setups": found}))
    return 0


class Comparison:
    """One setup, all sides. `out`: where the policy of random weights is, and a folder for this run."""

    def __init__(self, setup: Setup, out: Path, seed: int, threads: dict[str, int]) -> None:
        self._setup, self._seed, self._threads = setup, seed, threads
        self._base = policy(setup, out)
        self._profile: Profile = profile(self._base, setup.dtype)
        self._run = out / time.strftime("%Y%m%d-%H%M%S")
        self._plan: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """All of it, and the figures."""
        sides, floor = self._with_engine()
        theirs, training = self._without_engine()
        if self._setup.heldout:
            with running(self._run / "again", profile=self._profile) as stack:
                theirs.rewards.update(self._rewards(stack.gateway, self._states_of_trl()))
        told = compared([*sides, theirs], floor, training, self._setup.goal)
        return {"parameters": parameters(self._base), "seed": self._seed, **self._sizes(), **told}

    def _with_engine(self) -> tuple[list[Side], float]:
        """Our two rounds, and our sampling alone: seconds of a step."""
        from trainer.gateway import Gateway
        from trainer.policy import prompt_ids

        sides = []
        with running(self._run / "home", profile=self._profile) as stack:
            bench = Bench(stack, self._profile, [], 1)
            for name in (PLAIN, AHEAD):
                wanted = Wanted(
                    self._setup.config(self._seed, overlap=name == AHEAD),
                    self._seed,
                    f"round: {name}",
                    environment={"threads": str(self._threads[name]), "threads_alone": str(self._threads[PLAIN])},
                )
                side, asked = ours(name, stack, bench, self._setup, wanted, self._run / name)
                sides.append(side)
                if name == PLAIN:
                    plan = json.loads((stack.home / "rounds" / "1" / "plan.json").read_text(encoding="utf-8"))
                    self._plan = {"config": plan["config"], "prompts": asked}
            tokenizer = reader_of(self._profile, self._setup.thoughtless).tokenizer
            size = self._setup.prompts_per_step
            ids = [prompt_ids(tokenizer, messages) for messages in self._plan["prompts"]]
            steps = [ids[start : start + size] for start in range(0, len(ids), size)]
            newest = list(kept(self._run / PLAIN).values())[-1]
            gateway = Gateway(stack.gateway, KEY)
            seconds, drawn = sampling(gateway, newest, steps, self._plan["config"])
            gateway.close()
            self._plan["batches"] = as_json(drawn)
            if self._setup.heldout:
                for side in sides:
                    side.rewards.update(self._rewards(stack.gateway, kept(self._run / side.name)))
        return sides, _mean_of_warm(seconds)

    def _without_engine(self) -> tuple[Side, dict[str, float]]:
        """TRL's training, and ours alone on as many threads as each of our rounds has."""
        found = self._process("bench.round.theirs", TRL, self._threads[PLAIN])
        samples = self._setup.prompts_per_step * self._setup.group_size
        rest = [wall - a - b for wall, a, b in zip(found["wall"], found["sample"], found["score"], strict=True)]
        parts = {"sample": found["sample"], "score": found["score"], "train": rest}
        side = Side(TRL, samples, found["wall"], parts, found["tokens"])
        training = {
            name: _mean_of_warm(self._process("bench.round.alone", f"alone-{name}", threads)["train"])
            for name, threads in self._threads.items()
        }
        return side, training

    def _process(self, module: str, name: str, threads: int) -> dict[str, Any]:
        """What a module that reads a plan has written, run as `python -m`."""
        out = self._run / name
        plan = self._plan | {
            "policy": self._profile.base_model,
            "reward": self._profile.reward_model,
            "template": self._profile.template,
            "format": "think",
            "threads": threads,
            "every": self._setup.every,
            "out": str(out),
        }
        files = [self._run / f"{name}.{what}.json" for what in ("plan", "found")]
        files[0].write_text(json.dumps(plan), encoding="utf-8")
        log = self._run / f"{name}.log"
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        with log.open("ab") as told:
            command = [sys.executable, "-m", module, *map(str, files)]
            code = subprocess.run(command, env=environment, stdout=told, stderr=told, check=False).returncode
        if code:
            raise RuntimeError(f"{module} ended with exit code {code}; see {log}")
        return dict(json.loads(files[1].read_text(encoding="utf-8")))

    def _states_of_trl(self) -> dict[int, Path]:
        found = {int(path.name.rsplit("-", 1)[1]): path for path in (self._run / TRL).glob("checkpoint-*")}
        return {step: path for step, path in sorted(found.items()) if step % self._setup.every == 0}

    def _rewards(self, url: str, adapters: dict[int, Path]) -> dict[int, float]:
        from trainer.gateway import Gateway

        gateway = Gateway(url, KEY)
        try:
            return rewards(gateway, self._profile, self._setup, adapters)
        finally:
            gateway.close()

    def _sizes(self) -> dict[str, Any]:
        names = ("steps", "prompts_per_step", "group_size", "max_completion_tokens", "micro_batch", "dtype")
        return {name: getattr(self._setup, name) for name in names}


def _mean_of_warm(values: list[float]) -> float:
    """The mean of all but the first, which warms up."""
    warm = values[1:] or values
    return sum(warm) / len(warm)


if __name__ == "__main__":
    sys.exit(main())
