"""What `bench.swap` makes of its answers and changes; asks nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GOAL_SWAP_S, GOAL_ROLLBACK_S, GOAL_GAP = 1.0, 2.0, 1.5
STARTING_S = 2.0  # in which all clients ask at once


@dataclass
class Answer:
    """One streamed answer: its checkpoint, its tokens, when each piece came (s, monotonic), and which engine wrote it.

    `is_knock`: of one token only, asked for one after another so that somebody asks at any time.
    """

    prompt: int
    began: float
    models: set[str] = field(default_factory=set)
    tokens: tuple[int, ...] = ()
    times: list[float] = field(default_factory=list)
    error: str | None = None
    generation: str = ""
    engine: str = ""
    is_knock: bool = False


@dataclass(frozen=True)
class Change:
    """`model` was made live: asked for at `began`, done at `answered`, on every engine by `ended` (s, monotonic)."""

    model: str
    is_rollback: bool
    began: float
    answered: float
    ended: float


def figures(
    answers: Sequence[Answer],
    changes: Sequence[Change],
    alone: Mapping[tuple[str, int], tuple[int, ...]],
    engines: Sequence[str],
    between: Sequence[Change] = (),
) -> dict[str, Any]:
    """All figures. `alone`: the tokens that each model writes alone, by model and prompt. `between`: changes that are
    not to be timed.

    `mixed` is None where no answer could have told: none is to one of the `telling_prompts`. Of knocks only the first
    ones and the failures are told, apart from the crowd's.
    """
    failed = [answer.error for answer in answers if answer.error]
    knocks = [answer for answer in answers if answer.is_knock]
    answers = [answer for answer in answers if not answer.is_knock]
    whole = [answer for answer in answers if not answer.error]
    told = [*whole, *(knock for knock in knocks if not knock.error)]
    mixed = sum(len(answer.models) > 1 or answer.tokens != alone[min(answer.models), answer.prompt] for answer in whole)
    telling, asked = telling_prompts(alone), {prompt for _, prompt in alone}
    compared = sum(answer.prompt in telling for answer in whole)
    swaps = [change for change in changes if not change.is_rollback]
    calls = [(change.answered - change.began) * 1000 for change in swaps]
    return {
        "swaps": len(swaps),
        "rollbacks": len(changes) - len(swaps),
        "requests": len(answers),
        "knocks": len(knocks),
        "failed": len(failed),
        "first_errors": failed[:3],
        "mixed": mixed if mixed or compared else None,
        "prompts": len(asked),
        "telling_prompts": len(telling),
        "compared": compared,
        "checkpoints_seen": sorted({model for answer in answers for model in answer.models}),
        **waits(answers, [*changes, *between]),
        "swap_call_ms": {"p50": percentile(calls, 50), "p99": percentile(calls, 99)},
        "swap_to_first_answer_ms": first_answers(whole, changes, engines, rollbacks=False),
        "swap_to_first_word_ms": first_answers(told, changes, engines, rollbacks=False),
        "rollback_to_first_answer_ms": first_answers(whole, changes, engines, rollbacks=True),
        "rollback_to_first_word_ms": first_answers(told, changes, engines, rollbacks=True),
    }


def telling_prompts(alone: Mapping[tuple[str, int], tuple[int, ...]]) -> set[int]:
    """Those to which each of the models, two or more, writes other tokens: an answer to these shows whose it is."""
    written: dict[int, list[tuple[int, ...]]] = {}
    for (_, prompt), tokens in alone.items():
        written.setdefault(prompt, []).append(tokens)
    return {prompt for prompt, found in written.items() if 1 < len(found) == len(set(found))}


def waits(answers: Sequence[Answer], changes: Sequence[Change]) -> dict[str, Any]:
    """Gaps between tokens and waits for the first one, while something changes and otherwise, in milliseconds.

    Where changes follow each other closely, "outside" of one is still after another one, whose checkpoint finds none of
    its prompts in an engine's cache. So the gaps of before the first change are told apart as well.
    """
    gaps: dict[bool, list[float]] = {True: [], False: []}
    calm: list[float] = []
    begin = min((answer.began for answer in answers), default=0.0) + STARTING_S
    first_change = min((change.began for change in changes), default=float("inf"))
    firsts: dict[bool, list[float]] = {True: [], False: []}

    def during(begin: float, end: float) -> bool:
        return any(end > change.began and begin < change.ended for change in changes)

    for answer in answers:
        for a, b in zip(answer.times, answer.times[1:], strict=False):
            gaps[during(a, b)].append((b - a) * 1000)
            if begin < a and b < first_change:
                calm.append((b - a) * 1000)
        if answer.times:
            firsts[during(answer.began, answer.times[0])].append((answer.times[0] - answer.began) * 1000)
    inside, outside = percentile(gaps[True], 99), percentile(gaps[False], 99)
    return {
        "gap_p99_ms_during": inside,
        "gap_p99_ms_outside": outside,
        "gap_p99_ms_before_all": percentile(calm, 99),
        "gap_p99_ratio": round(inside / outside, 2) if inside and outside else None,
        "first_token_p99_ms_during": percentile(firsts[True], 99),
        "first_token_p99_ms_outside": percentile(firsts[False], 99),
    }


def first_answers(
    answers: Sequence[Answer], changes: Sequence[Change], engines: Sequence[str], rollbacks: bool
) -> dict[str, Any]:
    """Milliseconds from asking for a change to the first word of an answer by the new name: of each engine, and until
    the last engine has given one. `unseen`: changes after which some engine wrote none."""
    spans: dict[str, list[float]] = {engine: [] for engine in engines}
    slowest: list[float] = []
    unseen = 0
    for number, change in enumerate(changes):
        if change.is_rollback != rollbacks:
            continue
        again = (later.began for later in changes[number + 1 :] if later.model == change.model)
        limit = next(again, float("inf"))  # from then on its name may be the work of a later change
        firsts = [
            min(
                (
                    answer.times[0]
                    for answer in answers
                    if answer.engine == engine
                    and change.model in answer.models
                    and change.began <= answer.began  # one that was asked before was meant for another
                    and answer.times[0] < limit
                ),
                default=None,
            )
            for engine in engines
        ]
        took = {
            engine: (first - change.began) * 1000
            for engine, first in zip(engines, firsts, strict=True)
            if first is not None
        }
        for engine, span in took.items():
            spans[engine].append(span)
        if len(took) == len(engines):
            slowest.append(max(took.values()))
        else:
            unseen += 1
    return {
        "every_engine": _spread(slowest),
        "by_engine": {f"engine-{number}": _spread(spans[engine]) for number, engine in enumerate(engines)},
        "unseen": unseen,
    }


def _mixed(report: Mapping[str, Any]) -> str:
    if report["mixed"] is None:
        return (
            f"answers of mixed checkpoints: not told, since the checkpoints' own answers to the {report['prompts']} "
            "prompts are alike; ask more of them, or for longer answers"
        )
    return (
        f"answers of mixed checkpoints: {report['mixed']} (goal 0), of {report['compared']} to the "
        f"{report['telling_prompts']} of {report['prompts']} prompts that each checkpoint answers otherwise"
    )


def _spread(values: list[float]) -> dict[str, float | None]:
    return {"p50": percentile(values, 50), "p99": percentile(values, 99), "max": percentile(values, 100)}


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` percent lie (nearest rank)."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))], 2)


def in_words(report: Mapping[str, Any]) -> list[str]:
    """A line for each figure that somebody asked for, with its goal."""
    kind = "full weights" if report["full"] else "adapters"
    lines = [
        f"{report['swaps']} swaps and {report['rollbacks']} rollbacks of {kind} over {report['engines']} engines, "
        f"{report['clients']} clients, {report['requests']} answers, {report['knocks']} knocks",
        f"failed answers: {report['failed']} (goal 0)",
        _mixed(report),
        f"99th percentile gap between tokens: {report['gap_p99_ms_during']} ms during a change, "
        f"{report['gap_p99_ms_outside']} ms outside, {report['gap_p99_ratio']} times (goal {GOAL_GAP}); "
        f"{report['gap_p99_ms_before_all']} ms before the first change",
    ]
    for what, key, goal in (
        ("publish to the first answer by the new checkpoint", "swap_to_first_answer_ms", GOAL_SWAP_S),
        ("publish to the first word by it, somebody asking at any time", "swap_to_first_word_ms", GOAL_SWAP_S),
        ("rollback to the first answer by the previous one", "rollback_to_first_answer_ms", GOAL_ROLLBACK_S),
        ("rollback to the first word by it, somebody asking at any time", "rollback_to_first_word_ms", GOAL_ROLLBACK_S),
    ):
        if "word" in key and not report["knocks"]:
            continue
        found = report[key]
        for name, spread in (("every engine", found["every_engine"]), *found["by_engine"].items()):
            lines.append(
                f"{what}, {name}: {spread['p50']} ms, 99th percentile {spread['p99']} ms, longest {spread['max']} ms "
                f"(goal under {goal * 1000:g} ms)"
            )
        if found["unseen"]:
            lines.append(f"{what}: an engine wrote none after {found['unseen']} of them")
    return [*lines, f"restart of vLLM to its first answer: {report['restart_s']} s"]
