"""Our two floors: a round's sampling while nothing is trained, and its training with all samples there.

`python -m bench.round.alone PLAN.json OUT.json` is the second, in a process of its own without any engine: the same
algorithm on samples that were drawn before.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.gateway import Gateway, Sample

NAME = "round-bench-alone"


def sampling(
    gateway: Gateway, adapter: Path, prompts: Sequence[Sequence[list[int]]], config: Mapping[str, Any]
) -> tuple[list[float], list[list[Sample]]]:
    """Seconds and samples of each step, whose prompts are given as token ids; with an adapter, as in a round."""
    from trainer.rollout import seed_of

    gateway.load_adapter(NAME, adapter)
    try:
        seconds, drawn = [], []
        for step, asked in enumerate(prompts):
            began = time.perf_counter()
            found = gateway.sample(
                NAME,
                asked,
                config["group_size"],
                max_tokens=config["max_completion_tokens"],
                temperature=config["temperature"],
                seed=seed_of(config["seed"], step),
            )
            seconds.append(time.perf_counter() - began)
            drawn.append(found)
        return seconds, drawn
    finally:
        gateway.unload_adapter(NAME)


class Drawn:
    """Stands where a trainer has its gateway: answers with samples that were drawn before, step by step, at once."""

    def __init__(self, batches: Sequence[Sequence[Sample]]) -> None:
        self._batches = [list(batch) for batch in batches]

    def sample(self, model: str, prompts: Sequence[list[int]], n: int, **_: Any) -> list[Sample]:
        """The next step's."""
        batch = self._batches.pop(0)
        if len(batch) != n * len(prompts):
            raise ValueError(f"{len(batch)} samples were drawn and {n} of {len(prompts)} prompts are asked for")
        return batch

    def pressed(self) -> bool:
        """Nobody is there."""
        return False

    def load_adapter(self, name: str, path: Path) -> None:
        """No engine has to know."""

    def unload_adapter(self, name: str) -> None:
        """No engine knew."""


class Noted:
    """Stands where a trainer has its ledger: keeps each step's figures, and nobody has withdrawn anything."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Note them."""
        self.steps.append(dict(figures))

    def still_trainable(self, message_ids: Sequence[str]) -> set[str]:
        """All of them."""
        return set(message_ids)


def training(plan: dict[str, Any]) -> list[float]:
    """Seconds of training in each step, without sampling and scoring."""
    import torch

    from bench.round.setups import profile
    from bench.rounds import reader_of
    from trainer.grpo import Grpo
    from trainer.prompts import Prompt
    from trainer.rewards import SequenceClassifier
    from trainer.round_config import RoundConfig
    from trainer.settings import read_settings
    from trainer.work import Parent, TrainingPrompts, Work

    torch.set_num_threads(plan["threads"])
    folder, noted = Path(plan["out"]), Noted()
    folder.mkdir(parents=True)
    gateway: Any = Drawn([[Sample(**one) for one in batch] for batch in plan["batches"]])
    ledger: Any = noted
    work = Work(
        round_id=0,
        attempt=1,
        step=0,
        config=RoundConfig(**plan["config"]),
        settings=read_settings(base_model=plan["policy"], reward_model=plan["reward"]),
        folder=folder,
        parent=Parent(0, "v0", None),
        ledger=ledger,
        gateway=gateway,
        reader=reader_of(profile(Path(plan["policy"])), plan["config"]["rlhf"]),
    )
    prompts = TrainingPrompts([(place, Prompt(asked, "mix")) for place, asked in enumerate(plan["prompts"])], [])
    Grpo().train(work, prompts, SequenceClassifier(Path(plan["reward"])))
    return [figures["seconds_train"] for figures in noted.steps]


def as_json(batches: Sequence[Sequence[Sample]]) -> list[list[dict[str, Any]]]:
    """Samples for a plan."""
    return [[asdict(one) for one in batch] for batch in batches]


def main() -> int:
    """Read the plan, train, and write the seconds."""
    found = training(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    Path(sys.argv[2]).write_text(json.dumps({"train": found}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
