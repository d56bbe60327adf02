"""Line plots of a round's metrics as SVG text: axes, units, a key, and the points that hovering reads out.

Drawn on the server and coloured by the page's style sheet, so a plot costs a few KB and follows light and dark.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 460, 220
ASIDE = 7  # between the intervals of two lines at one step
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 10, 38  # room for the axes' numbers and names, in the drawing's units


@dataclass(frozen=True)
class Series:
    """A line: its name in the key and its points (step, value), sorted by step; `spans` are intervals at steps.

    With spans the points are drawn as dots: they are measurements of different things, and no course of one.
    """

    name: str
    points: Sequence[tuple[int, float]]
    spans: Mapping[int, tuple[float, float]] = field(default_factory=dict)


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


def number(value: float) -> str:
    """A value as people write it: four significant digits at most."""
    if value == 0:
        return "0"
    if abs(value) < 0.001 or abs(value) >= 1e6:
        return f"{value:.2g}"
    return f"{value:.4g}"


def plot(
    title: str,
    unit: str,
    across: str,
    series: Sequence[Series],
    zero: bool = False,
    level_at: float | None = None,
    names: Mapping[int, str] | None = None,
    interval: str = "{low} to {high}",
) -> str:
    """A figure with one plot. `unit` names the upright axis, `across` the level one; `zero` keeps 0 in sight.

    `level_at`: a line to be above of, such as a win rate of one half. `names`: what a step is called when read out;
    `interval`: how an interval is.
    """
    drawn = [one for one in series if one.points]
    values = [value for one in drawn for _, value in one.points]
    values += [end for one in drawn for span in one.spans.values() for end in span]
    steps = sorted({step for one in drawn for step, _ in one.points})
    kept = [*([0.0] if zero else []), *([] if level_at is None else [level_at])]
    upright = ticks(min([*values, *kept]), max([*values, *kept]))
    level = [tick for tick in ticks(steps[0], max(steps[-1], steps[0] + 1), 6) if tick == int(tick)]
    apart = 0.5 if len(steps) == 1 or any(one.spans for one in drawn) else 0.0  # dots stand clear of the frame
    left, right = steps[0] - apart, max(steps[-1] + apart, steps[0] + 1 - apart)

    def x(step: float) -> float:
        return round(LEFT + (step - left) / (right - left) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        share = (value - upright[0]) / (upright[-1] - upright[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4}" text-anchor="end">{number(tick)}</text>'
        for tick in upright
    ]
    parts += [
        f'<text x="{x(tick)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{int(tick)}</text>'
        for tick in level
        if left <= tick <= right
    ]
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(across)}</text>'
    )
    if level_at is not None:
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(level_at)}" y2="{y(level_at)}"/>')
    for index, one in enumerate(drawn, start=1):
        aside = (index - 1) * ASIDE if one.spans else 0
        if not one.spans:
            parts.append(
                f'<path class="line-{index}" d="{_path([(x(step), y(value)) for step, value in one.points])}"/>'
            )
        if len(one.points) == 1 or one.spans:
            parts += [
                f'<circle class="line-{index}" cx="{x(step) + aside}" cy="{y(value)}" r="3"/>'
                for step, value in one.points
            ]
        parts += [
            f'<line class="span line-{index}" x1="{at}" x2="{at}" y1="{y(low)}" y2="{y(high)}"/>'
            for at, (low, high) in ((x(step) + aside, span) for step, span in one.spans.items())
        ]
    parts.append(f'<line class="at" y1="{TOP}" y2="{HEIGHT - BOTTOM}" visibility="hidden"/>')
    points = json.dumps(
        [{"x": x(step), "words": _words(_name(across, step, names), step, drawn, interval)} for step in steps]
    )
    keys = "".join(
        f'<span class="key line-{index}">{escape(one.name)}</span>' for index, one in enumerate(drawn, start=1)
    )
    label = f"{title}, {unit}: " + "; ".join(f"{one.name} {number(one.points[-1][1])}" for one in drawn)
    return (
        f"<figure><h3>{escape(title)}</h3><figcaption><span>{escape(unit)}</span><span>{keys}</span></figcaption>"
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}" '
        f'data-points="{escape(points)}">{"".join(parts)}</svg><output></output></figure>'
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def _name(across: str, step: int, names: Mapping[int, str] | None) -> str:
    return (names or {}).get(step) or f"{across} {step}"


def _words(name: str, step: int, series: Sequence[Series], interval: str) -> str:
    found = [(one.name, dict(one.points).get(step), one.spans.get(step)) for one in series]
    return f"{name}: " + ", ".join(
        f"{line} {number(value)}" + (f" ({interval.format(low=number(span[0]), high=number(span[1]))})" if span else "")
        for line, value, span in found
        if value is not None
    )
