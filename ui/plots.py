"""Line plots as SVG text: axes, units, a key, and the points that a pointer, a finger or the arrow keys read out.

Drawn on the server and coloured by the page's style sheet, so a plot costs a few KB and follows light and dark. Each
has its figures as a table as well. Knows no language: whatever it says is given.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from ui.tables import table

WIDTH, HEIGHT = 460, 220
ASIDE = 7  # between the intervals of two lines at one step
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 10, 38  # room for the axes' numbers and names, in the drawing's units
FEW = 8  # points that are drawn as they are; more of them are noise and get a mean beside
TICKS = 6  # along the level axis; as many names of steps fit beside each other


@dataclass(frozen=True)
class Series:
    """A line: its name in the key and its points (step, value), sorted by step; `spans` are intervals at steps.

    With spans or `dots` no line joins the points: they are measurements of different things, and no course of one.
    """

    name: str
    points: Sequence[tuple[int, float]]
    spans: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    dots: bool = False

    @property
    def apart(self) -> bool:
        """Whether its points stand by themselves."""
        return self.dots or bool(self.spans) or len(self.points) == 1


@dataclass(frozen=True)
class Said:
    """The words of a plot beside its names. `interval` has {low} and {high}."""

    interval: str = "{low} to {high}"
    as_table: str = "As a table"


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that cover [low, high]: multiples of 1, 2 or 5 times a power of ten, about `wanted` of them."""
    if high <= low:
        low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
    rough = (high - low) / max(1, wanted - 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def steps_told(steps: Sequence[int]) -> list[int]:
    """Which steps the level axis names: the first one, then round numbers, all of them where they are few."""
    if len(steps) <= TICKS:
        return list(steps)
    spread = steps[-1] - steps[0]
    rest = [int(tick) for tick in ticks(steps[0], steps[-1], TICKS) if tick == int(tick)]
    return [steps[0], *(tick for tick in rest if steps[0] + spread / (2 * TICKS) < tick <= steps[-1])]


def number(value: float) -> str:
    """A value as people write it: three significant digits, and no place after the point from a hundred on."""
    if value == 0:
        return "0"
    if abs(value) < 0.001 or abs(value) >= 1e6:
        return f"{value:.2g}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: float) -> str:
    """A share in hundredths: whole ones, and two significant digits below a tenth."""
    size = abs(value) * 100
    return f"{value * 100:.{0 if size >= 9.95 or size == 0 else 1 if size >= 0.95 else 2}f}".removesuffix(".0") + "%"


def smoothed(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Each point's mean with its neighbours: two on each side, or a sixteenth of all; at the ends those there are."""
    half = max(2, len(points) // 16)
    near = [[value for _, value in points[max(0, at - half) : at + half + 1]] for at in range(len(points))]
    return [(step, sum(some) / len(some)) for (step, _), some in zip(points, near, strict=True)]


def plot(
    title: str,
    unit: str,
    across: str,
    series: Sequence[Series],
    *,
    zero: bool = False,
    share: bool = False,
    level_at: float | None = None,
    names: Mapping[int, str] | None = None,
    labels: Mapping[int, str] | None = None,
    said: Said | None = None,
) -> str:
    """A figure with one plot. `unit` names the upright axis, `across` the level one; `zero` keeps 0 in sight.

    `share`: values are shares, told in hundredths. `level_at`: a line to be above of, such as a win rate of one half.
    `names`: what a step is called when read out; `labels`: and on the axis.
    """
    told: Callable[[float], str] = percent if share else number
    said = said or Said()
    drawn = [one for one in series if one.points]
    values = [value for one in drawn for _, value in one.points]
    values += [end for one in drawn for span in one.spans.values() for end in span]
    steps = sorted({step for one in drawn for step, _ in one.points})
    kept = [*([0.0] if zero else []), *([] if level_at is None else [level_at])]
    upright = ticks(min([*values, *kept]), max([*values, *kept]))
    apart = 0.5 if any(one.apart for one in drawn) else 0.0  # dots stand clear of the frame
    left, right = steps[0] - apart, max(steps[-1] + apart, steps[0] + 1 - apart)

    def x(step: float) -> float:
        return round(LEFT + (step - left) / (right - left) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        part = (value - upright[0]) / (upright[-1] - upright[0])
        return round(HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4}" text-anchor="end">{told(tick)}</text>'
        for tick in upright
    ]
    parts += [
        f'<text x="{x(tick)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
        f"{escape((labels or {}).get(tick) or str(tick))}</text>"
        for tick in (steps[:: math.ceil(len(steps) / TICKS)] if labels else steps_told(steps))
    ]
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(across)}</text>'
    )
    if level_at is not None:
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(level_at)}" y2="{y(level_at)}"/>')
    for index, one in enumerate(drawn, start=1):
        aside = (index - 1) * ASIDE if one.apart and len(drawn) > 1 else 0
        if one.apart:
            parts += [
                f'<circle class="line-{index}" cx="{x(step) + aside:g}" cy="{y(value)}" r="3"/>'
                for step, value in one.points
            ]
        else:
            many = len(one.points) >= FEW
            parts += [
                f'<path class="{kind}line-{index}" d="{_path([(x(step), y(value)) for step, value in course])}"/>'
                for kind, course in ([("raw ", one.points)] if many else [])
                + [("", smoothed(one.points) if many else one.points)]
            ]
        parts += [
            f'<line class="span line-{index}" x1="{at:g}" x2="{at:g}" y1="{y(low)}" y2="{y(high)}"/>'
            for at, (low, high) in ((x(step) + aside, span) for step, span in one.spans.items())
        ]
    parts.append(f'<line class="at" y1="{TOP}" y2="{HEIGHT - BOTTOM}" visibility="hidden"/>')

    called = {step: (names or {}).get(step) or f"{across} {step}" for step in steps}
    cells = {step: [_told(one, step, told, said.interval) for one in drawn] for step in steps}
    words = {
        step: f"{called[step]}: "
        + ", ".join(f"{one.name} {cell}" for one, cell in zip(drawn, cells[step], strict=True) if cell)
        for step in steps
    }
    points = json.dumps([{"x": x(step), "words": words[step]} for step in steps])
    keys = "".join(
        f'<span class="key line-{index}">{escape(one.name)}</span>' for index, one in enumerate(drawn, start=1)
    )
    rows = [[escape((names or {}).get(step) or str(step)), *(escape(cell) for cell in cells[step])] for step in steps]
    return (
        f"<figure><h3>{escape(title)}</h3><figcaption><span>{escape(unit)}</span><span>{keys}</span></figcaption>"
        f'<div class="reader" tabindex="0" role="slider" aria-label="{escape(f"{title}, {unit}")}" aria-valuemin="0" '
        f'aria-valuemax="{len(steps) - 1}" aria-valuenow="{len(steps) - 1}" '
        f'aria-valuetext="{escape(words[steps[-1]])}" data-points="{escape(points)}">'
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(parts)}</svg></div>'
        f'<output aria-live="off"></output>'
        f"<details><summary>{escape(said.as_table)}</summary>"
        f"{table([across, *(one.name for one in drawn)], rows, 'small')}</details></figure>"
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def _told(one: Series, step: int, told: Callable[[float], str], interval: str) -> str:
    """The value of a line at a step, with its interval; empty where there is none."""
    value, span = dict(one.points).get(step), one.spans.get(step)
    if value is None:
        return ""
    return told(value) + (f" ({interval.format(low=told(span[0]), high=told(span[1]))})" if span else "")
