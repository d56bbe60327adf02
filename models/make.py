"""Makes the embedded models: tokenizer, policy, two reward models, prompts and the card. `python -m models.make`.

Everything is seeded; the two language models, and then the two reward models, train side by side on a core each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from models.train_policy import WITHOUT_THINKING, Schedule, Shape

HERE = Path(__file__).parent / "tiny"
SPAWN = multiprocessing.get_context("spawn")
SEEDS = {"tokenizer": 0, "train": 11, "held_out": 12, "pairs": 13, "unseen_pairs": 14}
SAMPLED_PROMPTS, SAMPLES = 800, 6  # for the reward models' pairs; each takes one half of the prompts
CAREFUL, MIXED, READING = "careful", "mixed", "reading"


T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """One training run of a language model on one kind of data. Each starts with a fresh learning rate."""

    name: str  # the model that it makes, a folder of the work folder
    start: str  # the stage that it continues, or "" for random weights
    what: str
    schedule: Schedule
    seed: int
    thinks: float = 1 - WITHOUT_THINKING
    shape: Shape | None = None  # of a model that starts from random weights
    deeper: bool = False  # one layer more than the stage before it


# The order in which a free core takes them, as soon as what they continue is there. A policy first learns to copy from
# careful writers, then to write as people do. The judge stands on a language model of its own, of another shape, that
# never saw a thought.
STAGES = (
    Stage("policy-1", "", CAREFUL, Schedule(1500, heavy=3.0), 1001, shape=Shape()),
    Stage("judge-1", "", CAREFUL, Schedule(1000, heavy=3.0), 1002, 0.0, Shape(160, 3, 5, 5, intermediate=512)),
    Stage("judge-reader", "judge-1", READING, Schedule(2800, heavy=5.0, muon_lr=0.015, adam_lr=4e-3), 203),
    Stage(
        "judge-marker",
        "judge-reader",
        READING,
        Schedule(1100, heavy=5.0, muon_lr=0.015, adam_lr=4e-3),
        204,
        deeper=True,
    ),
    Stage("policy", "policy-1", MIXED, Schedule(700, muon_lr=0.01, adam_lr=4e-3), 2001),
    Stage("reward-reader", "policy-1", READING, Schedule(2000, heavy=5.0, muon_lr=0.015, adam_lr=4e-3), 3),
    Stage(
        "reward-marker", "reward-reader", READING, Schedule(500, heavy=5.0, muon_lr=0.01, adam_lr=2e-3), 4, deeper=True
    ),
)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def identity(stage: Stage) -> str:
    """A digest of everything that decides what the stage makes, the stages before it included."""
    here = Path(__file__).parent
    sources = [*sorted((here / "world").glob("*.py")), here / "tokens.py", here / "train_policy.py"]
    sources += [here / "critic.py", here / "gold.py"] if stage.what == READING else []
    digest = hashlib.sha256(repr((stage, SEEDS)).encode())
    digest.update(b"".join(path.read_bytes() for path in sources))
    digest.update(next((identity(other) for other in STAGES if other.name == stage.start), "").encode())
    return digest.hexdigest()[:16]


def train_stage(stage: Stage, folder: Path, held_out: set[str]) -> dict[str, Any]:
    """Train and save one model, in a process of its own; what was measured."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from models.critic import reading_rows, readings
    from models.train_policy import build, copied_rows, deepen, save_policy, stream, train

    _one_thread()
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    if stage.shape is None:
        model = AutoModelForCausalLM.from_pretrained(folder / stage.start, dtype=torch.float32)
    else:
        model = build(stage.shape, tokenizer, stage.seed - 1000)
    if stage.deeper:
        deepen(model)
    if stage.what == READING:
        rows = reading_rows(tokenizer, readings(stage.seed, held_out))
    else:
        quality = "careful" if stage.what == CAREFUL else None
        rows = copied_rows(tokenizer, stream(stage.seed, held_out, stage.thinks, quality))
    found = train(model, tokenizer, rows, stage.schedule, stage.seed, lambda text: print(stage.name, text, flush=True))
    save_policy(model, tokenizer, folder / stage.name)
    return {**found, "parameters": sum(p.numel() for p in model.parameters()), "identity": identity(stage)}


def train_reward_model(what: str, backbone: str, folder: str, pairs: list[Any], seed: int) -> dict[str, float]:
    """The reward model or the judge, from its backbone."""
    from models.train_reward import train

    _one_thread()
    return {"seconds": round(train(Path(backbone), pairs, Path(folder), seed), 1), "pairs": len(pairs)}


