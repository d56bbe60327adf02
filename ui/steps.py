"""The plots of a round, step by step, as HTML. Pure, as `ui.training_view`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ui.plots import FEW, Said, Series, plot
from ui.words import Words


@dataclass(frozen=True)
class StepPlot:
    """Which metrics share a plot, and how it is drawn."""

    title: str
    unit: str
    metrics: tuple[str, ...]
    zero: bool = True  # whether 0 stays in sight
    share: bool = False


STEP_PLOTS = (
    StepPlot("plot_reward", "unit_reward", ("reward", "reward_well_formed"), zero=False),
    StepPlot("plot_lookout", "unit_lookout", ("lookout_reward", "lookout_judge"), zero=False),
    StepPlot("plot_kl", "unit_kl", ("kl",)),
    StepPlot("plot_malformed", "unit_share", ("malformed_share", "lookout_malformed"), share=True),
    StepPlot("plot_lengths", "unit_tokens", ("thought_tokens", "response_tokens")),
)


def steps_of(view: Mapping[str, Any], say: Words, heading: str, more: str = "") -> str:
    """The plots under `heading` (words), with `more` (HTML) beside it; `view` is a round with its metrics."""
    metrics = view.get("metrics") or {}
    said = Said(say("interval"), say("as_table"))
    figures, noisy = [], False
    for one in STEP_PLOTS:
        lines = [Series(say(f"series_{name}"), points(metrics.get(name))) for name in one.metrics]
        series = [line for line in lines if line.points]
        if series:
            noisy = noisy or any(len(line.points) >= FEW for line in series)
            figures.append(
                plot(say(one.title), say(one.unit), say("axis_step"), series, zero=one.zero, share=one.share, said=said)
            )
    head = f"<h2>{escape(heading)}{f' {more}' if more else ''}</h2>"
    if not figures:
        return f'{head}<p class="card quiet">{escape(say("no_metrics"))}</p>'
    note = f'<p class="quiet">{escape(say("smoothed"))}</p>' if noisy else ""
    return f'{head}{note}<div class="plots">{"".join(figures)}</div>'


def points(series: Sequence[Sequence[Any]] | None) -> list[tuple[int, float]]:
    """Points that are numbers; the gateway sends null for what was none."""
    return [(int(step), float(value)) for step, value in series or () if value is not None]
