"""Makes the embedded models: tokenizer, policy, two reward models, prompts and the card. `python -m models.make`.

Everything is seeded; what does not wait for something else trains side by side, on a core each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from models.train_policy import WITHOUT_THINKING, Schedule, Shape

if TYPE_CHECKING:
    from models.pairs import Pair
    from models.world.talk import Example

HERE = Path(__file__).parent / "tiny"
SPAWN = multiprocessing.get_context("spawn")
SEEDS = {"tokenizer": 0, "train": 11, "held_out": 12, "pairs": 13, "unseen_pairs": 14}
SAMPLED_PROMPTS, SAMPLES = 800, 6  # for the reward models' pairs; each takes one half of the prompts
CAREFUL, MIXED, READING, TAGGED = "careful", "mixed", "reading", "tagged"
SAMPLED = "samples"  # the job, beside the stages and the reward models
ZERO = "zero"  # the base of zero mode, which is kept beside the policy


T = TypeVar("T")
Prompts = Sequence[Sequence[dict[str, Any]]]


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


# The order in which a free core takes them, as soon as what they continue is there: first what most waits for. A
# policy first learns to copy from careful writers, then to write as people do. The judge stands on a language model of
# its own, of another shape, that never saw a thought.
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
    Stage("reward-reader", "policy-1", READING, Schedule(2000, heavy=5.0, muon_lr=0.015, adam_lr=4e-3), 3),
    Stage(
        "reward-marker", "reward-reader", READING, Schedule(800, heavy=5.0, muon_lr=0.01, adam_lr=2e-3), 4, deeper=True
    ),
    Stage("policy", "policy-1", MIXED, Schedule(700, muon_lr=0.01, adam_lr=4e-3), 2001),
    Stage(ZERO, "policy-1", TAGGED, Schedule(160, muon_lr=0.01, adam_lr=4e-3), 2002),
)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def identity(stage: Stage) -> str:
    """A digest of everything that decides what the stage makes, the stages before it included."""
    here = Path(__file__).parent
    sources = [*sorted((here / "world").rglob("*.py")), here / "tokens.py", here / "train_policy.py"]
    sources += [here / "critic.py", here / "gold.py"] if stage.what == READING else []
    sources += [here / "tagged.py"] if stage.what == TAGGED else []
    digest = hashlib.sha256(repr((stage, SEEDS)).encode())
    digest.update(b"".join(path.read_bytes() for path in sources))
    digest.update(next((identity(other) for other in STAGES if other.name == stage.start), "").encode())
    return digest.hexdigest()[:16]


def examples(stage: Stage, held_out: set[str]) -> Iterator[Example]:
    """What the stage learns from, endless; prompts whose key is held out never appear."""
    from models.critic import readings
    from models.train_policy import stream

    if stage.what == READING:
        return readings(stage.seed, held_out)
    return stream(stage.seed, held_out, stage.thinks, "careful" if stage.what == CAREFUL else None)


def synthetic_pairs(place: int, count: int, held_out: set[str]) -> list[Pair]:
    """Those of the reward model (`place` 0) or the judge (1), which share none."""
    from models.pairs import world_pairs

    return world_pairs(count, SEEDS["pairs"] + 100 * place, held_out)


def train_stage(stage: Stage, folder: Path, held_out: set[str]) -> dict[str, Any]:
    """Train and save one model, in a process of its own; what was measured."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from models.critic import reading_rows
    from models.tagged import tagged_rows
    from models.train_policy import build, copied_rows, deepen, save_policy, train
    from thinking.templates import template_text

    _one_thread()
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    if stage.shape is None:
        model = AutoModelForCausalLM.from_pretrained(folder / stage.start, dtype=torch.float32)
    else:
        model = build(stage.shape, tokenizer, stage.seed - 1000)
    if stage.deeper:
        deepen(model)
    if stage.what == TAGGED:
        tokenizer.chat_template = template_text("zero")
        rows = tagged_rows(tokenizer, examples(stage, held_out), stage.seed)
    else:
        rows = (reading_rows if stage.what == READING else copied_rows)(tokenizer, examples(stage, held_out))
    found = train(model, tokenizer, rows, stage.schedule, stage.seed, lambda text: print(stage.name, text, flush=True))
    save_policy(model, tokenizer, folder / stage.name)
    return {**found, "parameters": sum(p.numel() for p in model.parameters()), "identity": identity(stage)}


