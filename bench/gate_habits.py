"""How often the gate's checks that ask no judge stop a candidate, by their thresholds: malformed, thoughtless and
declining answers, repeated words, length, distance from live.

Candidates are drawn, so that it is known which are worse; the checks are the gate's own (`trainer.gate.habits_kept`).
`python -m bench.gate_simulation --habits`, or `--refusals` for those alone. What judges find is left to
`bench.gate_simulation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from trainer.exam import KL_PROMPTS
from trainer.gate import habits_kept
from trainer.habits import Habits
from trainer.round_config import RoundConfig

DEFAULTS = RoundConfig.model_validate({})
SIZE = (DEFAULTS.gate_prompts, DEFAULTS.gate_samples)
LIVE = Habits(malformed=0.0, empty_thoughts=0.0, repetition=0.022, thought_tokens=50.0, response_tokens=80.0)
"""Nearly what the embedded model's answers look like."""

ALWAYS = 0.5
"""How alike the answers to one prompt are: of a share, so much is prompts of which it holds each time."""
REPEAT, AGAIN = 0.29, 0.077
"""Of 1,669 recorded answers of the embedded model so many repeat anything, and those so much of their word windows."""
LOOP = 0.5  # an answer that says half of itself again
BETWEEN, WITHIN = 1.0, 0.5  # deviations of the logarithm of a response's length: of prompts, of answers to one
TOKENS, SPREAD = 126.0, 0.5  # of an answer with its thought, and the deviation of its logarithm
FORKS = 0.05  # of the tokens are those at which two policies differ at all; of the others both are sure
ANSWERS = 0.5  # deviation of the logarithm of how far single answers are from live

Draw = Callable[[np.random.Generator], tuple[Habits, Habits, float]]
"""One candidate: live's habits, its own, its distance from live, all as the gate would measure them."""
Truth = Literal["no worse", "a little worse", "clearly worse"]


@dataclass(frozen=True)
class Kind:
    """`live` and `candidate` in words."""

    live: str
    candidate: str
    truth: Truth
    draw: Draw


@dataclass(frozen=True)
class Table:
    """A check of the verdict, its setting, and values of that to try."""

    check: str
    setting: str
    thresholds: tuple[float, ...]
    kinds: tuple[Kind, ...]


def decline(dice: np.random.Generator, prompts: int, samples: int, shares: Sequence[float]) -> list[float]:
    """The share of refusals, or of what else holds or not, that each side shows whose truth these are. Both are asked
    the same prompts."""
    asked, found = dice.random((prompts, 1)), []
    for share in shares:
        found.append(float(_holds(dice, asked, samples, share).mean()))
    return found


def refusals(runs: int, seed: int) -> list[dict[str, float]]:
    """How often the check on refusals stops a candidate, by its threshold, live's share and the candidate's."""
    dice, found = np.random.default_rng(seed), []
    for before, after in ((0.02, 0.02), (0.05, 0.05), (0.1, 0.1), (0.05, 0.1), (0.05, 0.15), (0.0, 0.05)):
        sides = [decline(dice, *SIZE, (before, after)) for _ in range(runs)]
        stopped = {str(most): float(np.mean([new - old > most for old, new in sides])) for most in (0.02, 0.03, 0.05)}
        found.append({"live": before, "candidate": after, **stopped})
    return found


def habits(runs: int, seed: int) -> list[dict[str, Any]]:
    """How often each check stops a candidate of each kind, by its threshold. All thresholds see the same draws."""
    found = []
    for table in TABLES:
        dice = np.random.default_rng(seed)
        configs = [DEFAULTS.model_copy(update={table.setting: threshold}) for threshold in table.thresholds]
        for kind in table.kinds:
            stopped = np.zeros(len(configs), int)
            for _ in range(runs):
                drawn = kind.draw(dice)
                stopped += [not _passes(table.check, drawn, config) for config in configs]
            shares = {f"{at:g}": count / runs for at, count in zip(table.thresholds, stopped.tolist(), strict=True)}
            found.append(
                {
                    "check": table.check,
                    "live": kind.live,
                    "candidate": kind.candidate,
                    "truth": kind.truth,
                    "default": f"{getattr(DEFAULTS, table.setting):g}",
                    "stopped": shares,
                }
            )
    return found


def _passes(name: str, drawn: tuple[Habits, Habits, float], config: RoundConfig) -> bool:
    return next(check.passed for check in habits_kept(*drawn, config) if check.name == name)


def _holds(dice: np.random.Generator, asked: np.ndarray, samples: int, share: float) -> np.ndarray:
    """Of which answers something holds that is true of this `share`; `asked` is drawn once for both sides."""
    now = dice.random((len(asked), samples)) < (1 - ALWAYS) * share / (1 - ALWAYS * share)
    return (asked < ALWAYS * share) | now


