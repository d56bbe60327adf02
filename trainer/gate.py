"""Whether a candidate is better than what is live, and why: in numbers, and in words.

Both answer the same held-out prompts. Two judges score the responses: the reward model that trained the candidate, and
a second one that did not. A candidate that learned to please the first alone is not better. `judge` measures, `decide`
is pure: `bench.gate_simulation` runs it on simulated candidates. Checks are a list, each with a name, a figure and a
sentence; a later rule is one more function here. Decides only: publishing is elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from thinking.format import Parsed
from trainer.habits import Habits, habits
from trainer.intervals import Paired, paired, pairings
from trainer.prompts import Messages
from trainer.regressions import Regressions
from trainer.rewards import RewardModel, grade
from trainer.round_config import RoundConfig


@dataclass(frozen=True)
class Answers:
    """What one side answered: for each prompt the same number of outputs, with their mean lengths in tokens."""

    outputs: Sequence[Sequence[Parsed]]
    thought_tokens: float
    response_tokens: float

    @property
    def habits(self) -> Habits:
        """What these answers look like."""
        flat = [parsed for outputs in self.outputs for parsed in outputs]
        return habits(flat, self.thought_tokens, self.response_tokens)


@dataclass(frozen=True)
class Sides:
    """One number for each answer of each side, as arrays of shape (prompts, samples)."""

    live: np.ndarray
    candidate: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """All that a verdict rests on. `lengths` are logarithms, NaN where malformed; `kl` and `regressions` are None where
    not measured."""

    reward: Sides
    judge: Sides
    lengths: Sides
    live: Habits
    candidate: Habits
    kl: float | None = None
    regressions: Regressions | None = None


@dataclass(frozen=True)
class Check:
    """One thing the gate looked at: what it found as a sentence, and the figures in it for who says it otherwise."""

    name: str
    passed: bool
    words: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, as the round's row keeps it."""

    publish: bool
    words: str
    checks: Sequence[Check]
    figures: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For a row: decision, words, checks and numbers."""
        checks = [asdict(check) for check in self.checks]
        return {"publish": self.publish, "words": self.words, "checks": checks, **self.figures}


def measure(
    conversations: Sequence[Messages],
    live: Answers,
    candidate: Answers,
    reward: RewardModel,
    second: RewardModel,
    config: RoundConfig,
    kl: float | None = None,
) -> Evidence:
    """What the verdict rests on, from the answers to `conversations`. `reward` trained the candidate, `second` did not.

    `kl`: the candidate's divergence from live on its own answers, nats per token.
    """
    first, other = (_score(model, conversations, live, candidate, config) for model in (reward, second))
    lengths = Sides(_lengths(live), _lengths(candidate))
    return Evidence(first, other, lengths, live.habits, candidate.habits, kl)


def decide(found: Evidence, config: RoundConfig) -> Verdict:
    """The verdict on what was measured. Knows no models and no text."""
    gaps, wins = pairings(found.lengths.live, found.lengths.candidate), config.gate_outcomes == "wins"
    reward, second = (
        paired(sides.live, sides.candidate, config.gate_confidence, config.seed, gaps=gaps, wins=wins)
        for sides in (found.reward, found.judge)
    )
    old, new = found.live, found.candidate
    checks = [
        _reward_rose(reward),
        _judge_agrees(second, config),
        _not_by_length(second),
        _gain_carries_over(reward, second, config),
        *habits_kept(old, new, found.kl, config),
        *([] if found.regressions is None else [_kept_answers_hold(found.regressions, config)]),
    ]
    publish = all(check.passed for check in checks)
    failed = [check.words for check in checks if not check.passed]
    words = "published: " + checks[1].words if publish else "rejected: " + "; ".join(failed)
    habit = {name: {"live": old.as_json()[name], "candidate": new.as_json()[name]} for name in old.as_json()}
    figures = {
        "prompts": len(found.judge.live),
        "samples": found.judge.live.shape[1],
        "confidence": config.gate_confidence,
        "outcomes": config.gate_outcomes,
        "reward": reward.as_json(),
        "judge": second.as_json(),
        **habit,
        "kl": None if found.kl is None else round(found.kl, 5),
        "regressions": None if found.regressions is None else found.regressions.as_json(),
    }
    return Verdict(publish, words, checks, figures)


def habits_kept(old: Habits, new: Habits, kl: float | None, config: RoundConfig) -> list[Check]:
    """The checks that ask no judge: what the candidate's answers look like beside live's, and how far it went."""
    return [
        _no_more("malformed", "malformed outputs", old.malformed, new.malformed, config.gate_max_malformed),
        _no_more("empty_thoughts", "empty thoughts", old.empty_thoughts, new.empty_thoughts, config.gate_max_empty),
        _no_more("repetition", "repeated words", old.repetition, new.repetition, config.gate_max_repetition),
        _no_more("refusals", "refusals", old.refusals, new.refusals, config.gate_max_refusals),
        _length_kept(old, new, config),
        *([] if kl is None else [_stayed_near(kl, config)]),
    ]


def _score(
    model: RewardModel, conversations: Sequence[Messages], live: Answers, candidate: Answers, config: RoundConfig
) -> Sides:
    """Scores of both sides, malformed ones below every well-formed answer that either gave to the prompt."""
    samples = len(live.outputs[0])
    asked = [messages for messages in conversations for _ in range(2 * samples)]
    outputs = [p for old, new in zip(live.outputs, candidate.outputs, strict=True) for p in (*old, *new)]
    sides = [side for _ in conversations for side in (0, 1) for _ in range(samples)]
    graded = grade(model, asked, outputs, 2 * samples, config.malformed_margin, sides)
    scores = np.array([one.reward for one in graded]).reshape(len(conversations), 2, samples)
    return Sides(scores[:, 0], scores[:, 1])


def _lengths(answers: Answers) -> np.ndarray:
    """Logarithm of each response's characters."""
    rows = [[math.log(len(p.response)) if p.well_formed else math.nan for p in row] for row in answers.outputs]
    return np.array(rows)


