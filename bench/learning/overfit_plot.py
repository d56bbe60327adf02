"""An over-long training as a picture: what it was rewarded for, what two judges say, gold, and lengths, by step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.learning.arm_plots import course
from bench.learning.looks import fell, lookout_ends
from bench.learning.notes import Entry
from bench.learning.pooling import pooled


def plot(looks: Sequence[Entry], training: Mapping[str, Any], path: Path) -> Path:
    """Write the picture (PNG). Needs matplotlib, which the tests' requirements install."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = [one["step"] for one in looks]
    figure, ((rewards, judge), (gold, lengths)) = pyplot.subplots(2, 2, sharex=True, figsize=(11, 7))
    rewards.plot(*course(dict(training), "reward"), alpha=0.5, label="samples it trained on")
    rewards.plot(steps, [one["reward"] for one in looks], "o-", label="held-out prompts")
    rewards.set_ylabel("reward model")
    judge.plot(steps, [one["judge"] for one in looks], "o-", color="C2")
    judge.set_ylabel("second judge, held-out prompts")
    spans = [pooled([looks[0]["gold"]], [one["gold"]]) for one in looks]
    gold.plot(steps, [one["difference"] for one in spans], "o-", color="C1")
    gold.fill_between(steps, [one["low"] for one in spans], [one["high"] for one in spans], color="C1", alpha=0.25)
    gold.axhline(0.0, linewidth=0.8, color="black")
    gold.set_ylabel("gold against the base (95 %)")
    for name in ("thought_tokens", "response_tokens"):
        lengths.plot(steps, [one[name] for one in looks], "o-", label=name.replace("_tokens", ""))
    lengths.set_ylabel("tokens")
    for axes in (gold, lengths):
        axes.set_xlabel("step")
    _mark(looks, (rewards, judge, gold, lengths))
    for axes in (rewards, lengths):
        axes.legend()
    figure.suptitle(
        "Trained far too long; red: the gate would have said no; dashed: gold fell; dotted: the lookout ends"
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def _mark(looks: Sequence[Entry], every: Sequence[Any]) -> None:
    when, lookout = fell(looks), lookout_ends(looks)
    half = min((b["step"] - a["step"] for a, b in zip(looks, looks[1:], strict=False)), default=1) / 2
    for axes in every:
        for one in looks:
            if one["publish"] is False:
                axes.axvspan(one["step"] - half, one["step"] + half, color="#c2571a", alpha=0.12, linewidth=0)
        if when is not None:
            axes.axvline(when, linestyle="--", linewidth=0.9, color="black")
        if lookout is not None:
            axes.axvline(lookout["step"], linestyle=":", linewidth=0.9, color="black")
