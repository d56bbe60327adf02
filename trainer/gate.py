"""Whether a candidate is better than what is live, and why: in numbers, and in words.

Both answer the same held-out prompts. Two judges score the responses: the reward model that trained the candidate, and
a second one that did not. A candidate that learned to please the first alone is not better. Checks are a list, each
with a name, a figure and a sentence; a later rule is one more function here. Decides only: publishing is elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinking.format import Parsed
from trainer.intervals import Paired, paired
from trainer.prompts import Messages
from trainer.rewards import RewardModel, grade
from trainer.settings import RoundConfig


@dataclass(frozen=True)
class Answers:
    """What one side answered: for each prompt the same number of outputs, with their lengths in tokens."""

    outputs: Sequence[Sequence[Parsed]]
    thought_tokens: float
    response_tokens: float

    @property
    def malformed_share(self) -> float:
        """Share of outputs that are not a closed thought and a finished response."""
        flat = [parsed.well_formed for outputs in self.outputs for parsed in outputs]
        return 1 - sum(flat) / len(flat)


@dataclass(frozen=True)
class Check:
    """One thing the gate looked at."""

    name: str
    passed: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, as the round's row keeps it."""

    publish: bool
    words: str
    checks: Sequence[Check]
    figures: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For a row: decision, words, checks and numbers."""
        checks = [{"name": check.name, "passed": check.passed, "words": check.words} for check in self.checks]
        return {"publish": self.publish, "words": self.words, "checks": checks, **self.figures}


def judge(
    conversations: Sequence[Messages],
    live: Answers,
    candidate: Answers,
    reward: RewardModel,
    second: RewardModel,
    config: RoundConfig,
) -> Verdict:
    """Compare the answers to `conversations`. `reward` trained the candidate, `second` did not."""
    scored = {
        name: _compare(model, conversations, live, candidate, config)
        for name, model in (("reward", reward), ("judge", second))
    }
    checks = [
        _reward_rose(scored["reward"]),
        _judge_agrees(scored["judge"], config),
        _gain_carries_over(scored["reward"], scored["judge"], config),
        _still_well_formed(live, candidate, config),
        _length_kept(live, candidate, config),
    ]
    publish = all(check.passed for check in checks)
    failed = [check.words for check in checks if not check.passed]
    words = "published: " + checks[1].words if publish else "rejected: " + "; ".join(failed)
    figures = {
        "prompts": len(conversations),
        "samples": len(live.outputs[0]),
        "confidence": config.gate_confidence,
        "reward": scored["reward"].as_json(),
        "judge": scored["judge"].as_json(),
        "malformed": {"live": round(live.malformed_share, 5), "candidate": round(candidate.malformed_share, 5)},
        "response_tokens": {"live": round(live.response_tokens, 2), "candidate": round(candidate.response_tokens, 2)},
        "thought_tokens": {"live": round(live.thought_tokens, 2), "candidate": round(candidate.thought_tokens, 2)},
    }
    return Verdict(publish, words, checks, figures)


def _compare(
    model: RewardModel, conversations: Sequence[Messages], live: Answers, candidate: Answers, config: RoundConfig
) -> Paired:
    """Scores of both sides, malformed ones below every well-formed answer that either gave to the prompt."""
    samples = len(live.outputs[0])
    asked = [messages for messages in conversations for _ in range(2 * samples)]
    outputs = [p for old, new in zip(live.outputs, candidate.outputs, strict=True) for p in (*old, *new)]
    graded = grade(model, asked, outputs, 2 * samples, config.malformed_margin)
    scores = np.array([one.reward for one in graded]).reshape(len(conversations), 2, samples)
    return paired(scores[:, 0], scores[:, 1], config.gate_confidence, config.seed)


def _span(scores: Paired) -> str:
    return f"{scores.difference:+.3f} ({scores.low:+.3f} to {scores.high:+.3f})"


def _reward_rose(scores: Paired) -> Check:
    words = f"the reward model says {_span(scores)}, {scores.win_rate:.0%} of the prompts won"
    return Check("reward", scores.low > 0, words)


def _judge_agrees(scores: Paired, config: RoundConfig) -> Check:
    needed = f", needed is more than {config.gate_min_gain:+.3f}" if config.gate_min_gain else ""
    words = f"the second judge says {_span(scores)}, {scores.win_rate:.0%} of the prompts won{needed}"
    return Check("judge", scores.low > config.gate_min_gain, words)


def _gain_carries_over(reward: Paired, second: Paired, config: RoundConfig) -> Check:
    """What is real shows to both judges; what pleases one alone is that one's weakness."""
    share = second.effect / reward.effect if reward.effect > 0 else 0.0
    words = (
        f"in standard deviations of the live answers the reward model saw {reward.effect:+.2f} and the second judge "
        f"{second.effect:+.2f}, which is {share:.0%} of it (needed: {config.gate_min_transfer:.0%})"
    )
    return Check("transfer", share >= config.gate_min_transfer, words)


def _still_well_formed(live: Answers, candidate: Answers, config: RoundConfig) -> Check:
    rise = candidate.malformed_share - live.malformed_share
    words = (
        f"malformed outputs went from {live.malformed_share:.1%} to {candidate.malformed_share:.1%} "
        f"(allowed: {config.gate_max_malformed:+.1%})"
    )
    return Check("malformed", rise <= config.gate_max_malformed, words)


def _length_kept(live: Answers, candidate: Answers, config: RoundConfig) -> Check:
    ratio = candidate.response_tokens / max(live.response_tokens, 1.0)
    words = (
        f"responses went from {live.response_tokens:.0f} to {candidate.response_tokens:.0f} tokens "
        f"(allowed: {1 / config.gate_max_length_ratio:.2f} to {config.gate_max_length_ratio:.2f} times)"
    )
    return Check("length", 1 / config.gate_max_length_ratio <= ratio <= config.gate_max_length_ratio, words)