def main(argv: list[str] | None = None) -> int:
    """Make everything, or only the parts asked for. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the models (default: models/tiny)")
    parser.add_argument("--work", type=Path, default=Path("build/models"), help="folder of what is not kept")
    parser.add_argument("--pairs", type=int, default=2500, help="synthetic pairs for each reward model")
    parser.add_argument(
        "--begin",
        choices=("stages", "pairs", "card"),
        default="stages",
        help="take what comes before from an earlier run",
    )
    args = parser.parse_args(argv)
    return Making(args).run()


class Making:
    """One run: the order of the steps and what each measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.out: Path = args.out
        self.work: Path = args.work
        self.facts: dict[str, Any] = {"seeds": SEEDS, "stages": [asdict(stage) for stage in STAGES]}
        kept = self.work / "facts.json"
        if kept.is_file():
            found = json.loads(kept.read_text())
            self.facts |= {name: found[name] for name in ("language_models", "reward_models") if name in found}

    def run(self) -> int:
        self.work.mkdir(parents=True, exist_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        self.prompts()
        if self.args.begin == "stages":
            self.language_models()
        if self.args.begin != "card":
            self.reward_models()
        self.card()
        return 0

    def note(self, **facts: Any) -> None:
        self.facts |= facts
        (self.work / "facts.json").write_text(json.dumps(self.facts, indent=1))

    def prompts(self) -> None:
        """Held-out prompts first, so that everything else can leave them out."""
        from models.prompts import HELD_OUT, TRAIN, draw_prompts, write_prompts
        from models.tokens import key

        held = draw_prompts(HELD_OUT, SEEDS["held_out"], set())
        self.held_out = {key(e.messages) for e in held}
        train = draw_prompts(TRAIN, SEEDS["train"], self.held_out)
        write_prompts(self.out / "prompts" / "heldout.jsonl", held, "heldout")
        write_prompts(self.out / "prompts" / "train.jsonl", train, "train")
        self.held, self.train = [e.messages for e in held], [e.messages for e in train]

    def language_models(self) -> None:
        from models.tokens import train_tokenizer

        train_tokenizer(SEEDS["tokenizer"]).save_pretrained(self.work / "tokenizer")
        self.stages()
        copy(self.work / "policy", self.out / "policy")

    def stages(self) -> None:
        """Train every stage on two cores, each once the stage that it continues is done.

        A stage that an interrupted run has finished, from the same settings, is taken as it is.
        """
        found: dict[str, dict[str, Any]] = {
            stage.name: facts
            for stage in STAGES
            if (facts := self.facts.get("language_models", {}).get(stage.name, {})).get("identity") == identity(stage)
        }
        waiting = [stage for stage in STAGES if stage.name not in found]
        running: dict[Future[dict[str, Any]], str] = {}
        while waiting or running:
            for stage in [s for s in waiting if not s.start or s.start in found][: 2 - len(running)]:
                waiting.remove(stage)
                running[apart(train_stage, stage, self.work, self.held_out)] = stage.name
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                found[running.pop(job)] = job.result()
                self.note(language_models=found)

    def reward_models(self) -> None:
        """Each from synthetic pairs and pairs of the policy's samples; the two share no pair and no prompt."""
        from models.pairs import policy_pairs, world_pairs
        from models.sampling import sample_fast

        half = SAMPLED_PROMPTS // 2
        prompts = {"reward": self.train[:half], "judge": self.train[half : 2 * half]}
        began = time.monotonic()
        policy = str(self.out / "policy")
        with ProcessPoolExecutor(1, SPAWN) as sampler:
            drawn = {
                what: sampler.submit(sample_fast, policy, asked, each=SAMPLES, seed=21 + place, temperature=0.9)
                for place, (what, asked) in enumerate(prompts.items())
            }
            samples = {what: [[s.response for s in group] for group in job.result()] for what, job in drawn.items()}
        print(f"sampled in {time.monotonic() - began:.0f} s", flush=True)
        jobs = {}
        for place, what in enumerate(("reward", "judge")):
            pairs = world_pairs(self.args.pairs, SEEDS["pairs"] + 100 * place, self.held_out)
            pairs += policy_pairs(prompts[what], samples[what], SEEDS["pairs"] + place)
            reader = str(self.work / f"{what}-marker")
            jobs[what] = apart(train_reward_model, what, reader, str(self.out / what), pairs, 31 + place)
        self.note(reward_models={what: job.result() for what, job in jobs.items()})

    def card(self) -> None:
        from models.card import measure, write_card

        with ProcessPoolExecutor(1, SPAWN) as sampler:
            facts = measure(self.out, self.held, sampler, SEEDS["unseen_pairs"])
        write_card(self.out, self.facts | facts)
        print((self.out / "card.md").read_text())


def apart(work: Callable[..., T], *given: Any) -> Future[T]:
    """Begin `work` in a process of its own, which ends with it: torch keeps what memory it has ever used, and an engine
    its core."""
    executor = ProcessPoolExecutor(1, SPAWN)
    try:
        return executor.submit(work, *given)
    finally:
        executor.shutdown(wait=False)


def copy(source: Path, target: Path) -> None:
    """Copy the files of a model's folder."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
        (target / path.name).chmod(0o644)


if __name__ == "__main__":
    sys.exit(main())
