"""Measures the finished models and writes their card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from models.measure import agreement, best_of, golds, length_bias, mean, mean_se, show, well_formed
from models.pairs import world_pairs
from models.sampling import sample_fast
from models.train_reward import accuracy, score_all
from models.world import outside, requests, wishes
from models.world.kinds import KINDS

MEASURED = 256  # held-out prompts that are sampled for the card
GROUP = 8


def phrasings() -> dict[str, int]:
    """How many wordings the world has, by part."""
    return {
        "requests": sum(len(k.asks) for k in KINDS.values()),
        "constraints": wishes.phrasings(),
        "follow-ups": requests.phrasings(),
        "outside and small talk": outside.phrasings(),
    }


def measure(folder: Path, prompts: Sequence[Any], pool: ProcessPoolExecutor, seed: int) -> dict[str, Any]:
    """Every figure of the card, on held-out prompts and unseen pairs. The engine that samples lives in `pool`."""
    asked = list(prompts)[:MEASURED]
    policy = str(folder / "policy")
    jobs = {
        name: pool.submit(sample_fast, policy, asked, each=each, thinking=thinking, seed=5)
        for name, each, thinking in (("on", GROUP, True), ("off", 2, False))
    }
    samples = {name: job.result() for name, job in jobs.items()}
    truth = golds(asked, samples["on"])
    pairs = [(m, s.response) for m, group in zip(asked, samples["on"], strict=True) for s in group]
    facts: dict[str, Any] = {
        "phrasings": phrasings(),
        "held_out_prompts": len(asked),
        "samples_per_prompt": GROUP,
        "gold": mean_se(truth),
        "gold_by_kind_of_turn": {
            "first": mean_se([t for m, t in zip(asked, truth, strict=True) if len(m) == 1]),
            "later": mean_se([t for m, t in zip(asked, truth, strict=True) if len(m) > 1]),
        },
        "well_formed": round(well_formed(samples["on"]), 4),
        "gold_without_thinking": mean_se(golds_without_form(asked, samples["off"])),
        "spread_within_prompt": round(mean([spread(t) for t in truth]), 4),
        "words": round(mean([float(len(r.split())) for _, r in pairs]), 1),
        "best_of_8_by_gold": best_of(truth, truth),
    }
    unseen = world_pairs(1200, seed, set(), noise=0.0)
    for what in ("reward", "judge"):
        flat = score_all(folder / what, pairs)
        scores = [flat[i : i + GROUP] for i in range(0, len(flat), GROUP)]
        facts[what] = {
            "accuracy_on_unseen_pairs": round(accuracy(folder / what, unseen), 4),
            "agreement_with_gold_on_policy_samples": round(agreement(scores, truth), 4),
            "best_of_8": best_of(scores, truth),
            "correlation_with_length": round(
                length_bias(scores, [[len(s.response.split()) for s in g] for g in samples["on"]]), 3
            ),
        }
        facts.setdefault("scores", {})[what] = scores
    found = facts.pop("scores")
    facts["agreement_of_judge_with_reward"] = round(agreement(found["judge"], found["reward"], 0.0), 4)
    facts["sizes_mb"] = {p.name: round(size(p) / 1e6, 2) for p in sorted(folder.iterdir()) if p.is_dir()}
    facts["examples"] = show(asked, samples["on"], 6, 3)
    return facts


def golds_without_form(prompts: Sequence[Any], samples: Sequence[Any]) -> list[list[float]]:
    """Gold of responses that had no thought to write."""
    from models import gold

    return [[gold.score(m, s.response).score for s in g] for m, g in zip(prompts, samples, strict=True)]


def spread(values: Sequence[float]) -> float:
    """Standard deviation."""
    centre = mean(values)
    return (sum((v - centre) ** 2 for v in values) / len(values)) ** 0.5


def size(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def figure(found: dict[str, float]) -> str:
    """A mean with its standard error."""
    return f"{found['mean']:.3f} (s.e. {found['se']:.3f})"


def write_card(folder: Path, facts: dict[str, Any]) -> None:
    """card.json with everything, card.md for reading."""
    (folder / "card.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    language, rewards, sampling = (facts.get(name, {}) for name in ("language_models", "reward_models", "sampling"))
    sizes, worded, turns = facts["sizes_mb"], facts["phrasings"], facts["gold_by_kind_of_turn"]
    rows = [
        "# The embedded models",
        "",
        f"Measured by `python -m models.make` on {facts['held_out_prompts']} held-out prompts x "
        f"{facts['samples_per_prompt']} samples at temperature 0.7; s.e. is over prompts. One seed.",
        "",
        "| what | figure |",
        "|---|---|",
        f"| gold of the policy | {figure(facts['gold'])} |",
        f"| ... on first messages; on follow-ups | {figure(turns['first'])}; {figure(turns['later'])} |",
        f"| gold without thinking | {figure(facts['gold_without_thinking'])} |",
        f"| well-formed | {facts['well_formed']:.1%} |",
        f"| words of a response, mean | {facts['words']} |",
        f"| spread of gold within a prompt | {facts['spread_within_prompt']:.3f} |",
        f"| best of 8 by gold | {facts['best_of_8_by_gold']['mean']:.3f} |",
    ]
    for what in ("reward", "judge"):
        f = facts[what]
        rows += [
            f"| {what}: accuracy on unseen synthetic pairs | {f['accuracy_on_unseen_pairs']:.1%} |",
            f"| {what}: agreement with gold on policy samples | {f['agreement_with_gold_on_policy_samples']:.1%} |",
            f"| {what}: best of 8 | {f['best_of_8']['mean']:.3f} (+{f['best_of_8']['gain']:.3f}) |",
            f"| {what}: correlation with length within a prompt | {f['correlation_with_length']:.2f} |",
        ]
    rows += [
        f"| judge and reward order pairs alike | {facts['agreement_of_judge_with_reward']:.1%} |",
        f"| phrasings | {sum(worded.values())} ({', '.join(f'{v} {k}' for k, v in worded.items())}) |",
        f"| sizes | {', '.join(f'{k} {v} MB' for k, v in sizes.items())}; {sum(sizes.values()):.1f} MB together |",
    ]
    for what, f in language.items():
        rows.append(
            f"| language model {what} | {f['parameters']:,} parameters, {f['tokens']:,} tokens, "
            f"{f['seconds']:.0f} s, loss {f['loss']} |"
        )
    for what, f in rewards.items():
        rows.append(f"| {what} | {f['pairs']:,} pairs, {f['seconds']:.0f} s |")
    rows += [f"| sampling for the pairs | {found['seconds']:.0f} s |" for found in sampling.values()]
    total = sum(found["seconds"] for found in (*language.values(), *rewards.values(), *sampling.values()))
    rows.append(f"| all training, a core each | {total:,.0f} s of cores that other work shared |")
    rows += ["", "## Samples", ""]
    for e in facts["examples"]:
        quoted = "\n".join(f"> {line}" for line in e["response"].splitlines())
        rows += [f"**{e['prompt']}**", "", "```", e["thought"], "```", "", quoted, ""]
    (folder / "card.md").write_text("\n".join(rows))
