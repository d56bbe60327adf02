"""Rounds as the gateway of the page's tests tells them: made-up figures in the gateway's shapes."""

from collections.abc import Callable
from typing import Any

START = "2026-11-20T08:00:00+00:00"

VERDICT = {
    "publish": True, "prompts": 192, "samples": 4, "confidence": 0.95, "outcomes": "margins", "kl": 0.024,
    "reward": {"before": 0.11, "after": 0.512, "difference": 0.402, "low": 0.31, "high": 0.494,
               "win_rate": 0.668, "win_low": 0.631, "win_high": 0.705},
    "judge": {"before": 0.07, "after": 0.382, "difference": 0.312, "low": 0.201, "high": 0.423,
              "win_rate": 0.61, "win_low": 0.568, "win_high": 0.652},
    "malformed": {"live": 0.012, "candidate": 0.001}, "refusals": {"live": 0.02, "candidate": 0.052},
    "thought_tokens": {"live": 38.2, "candidate": 41.0},
    "response_tokens": {"live": 48.0, "candidate": 71.0},
    "words": "published: the second judge says +0.312 (+0.201 to +0.423), 61% of the prompts won",
    "checks": [
        {"name": "reward", "passed": True, "words": "the reward model says +0.402 (+0.310 to +0.494)",
         "figures": {"difference": 0.402, "low": 0.31, "high": 0.494, "won": 0.668}},
        {"name": "length", "passed": False, "words": "responses went from 48 to 71 tokens (allowed: up to 62)",
         "figures": {"live": 48.0, "candidate": 71.0, "least": 0.76923, "most": 1.3}},
    ],
    "watch": {"figures": {"length_ratio": 1.48}, "phrase": "", "alerts": [{
        "name": "length", "words": "answers are 1.48 times as long as live's",
        "examples": [{"prompt": "Name a sea.", "before": "The Baltic.", "after": "The Baltic Sea, in the north."}],
    }]},
}  # fmt: skip


def round_view(number: int, state: str, step: int, reason: str = "200 new prompts") -> dict[str, Any]:
    ended, waits = state == "published", state == "requested"
    return {
        "id": number, "state": state, "phase": "publish" if ended else None if waits else "train", "step": step,
        "total_steps": None if waits else 40,
        "algorithm": "grpo", "config": {}, "seed": 7, "trigger": "prompts", "reason": reason,
        "requested_by": "the trainer", "parent": f"v{number - 1}", "candidate": f"v{number}" if ended else None,
        "verdict": VERDICT if ended else None, "error": None,
        "created_at": START, "started_at": None if waits else START,
        "ended_at": "2026-11-20T08:09:10+00:00" if ended else None,
    }  # fmt: skip


def metrics(steps: int) -> dict[str, list[list[Any]]]:
    names: dict[str, Callable[[int], float]] = {
        "reward": lambda n: -0.4 + 1.2 * (1 - 0.93**n) + 0.08 * ((n * 7) % 5 - 2),
        "reward_well_formed": lambda n: -0.3 + 1.2 * (1 - 0.93**n) + 0.06 * ((n * 7) % 5 - 2),
        "kl": lambda n: 0.0009 * n + 0.0003 * ((n * 3) % 4),
        "malformed_share": lambda n: max(0.0, 0.03 - 0.001 * n + 0.004 * ((n * 5) % 3)),
        "thought_tokens": lambda n: 38 + 0.3 * n + (n * 11) % 6,
        "response_tokens": lambda n: 61 - 0.2 * n + (n * 13) % 7,
    }
    whole = {name: [[n, value(n)] for n in range(1, steps + 1)] for name, value in names.items()}
    for name, rise in (("lookout_reward", 0.01), ("lookout_judge", 0.005)):
        whole[name] = [[n, rise * n] for n in range(1, steps + 1, 10)]
    if steps >= 5:
        whole["kl"][4][1] = None  # as the gateway sends what was no number
    return whole


def story_view(name: str) -> dict[str, Any]:
    number = int(name[1:])
    if not number:
        return {"name": name, "round": None, "changed": {}, "verdict": None, "prompts": {}, "metrics": {}}
    return {
        "name": name, "round": {"id": number, "algorithm": "grpo", "seed": 7, "trigger": "prompts"},
        "changed": {"learning_rate": {"parent": 0.002, "own": 0.001}}, "verdict": VERDICT,
        "prompts": {"recorded": 52, "mix": 204, "erased": 3},
        "metrics": {"reward": [-0.4, 0.8], "kl": [0.0009, None]},
        "samples": [{"prompt": "Name a soup.", "before": "Soup.", "after": "Leek and potato soup."}],
    }  # fmt: skip


def checkpoint_view(name: str, live: str) -> dict[str, Any]:
    number = int(name[1:])
    manifest = {
        "base": {"name": "tiny/policy"}, "prompts": {"recorded": 52, "mix": 204}, "verdict": VERDICT,
    }  # fmt: skip
    return {
        "name": name, "kind": "adapter" if number else "base", "parent": f"v{number - 1}" if number else None,
        "round": number if 0 < number < 3 else None, "state": "rejected" if number == 3 else "published",
        "created_at": START, "live": name == live, "path": f"checkpoints/{name}",
        "manifest": manifest if number else None, "lineage": [f"v{one}" for one in range(number, -1, -1)],
    }  # fmt: skip
