"""Pictures of arms: gold before and after, the training's rewards, and how long thoughts and responses grow (PNG).

Need matplotlib, which the tests' requirements install.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.learning.arms import Arm
from bench.learning.contrasts import of_arm
from bench.learning.notes import Entry, Notes

SMOOTH = 5  # steps of which each point of a course is the mean


def plot_gold(notes: Notes, arms: Sequence[Arm], title: str, path: Path) -> Path:
    """Each arm's change of gold, with every seed; and reward by step and by tokens sampled."""

    def draw(axes: Any) -> None:
        gold, by_step, by_tokens = axes
        for place, arm in enumerate(arms):
            found, colour = of_arm(notes, arm), f"C{place}"
            if "gold" in found:
                middle = found["gold"]["difference"]
                reach = [[middle - found["gold"]["low"]], [found["gold"]["high"] - middle]]
                gold.errorbar([place], [middle], reach, fmt="o", color=colour, capsize=4)
            for one in notes.all(what="round", arm=arm.name):
                if one.get("gold"):
                    before = notes.find(what="before", thoughtless=one["thoughtless"]) or {"gold": one["gold"]}
                    change = sum(one["gold"]) / len(one["gold"]) - sum(before["gold"]) / len(before["gold"])
                    gold.plot([place + 0.15], [change], ".", color=colour)
                steps, rewards = course(one, "reward")
                if len(steps) < 2:
                    continue  # of dpo one value is told, of all its samples
                by_step.plot(steps, rewards, color=colour, alpha=0.7, label=_once(by_step, arm.name))
                tokens = tokens_by(one)
                if all(step in tokens for step in steps):
                    by_tokens.plot([tokens[step] for step in steps], rewards, color=colour, alpha=0.7)
        gold.set_xticks(range(len(arms)), [arm.name for arm in arms], rotation=15)
        gold.axhline(0.0, linewidth=0.8, color="black")
        gold.set_ylabel("gold, after - before (95 %)")
        for axis, words in ((by_step, "step"), (by_tokens, "tokens sampled")):
            axis.set_xlabel(words)
            axis.set_ylabel("reward of the samples")
        by_step.legend()

    return _picture(3, draw, f"{title}; a point is a seed", path)


def plot_lengths(notes: Notes, arms: Sequence[Arm], title: str, path: Path) -> Path:
    """Tokens of thoughts and of responses by step, of each arm and seed."""

    def draw(axes: Any) -> None:
        for axis, name in zip(axes, ("thought_tokens", "response_tokens"), strict=True):
            for place, arm in enumerate(arms):
                for one in notes.all(what="round", arm=arm.name):
                    steps, values = course(one, name)
                    if len(steps) > 1:  # of dpo one value is told, of all its samples
                        axis.plot(steps, values, color=f"C{place}", alpha=0.7, label=_once(axis, arm.name))
            axis.set_xlabel("step")
            axis.set_ylabel(name.replace("_tokens", ", tokens"))
            axis.set_ylim(bottom=0)
        axes[1].legend()

    return _picture(2, draw, title, path)


def course(round_: Entry, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of a figure, each value the mean of the SMOOTH newest."""
    points = round_["series"].get(name, [])
    steps, values = [step for step, _ in points], [value for _, value in points]
    windows = [values[max(0, end - SMOOTH) : end] for end in range(1, len(values) + 1)]
    return steps, [sum(window) / len(window) for window in windows]


def tokens_by(round_: Entry) -> dict[int, float]:
    """How many tokens had been sampled by the end of each step."""
    points = round_["series"].get("sampled_tokens", [])
    return dict(zip([step for step, _ in points], accumulate(value for _, value in points), strict=True))


def _once(axes: Any, label: str) -> str:
    """The label where the axes don't have it yet: a key names each arm once."""
    return "_" if label in axes.get_legend_handles_labels()[1] else label


def _picture(columns: int, draw: Callable[[Any], None], title: str, path: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(4.5 * columns, 4))
    draw(axes)
    figure.suptitle(title)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