def _shares(name: str, before: float, after: float, truth: Truth) -> Kind:
    def draw(dice: np.random.Generator) -> tuple[Habits, Habits, float]:
        old, new = decline(dice, *SIZE, (before, after))
        return replace(LIVE, **{name: old}), replace(LIVE, **{name: new}), 0.0

    return Kind(f"{before:.0%}", f"{after:.0%}", truth, draw)


def _repeats(often: tuple[float, float], much: float, loops: float, truth: Truth, what: str = "") -> Kind:
    """`often`: shares of live's and the candidate's answers that repeat anything. `loops`: share of the candidate's
    that say half of themselves again."""
    means = [one * much for one in often]
    means[1] = (1 - loops) * means[1] + loops * LOOP

    def draw(dice: np.random.Generator) -> tuple[Habits, Habits, float]:
        asked, found = dice.random((SIZE[0], 1)), []
        for share, looping in zip(often, (0.0, loops), strict=True):
            again = dice.beta(2, 2 * (1 - much) / much, SIZE) * _holds(dice, asked, SIZE[1], share)
            again[dice.random(SIZE) < looping] = LOOP
            found.append(replace(LIVE, repetition=float(again.mean())))
        return found[0], found[1], 0.0

    return Kind(f"{means[0]:.1%}", f"{means[1]:.1%}{what}", truth, draw)


def _grows(times: float, truth: Truth) -> Kind:
    def draw(dice: np.random.Generator) -> tuple[Habits, Habits, float]:
        asked = dice.normal(0, BETWEEN, (SIZE[0], 1))
        old, new = (float(np.exp(asked + dice.normal(0, WITHIN, SIZE)).mean()) for _ in range(2))
        return replace(LIVE, response_tokens=old * 80), replace(LIVE, response_tokens=new * 80 * times), 0.0

    return Kind("1", f"{times:g} times", truth, draw)


def _goes(far: float, truth: Truth) -> Kind:
    """What a token's log-probability rose by is normal at a fork, with twice its mean as variance: with less or more,
    live's probabilities would not add up to 1."""

    def draw(dice: np.random.Generator) -> tuple[Habits, Habits, float]:
        tokens = np.maximum(dice.lognormal(np.log(TOKENS) - SPREAD**2 / 2, SPREAD, KL_PROMPTS), 1).astype(int)
        own = far / FORKS * dice.lognormal(-(ANSWERS**2) / 2, ANSWERS, KL_PROMPTS)
        forks = dice.binomial(tokens, FORKS)
        risen = dice.normal(forks * own, np.sqrt(forks * 2 * own))
        return LIVE, LIVE, float(risen.sum() / tokens.sum())

    return Kind("0", f"{far:g} nats per token", truth, draw)


LISTS = (0.6, 0.2)  # of a model that is asked for lists, tables and code: so many of its answers repeat, and so much
SHARES: tuple[tuple[float, float, Truth], ...] = (
    (0.01, 0.01, "no worse"), (0.05, 0.05, "no worse"), (0.1, 0.1, "no worse"), (0.05, 0.08, "a little worse"),
    (0.0, 0.05, "clearly worse"), (0.05, 0.1, "clearly worse"),
)  # fmt: skip
REPEATS = (
    _repeats((REPEAT, REPEAT), AGAIN, 0.0, "no worse"),
    _repeats((LISTS[0], LISTS[0]), LISTS[1], 0.0, "no worse"),
    _repeats((REPEAT, REPEAT + 0.01 / AGAIN), AGAIN, 0.0, "no worse", ", by more such answers"),
    _repeats((REPEAT, REPEAT), AGAIN, 0.05, "a little worse", ", 1 answer in 20 says half of itself again"),
    _repeats((REPEAT, REPEAT), AGAIN, 0.1, "clearly worse", ", 1 answer in 10 does"),
)
LENGTHS: tuple[tuple[float, Truth], ...] = (
    (1.0, "no worse"), (1.3, "no worse"), (1.6, "a little worse"), (1.75, "clearly worse"), (0.5, "clearly worse"),
)  # fmt: skip
DISTANCES: tuple[tuple[float, Truth], ...] = (
    (0.02, "no worse"), (0.047, "no worse"), (0.083, "a little worse"), (0.097, "clearly worse"),
    (0.11, "clearly worse"),
)  # fmt: skip
TABLES = (
    Table("malformed", "gate_max_malformed", (0.01, 0.02, 0.05), tuple(_shares("malformed", *one) for one in SHARES)),
    Table(
        "empty_thoughts", "gate_max_empty", (0.01, 0.02, 0.05), tuple(_shares("empty_thoughts", *one) for one in SHARES)
    ),
    Table("repetition", "gate_max_repetition", (0.01, 0.02, 0.03, 0.05), REPEATS),
    Table("length", "gate_max_length_ratio", (1.25, 1.5, 2.0), tuple(_grows(*one) for one in LENGTHS)),
    Table("kl", "gate_max_kl", (0.06, 0.08, 0.1), tuple(_goes(*one) for one in DISTANCES)),
)
