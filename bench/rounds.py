"""Rounds through a real engine and gateway, and the gold judge before and after: what the benches of learning share.

The trainer runs as it always does, in a process of its own. A round that is known by a reason is gone on with where a
bench was cut off, and not run twice. Gold is asked about prompts that stand in no file of the models, so that nothing
was trained on or gated with them.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import httpx
import numpy as np

from bench.stack import KEY, Stack
from cli.process import Supervised
from cli.profiles import TINY, Profile

Series = dict[str, list[tuple[int, float]]]
UNSEEN_SEED = 900_001  # of the prompts that gold is measured on
FIRST = "ruminate-v0"  # the base, as the gateway serves it
SMOKE_ROUND = {"steps": 2, "prompts_per_step": 2, "group_size": 4, "gate_prompts": 8, "gate_samples": 2}
"""The smallest round: shows that it runs, and nothing more."""
TRAINER = (sys.executable, "-m", "trainer", "--once")
LOOK_SECONDS = 0.2  # at a trainer, whether it has ended
LEASE_SECONDS, WAIT_SECONDS = 90.0, 5.0  # a trainer's lease is 60 s; between looks for the round


def beside(folder: Path) -> Profile:
    """The tiny profile with the models of another folder."""
    return replace(
        TINY,
        base_model=str(folder / "policy"),
        reward_model=str(folder / "reward"),
        judge_model=str(folder / "judge"),
        base_mix=str(folder / "prompts" / "train.jsonl"),
    )


def unseen(count: int, profile: Profile) -> list[list[dict[str, Any]]]:
    """Prompts of the world that neither the rounds nor the gate have seen verbatim.

    Nor have the models, but for some whose kind is `outside`, of which the world has few: 15 of 256 (docs/learning.md).
    """
    from models.prompts import draw_prompts, read_prompts
    from models.tokens import key

    files = Path(profile.base_mix).parent.glob("*.jsonl")
    known = {key(row["messages"]) for file in files for row in read_prompts(file)}
    return [list(one.messages) for one in draw_prompts(count, UNSEEN_SEED, known)]


def reader_of(profile: Profile, thoughtless: bool = False) -> Any:
    """What reads the profile's policy; `thoughtless`: as it is asked for a response alone."""
    from thinking.format import FORMATS
    from trainer.house import without_thought
    from trainer.policy import eos_ids, load_tokenizer
    from trainer.rewards import Reader

    base = Path(profile.base_model)
    tokenizer = load_tokenizer(base, profile.template)
    reader = Reader(tokenizer, FORMATS[profile.thinking_format], eos_ids(tokenizer, base))
    return without_thought(reader, profile.template) if thoughtless else reader


@dataclass(frozen=True)
class Measured:
    """Of one model: the gold score of each prompt (the mean over its answers), and what all answers look like."""

    gold: np.ndarray
    malformed: float
    thought_tokens: float
    response_tokens: float

    @property
    def habits(self) -> dict[str, float]:
        """All but the scores, for JSON."""
        names = ("malformed", "thought_tokens", "response_tokens")
        return {name: round(getattr(self, name), 4) for name in names}


@dataclass(frozen=True)
class Wanted:
    """A round to be run. `reason`: by which it is known again; empty: a new one each time."""

    config: Mapping[str, Any]
    seed: int
    reason: str = ""
    algorithm: str = "grpo"
    by: str = "bench"
    trigger: str = "person"
    environment: Mapping[str, str] = field(default_factory=dict)  # further settings of the trainer's process


@dataclass(frozen=True)
class Ended:
    """A round that has ended: its row, its figures by step, and the folder of its candidate, if it has made one."""

    row: Any
    series: Series
    checkpoint: str | None

    @property
    def seconds(self) -> float:
        """From its first claim to its end, with whatever time it waited for a trainer in between."""
        return (self.row.ended_at - self.row.started_at).total_seconds() if self.row.started_at else 0.0


