"""The month as a picture: gold of the served and the frozen model by day, and what became of each round."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.learning.days import DAYS, Diary, curve

COLOURS = {"published": "#2a9d5c", "rejected": "#c2571a", "failed": "#a01c1c"}


def plot(months: Sequence[Diary], path: Path) -> Path:
    """Write the picture (PNG). Needs matplotlib, which the tests' requirements install."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    points = curve(months)
    days = [DAYS * point["week"] + point["day"] + 1 for point in points]
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(9, 6), height_ratios=(3, 2))
    for name, style in (("served", "-"), ("frozen", "--")):
        above.plot(days, [point[name] for point in points], style, label=f"{name} model")
    above.set_ylabel("gold of the day's prompts")
    above.legend()
    below.plot(days, [point["difference"] for point in points])
    low, high = ([point[name] for point in points] for name in ("low", "high"))
    below.fill_between(days, low, high, alpha=0.25)
    below.axhline(0.0, linewidth=0.8, color="black")
    below.set_ylabel("served - frozen, 95 %")
    below.set_xlabel("day")
    for place, state in ends(months):
        for axes in (above, below):
            axes.axvline(place, linewidth=0.8, linestyle=":", color=COLOURS.get(state, "grey"))
    figure.suptitle(f"A month in the small world, {len(months)} seeds; dotted: a round, green where it was published")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def ends(months: Sequence[Diary]) -> list[tuple[float, Any]]:
    """Where each round stands on the axis of days, between two of them, and how it ended."""
    return [(DAYS * (one["week"] + 1) + 0.5, one["state"]) for month in months for one in month.rounds()]