def _check(name: str, passed: bool, sentence: str, **figures: float) -> Check:
    """What `sentence` says with its figures filled in."""
    return Check(name, passed, sentence.format(**figures), {key: round(value, 5) for key, value in figures.items()})


SAYS = " says {difference:+.3f} ({low:+.3f} to {high:+.3f}), {won:.0%} of the pairings won"


def _said(scores: Paired) -> dict[str, float]:
    """What SAYS is filled in with."""
    return {"difference": scores.difference, "low": scores.low, "high": scores.high, "won": scores.win_rate}


def _reward_rose(scores: Paired) -> Check:
    return _check("reward", scores.low > 0, "the reward model" + SAYS, **_said(scores))


def _judge_agrees(scores: Paired, config: RoundConfig) -> Check:
    least = config.gate_min_gain
    sentence = "the second judge" + SAYS + (", needed is more than {needed:+.3f}" if least else "")
    return _check("judge", scores.low > least, sentence, **_said(scores), needed=least)


def _not_by_length(scores: Paired) -> Check:
    """A judge that likes long answers must see the gain also in answers of one length."""
    sentence = "at equal length the second judge says {difference:+.3f} ({low:+.3f} to {high:+.3f})"
    return _check(
        "equal_length",
        scores.controlled_low > 0,
        sentence,
        difference=scores.controlled,
        low=scores.controlled_low,
        high=scores.controlled_high,
    )


def _gain_carries_over(reward: Paired, second: Paired, config: RoundConfig) -> Check:
    """What is real shows to both judges; what pleases one alone is that one's weakness."""
    share = second.effect / reward.effect if reward.effect > 0 else 0.0
    unit = "in win rate" if config.gate_outcomes == "wins" else "in standard deviations of the live answers"
    sentence = (
        unit + " the reward model saw {reward:+.2f} and the second judge {judge:+.2f}, "
        "which is {share:.0%} of it (needed: {needed:.0%})"
    )
    return _check(
        "transfer",
        share >= config.gate_min_transfer,
        sentence,
        reward=reward.effect,
        judge=second.effect,
        share=share,
        needed=config.gate_min_transfer,
    )


def _no_more(name: str, what: str, live: float, candidate: float, allowed: float) -> Check:
    """A share that may rise by `allowed` at most."""
    sentence = what + " went from {live:.1%} to {candidate:.1%} (allowed: {allowed:+.1%})"
    return _check(name, candidate - live <= allowed, sentence, live=live, candidate=candidate, allowed=allowed)


def _length_kept(live: Habits, candidate: Habits, config: RoundConfig) -> Check:
    ratio = candidate.response_tokens / max(live.response_tokens, 1.0)
    least, most = 1 / config.gate_max_length_ratio, config.gate_max_length_ratio
    sentence = "responses went from {live:.0f} to {candidate:.0f} tokens (allowed: {least:.2f} to {most:.2f} times)"
    return _check(
        "length",
        least <= ratio <= most,
        sentence,
        live=live.response_tokens,
        candidate=candidate.response_tokens,
        least=least,
        most=most,
    )


def _stayed_near(kl: float, config: RoundConfig) -> Check:
    sentence = "on its own answers it is {kl:.3f} nats per token away from live (allowed: {allowed:g})"
    return _check("kl", kl <= config.gate_max_kl, sentence, kl=kl, allowed=config.gate_max_kl)


def _kept_answers_hold(found: Regressions, config: RoundConfig) -> Check:
    sentence = (
        "of {cases} answers that people keep an eye on {candidate:.0%} hold, with live {live:.0%} "
        "(allowed: {allowed:+.0%} or what chance explains; by chance so few hold in {chance:.1%} of cases)"
    )
    return _check(
        "regressions",
        not found.fell(config),
        sentence,
        cases=found.cases,
        candidate=found.candidate_share,
        live=found.live_share,
        allowed=-config.gate_max_regression,
        chance=found.chance,
    )
