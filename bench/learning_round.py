"""Does a round raise gold? Rounds through a real engine and gateway, and the gold judge before and after each.

For each seed: one round with the trainer's defaults (others by --set), and one of each over-trained variant, which may
win reward and no gold. Gold is measured on prompts that stand in no file of the models, so that nothing was trained on
or gated with them. The trainer runs as it always does, in a process of its own, niced. JSON is the last line.
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

import httpx
import numpy as np

from bench.stack import KEY, Stack, running
from cli.profiles import TINY, Profile

UNSEEN_SEED = 900_001  # of the prompts that gold is measured on
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
        before = bench.gold("ruminate-v0")
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
    """Prompts of the world that neither the models nor the rounds nor the gate have seen verbatim."""
    from models.prompts import draw_prompts, read_prompts
    from models.tokens import key

    files = Path(profile.base_mix).parent.glob("*.jsonl")
    known = {key(row["messages"]) for file in files for row in read_prompts(file)}
    return [list(one.messages) for one in draw_prompts(count, UNSEEN_SEED, known)]


def compare(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """The mean difference over prompts, with a bootstrap interval of 95 %."""
    dice = np.random.default_rng(0)
    differences = after - before
    means = differences[dice.integers(0, len(differences), (10_000, len(differences)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "before": round(float(before.mean()), 4),
        "after": round(float(after.mean()), 4),
        "difference": round(float(differences.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


class Bench:
    """Rounds and gold on one running stack."""

    def __init__(
        self,
        stack: Stack,
        profile: Profile,
        prompts: list[list[dict[str, Any]]],
        samples: int,
        most_tokens: int | None = None,
        most_prompts: int | None = None,
    ) -> None:
        from thinking.format import FORMATS
        from trainer.policy import eos_ids, load_tokenizer, prompt_ids
        from trainer.rewards import Reader

        base = Path(profile.base_model)
        tokenizer = load_tokenizer(base, profile.template)
        self._reader = Reader(tokenizer, FORMATS["think"], eos_ids(tokenizer, base))
        pairs = [(messages, prompt_ids(tokenizer, messages)) for messages in prompts]
        pairs = [(asked, ids) for asked, ids in pairs if most_tokens is None or len(ids) <= most_tokens][:most_prompts]
        self.prompts, self._ids = [asked for asked, _ in pairs], [ids for _, ids in pairs]
        self._stack, self._profile, self._samples = stack, profile, samples
        self._http = httpx.Client(base_url=stack.gateway, headers=stack.service, timeout=900.0)

    def gold(self, model: str) -> np.ndarray:
        """The gold score of each prompt, the mean over its answers as they would be served."""
        from models.gold import score

        body = {"model": model, "n": self._samples, "max_tokens": 256, "temperature": 0.7}
        scores = []
        for start in range(0, len(self._ids), 32):
            part = self._ids[start : start + 32]
            found = self._call("/internal/sample", body | {"prompts": part, "seed": 77_000 + start})["samples"]
            rows: list[list[float]] = [[] for _ in part]
            for sample in found:
                parsed = self._reader.read(sample["token_ids"], sample["finish_reason"] == "stop")
                messages = self.prompts[start + sample["prompt"]]
                rows[sample["prompt"]].append(score(messages, parsed.response).score)
            scores += [sum(row) / len(row) for row in rows]
        return np.array(scores)

    def gold_of(self, path: str, number: int) -> np.ndarray:
        """Gold of a checkpoint's folder, also of one that the gate put away."""
        name = f"round-bench-{number}"
        self._call("/internal/adapters", {"name": name, "path": path})
        found = self.gold(name)
        self._http.delete(f"/internal/adapters/{name}").raise_for_status()
        return found

    def round(self, seed: int, config: dict[str, Any]) -> dict[str, Any]:
        """One round from the base, by `python -m trainer --once`."""
        from db.queries import rounds
        from db.session import Database

        live = self._http.get("/api/status").json()["live"]["name"]
        if live != "v0":
            body = {
                "checkpoint": "v0",
                "expected_live": live,
                "by": "bench",
                "reason": "each round starts from the base",
            }
            self._call("/internal/deploy", body)
        database = Database(f"sqlite:///{self._stack.home / 'ruminate.db'}")
        with database.transaction() as session:
            round_id = rounds.request_round(session, "grpo", config, "bench", seed=seed).id
        began = time.perf_counter()
        code = train_once(self._stack, self._profile)
        seconds = time.perf_counter() - began
        with database.reading() as session:
            row, series = rounds.get_round(session, round_id), rounds.metrics(session, round_id)
            path = None
            if row.candidate_checkpoint_id is not None:
                from db.queries.checkpoints import get_checkpoint

                path = get_checkpoint(session, row.candidate_checkpoint_id).path
        database.close()
        return figures(row, series) | {"exit": code, "seconds": round(seconds, 1), "checkpoint": path}

    def _call(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._http.post(path, json=body)
        if answer.is_error:
            raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()


def train_once(stack: Stack, profile: Profile) -> int:
    """`python -m trainer --once` on the round that waits; how it ended."""
    environment = os.environ | {
        "RUMINATE_HOME": str(stack.home),
        "RUMINATE_SERVICE_KEY": KEY,
        "RUMINATE_TRAINER_GATEWAY": stack.gateway,
        "RUMINATE_TRAINER_BASE_MODEL": profile.base_model,
        "RUMINATE_TRAINER_REWARD_MODEL": profile.reward_model,
        "RUMINATE_TRAINER_JUDGE_MODEL": profile.judge_model,
        "RUMINATE_TRAINER_BASE_MIX": profile.base_mix,
    }
    with (stack.home / "trainer.log").open("ab") as out:
        command = [sys.executable, "-m", "trainer", "--once"]
        return subprocess.run(command, env=environment, stdout=out, stderr=out, check=False).returncode


def figures(row: Any, series: dict[str, list[tuple[int, float]]]) -> dict[str, Any]:
    """What is worth keeping of a round."""
    values = {name: [value for _, value in points] for name, points in series.items()}
    medians = {name: round(float(np.median(v)), 2) for name, v in values.items() if name.startswith("seconds_")}
    ends = {
        name: [round(float(np.mean(v[:3])), 4), round(float(np.mean(v[-3:])), 4)]
        for name, v in values.items()
        if not name.startswith("seconds_")
    }
    return {"state": row.state, "error": row.error, "verdict": row.verdict, "first_and_last": ends, **medians}


if __name__ == "__main__":
    sys.exit(main())