def sample_responses(work: Path, prompts: dict[str, Prompts]) -> dict[str, Any]:
    """SAMPLES responses of the policy to each prompt, into `samples.json`; what was measured.

    One engine for all: two beside each other would bind themselves to the same core. It ends with this process.
    """
    from models.sampling import sample_fast

    began = time.monotonic()
    responses = {}
    for place, (what, asked) in enumerate(prompts.items()):
        drawn = sample_fast(str(work / "policy"), asked, each=SAMPLES, seed=21 + place, temperature=0.9)
        responses[what] = [[sample.response for sample in group] for group in drawn]
    (work / "samples.json").write_text(json.dumps(responses))
    return {"seconds": round(time.monotonic() - began, 1)}


def train_reward_model(
    place: int, what: str, work: Path, out: Path, prompts: Prompts, synthetic: int, held_out: set[str]
) -> dict[str, Any]:
    """The reward model or the judge, from its backbone; what was measured."""
    from models.pairs import policy_pairs
    from models.train_reward import train

    _one_thread()
    pairs = synthetic_pairs(place, synthetic, held_out)
    samples = json.loads((work / "samples.json").read_text())[what]
    pairs += policy_pairs(prompts, samples, SEEDS["pairs"] + place)
    seconds = train(work / f"{what}-marker", pairs, out / what, 31 + place)
    return {"seconds": round(seconds, 1), "pairs": len(pairs)}


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
            self.facts |= {
                name: found[name] for name in ("language_models", "sampling", "reward_models") if name in found
            }

    def run(self) -> int:
        self.work.mkdir(parents=True, exist_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        self.prompts()
        if self.args.begin != "card":
            self.train_models()
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

    def train_models(self) -> None:
        """All that is trained, on two cores, each once what it continues is there.

        A stage that an interrupted run has finished, from the same settings, is taken as it is.
        """
        half = SAMPLED_PROMPTS // 2
        prompts = {"reward": self.train[:half], "judge": self.train[half : 2 * half]}
        jobs = {SAMPLED: Job(("policy",), lambda: apart(sample_responses, self.work, prompts))}
        for place, (what, asked) in enumerate(prompts.items()):
            jobs[what] = self.reward_model_job(place, what, asked)
        stages = {stage.name: stage for stage in STAGES}
        done = set(stages)
        if self.args.begin == "stages":
            from models.tokens import train_tokenizer

            train_tokenizer(SEEDS["tokenizer"]).save_pretrained(self.work / "tokenizer")
            kept = self.facts.get("language_models", {})
            done = {name for name, stage in stages.items() if kept.get(name, {}).get("identity") == identity(stage)}
            jobs = {name: self.stage_job(stage) for name, stage in stages.items() if name not in done} | jobs

        def finished(name: str, found: dict[str, Any]) -> None:
            kind = "language_models" if name in stages else "sampling" if name == SAMPLED else "reward_models"
            self.note(**{kind: self.facts.get(kind, {}) | {name: found}})

        in_order(jobs, done, finished)
        for name in ("policy", ZERO):
            copy(self.work / name, self.out / name)

    def stage_job(self, stage: Stage) -> Job:
        needs = (stage.start,) if stage.start else ()
        return Job(needs, lambda: apart(train_stage, stage, self.work, self.held_out))

    def reward_model_job(self, place: int, what: str, prompts: Prompts) -> Job:
        """From synthetic pairs and pairs of the policy's samples; the two models share no pair and no prompt."""
        given = place, what, self.work, self.out, prompts, self.args.pairs, self.held_out
        return Job((SAMPLED, f"{what}-marker"), lambda: apart(train_reward_model, *given))

    def card(self) -> None:
        from models.card import measure, write_card

        with ProcessPoolExecutor(1, SPAWN) as sampler:
            facts = measure(self.out, self.held, sampler, SEEDS["unseen_pairs"])
        write_card(self.out, self.facts | facts)
        print((self.out / "card.md").read_text())


@dataclass(frozen=True)
class Job:
    """Something to do in a process of its own, once the jobs that it needs are done."""

    needs: tuple[str, ...]
    begin: Callable[[], Future[dict[str, Any]]]


def in_order(
    jobs: dict[str, Job], done: set[str], finished: Callable[[str, dict[str, Any]], None], cores: int = 2
) -> None:
    """Run the jobs, `cores` at a time, the first that can begin first; `finished` is called with what each returned."""
    waiting, done = dict(jobs), set(done)
    running: dict[Future[dict[str, Any]], str] = {}
    while waiting or running:
        for name in [n for n, job in waiting.items() if done.issuperset(job.needs)][: cores - len(running)]:
            running[waiting.pop(name).begin()] = name
        if not running:
            raise ValueError(f"these jobs need something that nothing makes: {', '.join(waiting)}")
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            name = running.pop(future)
            finished(name, future.result())
            done.add(name)


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
