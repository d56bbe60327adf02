"""The month as a picture: gold of the served and the frozen model by day, what became of each round, and how well the
reward model orders what is served."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.learning.days import DAYS, Diary, curve

AGREES = 0.75  # the share above which a reward model is said to keep up
COLOURS = {"published": "#2a9d5c", "rejected": "#c2571a", "failed": "#a01c1c"}


def plot(months: Sequence[Diary], path: Path) -> Path:
    """Write the picture (PNG). Needs matplotlib, which the tests' requirements install."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    points = curve(months)
    days = [DAYS * point["week"] + point["day"] + 1 for point in points]
    figure, (above, below, last) = pyplot.subplots(3, 1, sharex=True, figsize=(9, 8), height_ratios=(3, 2, 2))
    for name, style in (("served", "-"), ("frozen", "--")):
        above.plot(days, [point[name] for point in points], style, label=f"{name} model")
    above.set_ylabel("gold score (0 to 1)")
    above.legend()
    below.plot(days, [point["difference"] for point in points])
    low, high = ([point[name] for point in points] for name in ("low", "high"))
    below.fill_between(days, low, high, alpha=0.25)
    below.axhline(0.0, linewidth=0.8, color="black")
    below.set_ylabel("served - frozen, 95 %")
    for name, said, style in (("now", "the refreshed one", "-"), ("first", "the first one", "--")):
        weeks = agreement(months, name)
        last.plot([place for place, _ in weeks], [share for _, share in weeks], "o" + style, label=said)
    last.axhline(AGREES, linewidth=0.8, linestyle=":", color="black")
    last.set_ylabel("pairs ordered as gold\n(reward model, share)")
    last.set_xlabel("day")
    last.legend()
    for place, state in ends(months):
        for axes in (above, below, last):
            axes.axvline(place, linewidth=0.8, linestyle=":", color=COLOURS.get(state, "grey"))
    seeds = f"{len(months)} seed" + ("" if len(months) == 1 else "s")
    figure.suptitle(f"A month in the small world, {seeds}; dotted: a round, green where it was published")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def agreement(months: Sequence[Diary], name: str) -> list[tuple[float, float]]:
    """At each week's end, on the axis of days: the share of pairs that a reward model orders as gold does, a mean."""
    found: dict[int, list[float]] = {}
    for month in months:
        for one in month.all(what="reward"):
            found.setdefault(one["week"], []).append(one[name])
    return [(DAYS * (week + 1) + 0.5, fmean(shares)) for week, shares in sorted(found.items())]


def ends(months: Sequence[Diary]) -> list[tuple[float, Any]]:
    """Where each round stands on the axis of days, between two of them, and how it ended."""
    return [(DAYS * (one["week"] + 1) + 0.5, one["state"]) for month in months for one in month.rounds()]