class Bench:
    """Rounds and gold on one running stack. `thoughtless`: the policy is measured as it answers without a thought."""

    def __init__(
        self,
        stack: Stack,
        profile: Profile,
        prompts: list[list[dict[str, Any]]],
        samples: int,
        most_tokens: int | None = None,
        most_prompts: int | None = None,
        thoughtless: bool = False,
    ) -> None:
        from trainer.policy import prompt_ids

        self._reader = reader_of(profile, thoughtless)
        pairs = [(messages, prompt_ids(self._reader.tokenizer, messages)) for messages in prompts]
        pairs = [(asked, ids) for asked, ids in pairs if most_tokens is None or len(ids) <= most_tokens][:most_prompts]
        self.prompts, self._ids = [asked for asked, _ in pairs], [ids for _, ids in pairs]
        self._stack, self._profile, self._samples = stack, profile, samples
        self._http = httpx.Client(base_url=stack.gateway, headers=stack.service, timeout=900.0)

    def measure(self, model: str) -> Measured:
        """What the served `model` answers to the prompts, as people would get it."""
        from models.gold import score

        groups = self.answers(model, self._samples)
        outputs = [parsed for group in groups for parsed in group]
        scores = [
            fmean(score(messages, parsed.response).score for parsed in group)
            for messages, group in zip(self.prompts, groups, strict=True)
        ]
        return Measured(
            gold=np.array(scores),
            malformed=fmean(not parsed.well_formed for parsed in outputs),
            thought_tokens=fmean(self._reader.tokens([parsed.reasoning for parsed in outputs])),
            response_tokens=fmean(self._reader.tokens([parsed.response for parsed in outputs])),
        )

    def responses(self, model: str, samples: int) -> list[list[str]]:
        """So many responses of the served `model` to each prompt."""
        return [[parsed.response for parsed in group] for group in self.answers(model, samples)]

    def answers(self, model: str, samples: int) -> list[list[Any]]:
        """The same, read: with their thoughts and how they ended."""
        body: dict[str, Any] = {"model": model, "n": samples, "max_tokens": 256, "temperature": 0.7}
        body["stop"] = list(self._reader.format.stop)
        groups: list[list[Any]] = [[] for _ in self._ids]
        for start in range(0, len(self._ids), 32):
            part = self._ids[start : start + 32]
            found = self._call("/internal/sample", body | {"prompts": part, "seed": 77_000 + start})["samples"]
            for sample in found:
                parsed = self._reader.read(sample["token_ids"], sample["finish_reason"] == "stop")
                groups[start + sample["prompt"]].append(parsed)
        return groups

    def load(self, name: str, path: str | Path) -> None:
        """Let the engine serve an adapter's folder under a name that it does not know yet."""
        self._call("/internal/adapters", {"name": name, "path": str(path)})

    def measure_folder(self, path: str | Path, name: str) -> Measured:
        """The same of an adapter's folder, also of a checkpoint that the gate put away. `name`: not loaded yet."""
        self.load(name, path)
        found = self.measure(name)
        self._http.delete(f"/internal/adapters/{name}").raise_for_status()
        return found

    def gold(self, model: str) -> np.ndarray:
        """The gold score of each prompt, the mean over its answers as they would be served."""
        return self.measure(model).gold

    def gold_of(self, path: str, number: int) -> np.ndarray:
        """Gold of a checkpoint's folder."""
        return self.measure_folder(path, f"round-bench-{number}").gold

    def round(self, seed: int, config: dict[str, Any]) -> dict[str, Any]:
        """One round from the base, by `python -m trainer --once`; what is worth keeping of it."""
        began = time.perf_counter()
        ended = self.run(Wanted(config, seed))
        seconds, code = time.perf_counter() - began, {"published": 0, "rejected": 3}.get(ended.row.state, 1)
        return figures(ended.row, ended.series) | {
            "exit": code,
            "seconds": round(seconds, 1),
            "checkpoint": ended.checkpoint,
        }

    def run(self, wanted: Wanted) -> Ended:
        """A round from the base."""
        if asked_before(self._stack, wanted) is None:
            self.start_from_base()
        return run_round(self._stack, self._profile, wanted)

    def start_from_base(self) -> None:
        """Make the base live: a round starts from what is."""
        live = self._http.get("/api/status").json()["live"]["name"]
        if live != "v0":
            reason = "each round starts from the base"
            self._call("/internal/deploy", {"checkpoint": "v0", "expected_live": live, "by": "bench", "reason": reason})

    def _call(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._http.post(path, json=body)
        if answer.is_error:
            raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()


def database_of(stack: Stack) -> Any:
    """The stack's database; whoever opens it closes it."""
    from db.session import Database

    return Database(f"sqlite:///{stack.home / 'ruminate.db'}")


def asked_before(stack: Stack, wanted: Wanted) -> int | None:
    """The id of the newest round of this reason; None where there is none."""
    from db.queries import rounds

    database = database_of(stack)
    try:
        with database.reading() as session:
            known = rounds.list_rounds(session, 10_000) if wanted.reason else []
            return next((row.id for row in known if row.reason == wanted.reason), None)
    finally:
        database.close()


def ask(stack: Stack, wanted: Wanted) -> int:
    """The id of this round, which is asked for where it was not before."""
    from db.queries import rounds

    before = asked_before(stack, wanted)
    if before is not None:
        return before
    database = database_of(stack)
    try:
        with database.transaction() as session:
            row = rounds.request_round(
                session, wanted.algorithm, wanted.config, wanted.by, wanted.trigger, wanted.reason, wanted.seed
            )
            return int(row.id)
    finally:
        database.close()


def run_round(stack: Stack, profile: Profile, wanted: Wanted) -> Ended:
    """The round, to its end, from whatever is live, by another trainer where one died or left it to be tried again.

    Raises RuntimeError when no trainer takes it.
    """
    from db.queries import checkpoints, rounds

    round_id = ask(stack, wanted)
    database = database_of(stack)
    attempts, deadline = -1, 0.0
    try:
        while True:
            with database.reading() as session:
                row, series = rounds.get_round(session, round_id), rounds.metrics(session, round_id)
                candidate = row.candidate_checkpoint_id
                path = None if candidate is None else checkpoints.get_checkpoint(session, candidate).path
            if not row.open:
                return Ended(row, series, path)
            if row.attempts > attempts:  # if its trainer died, the lease that it left must run out first
                attempts, deadline = row.attempts, time.monotonic() + LEASE_SECONDS
            elif time.monotonic() > deadline:
                raise RuntimeError(f"round {round_id} has not ended; see {stack.home / 'trainer.log'}")
            else:
                time.sleep(WAIT_SECONDS)
            train_once(stack, profile, wanted.environment)
    finally:
        database.close()


def trainer_environment(stack: Stack, profile: Profile, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a trainer of this stack. `more`: settings by field."""
    environment = {
        "RUMINATE_HOME": str(stack.home),
        "RUMINATE_SERVICE_KEY": KEY,
        "RUMINATE_TRAINER_GATEWAY": stack.gateway,
        "RUMINATE_TRAINER_BASE_MODEL": profile.base_model,
        "RUMINATE_TRAINER_REWARD_MODEL": profile.reward_model,
        "RUMINATE_TRAINER_JUDGE_MODEL": profile.judge_model,
        "RUMINATE_TRAINER_BASE_MIX": profile.base_mix,
        "RUMINATE_TRAINER_TEMPLATE": profile.template,
        "RUMINATE_TRAINER_THINKING_FORMAT": profile.thinking_format,
        "RUMINATE_TRAINER_DEFAULTS": json.dumps(profile.trainer_defaults),
    }
    return environment | {f"RUMINATE_TRAINER_{name.upper()}": value for name, value in (more or {}).items()}


def train_once(stack: Stack, profile: Profile, more: Mapping[str, str] | None = None) -> None:
    """`python -m trainer --once` on the round that waits, to its end.

    In the session of the engines, as in the house, so that its niceness counts against theirs. The stack ends it, if
    the bench is cut off.
    """
    environment = trainer_environment(stack, profile, more)
    trainer = Supervised("trainer", [*TRAINER], environment, stack.home / "trainer.log", lambda: True, print)
    stack.processes[trainer.name] = trainer
    trainer.start()
    while not trainer.ended():
        time.sleep(LOOK_SECONDS)


def figures(row: Any, series: Series) -> dict[str, Any]:
    """What is worth keeping of a round."""
    values = {name: [value for _, value in points] for name, points in series.items()}
    medians = {name: round(float(np.median(v)), 2) for name, v in values.items() if name.startswith("seconds_")}
    ends = {
        name: [round(float(np.mean(v[:3])), 4), round(float(np.mean(v[-3:])), 4)]
        for name, v in values.items()
        if not name.startswith("seconds_")
    }
    return {"state": row.state, "error": row.error, "verdict": row.verdict, "first_and_last": ends, **medians}


def compare(before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray) -> dict[str, float]:
    """The mean difference over prompts, with a bootstrap interval of 95 %."""
    dice = np.random.default_rng(0)
    old, new = np.asarray(before), np.asarray(after)
    differences = new - old
    means = differences[dice.integers(0, len(differences), (10_000, len(differences)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "before": round(float(old.mean()), 4),
        "after": round(float(new.mean()), 4),
        "difference": round(float(differences.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
