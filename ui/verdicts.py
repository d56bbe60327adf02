"""What gates and people said of checkpoints, as HTML: a verdict's figures, how they went from round to round, votes.

Pure, as `ui.training_view`, which puts these parts on its pages.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ui.plots import Series, number, plot
from ui.words import Words

View = Mapping[str, Any]
JUDGES = ("reward", "judge")
HABITS = ("malformed", "empty_thoughts", "repetition", "thought_tokens", "response_tokens")
SHARES = ("malformed", "empty_thoughts", "repetition")


class Verdicts:
    """Draws them in one language."""

    def __init__(self, words: Words) -> None:
        self._say = words

    def one(self, verdict: View | None) -> str:
        """A verdict: its sentence, its figures, its checks. Nothing where there is none."""
        if not verdict:
            return ""
        checks = "".join(
            f'<tr><td><span class="badge {"good" if check["passed"] else "bad"}">'
            f"{self._say('passed' if check['passed'] else 'not_passed')}</span></td><td>{escape(check['name'])}</td>"
            f'<td class="rest">{escape(check["words"])}</td></tr>'
            for check in verdict.get("checks") or []
        )
        return (
            f"<h2>{self._say('verdict')}</h2><p>{escape(str(verdict.get('words') or ''))}</p>"
            + (_table(checks) if checks else "")
            + self._figures(verdict)
        )

    def _figures(self, verdict: View) -> str:
        """Live and candidate beside each other; with what is known of each, for rounds of older versions have less."""
        say = self._say
        rows = []
        for name in JUDGES:
            found = verdict.get(name)
            if isinstance(found, Mapping):
                change = self._span(found, "difference", "low", "high", signed=True)
                won = self._span(found, "win_rate", "win_low", "win_high", percent=True)
                rows.append([say(f"by_{name}"), _number(found.get("before")), _number(found.get("after")), change, won])
        for name in HABITS:
            found = verdict.get(name)
            if isinstance(found, Mapping):
                shown = [_percent(found.get(side)) if name in SHARES else _number(found.get(side)) for side in _SIDES]
                rows.append([say(f"habit_{name}"), *shown, "", ""])
        if verdict.get("kl") is not None:
            rows.append([say("habit_kl"), "", _number(verdict["kl"]), "", ""])
        if not rows:
            return ""
        keys = ("measure", "side_live", "side_candidate", "change", "win_rate")
        head = "".join(f"<th scope='col'>{escape(say(key))}</th>" for key in keys)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        how = ""
        if verdict.get("prompts"):
            how = say(
                "measured_on", prompts=verdict["prompts"], samples=verdict.get("samples", "?"),
                confidence=_percent(verdict.get("confidence")),
            )  # fmt: skip
        note = f'<p class="quiet">{escape(how)}</p>' if how else ""
        return f"<h3>{say('figures')}</h3>{_table(f'<tr>{head}</tr>{body}')}{note}"

    def _span(self, found: View, value: str, low: str, high: str, signed: bool = False, percent: bool = False) -> str:
        if found.get(value) is None:
            return ""
        shown = [
            f"{end:.1%}" if percent else f"{end:+.3f}" if signed else number(end)
            for end in (found[value], found.get(low), found.get(high))
            if end is not None
        ]
        return shown[0] + (f" ({self._say('interval', low=shown[1], high=shown[2])})" if len(shown) == 3 else "")

    def over_rounds(self, rounds: Sequence[View]) -> str:
        """Plots of each judged candidate against what was live; nothing before a round was judged."""
        judged = sorted((one for one in rounds if _judged(one)), key=lambda one: int(one["id"]))
        if not judged:
            return ""
        say = self._say
        names = {int(one["id"]): self._called(one) for one in judged}
        won = [_series(say(f"by_{name}"), judged, name, "win_rate", "win_low", "win_high") for name in JUDGES]
        gains = [_series(say(f"by_{name}"), judged, name, "difference", "low", "high") for name in JUDGES]
        lengths = [_habit(say(f"series_{name}"), judged, name) for name in ("thought_tokens", "response_tokens")]
        malformed = [_habit(say("series_malformed_share"), judged, "malformed")]
        apart = [Series(say("habit_kl"), [(int(one["id"]), float(k)) for one in judged if (k := _kl(one)) is not None])]
        plots = (
            ("win_rate", "unit_won", won, {"level_at": 0.5}),
            ("plot_gain", "unit_gain", gains, {"level_at": 0.0}),
            ("plot_lengths", "unit_tokens", lengths, {"zero": True}),
            ("plot_malformed", "unit_share", malformed, {"zero": True}),
            ("habit_kl", "unit_kl", apart, {"zero": True}),
        )
        figures = "".join(
            plot(say(title), say(unit), say("col_round"), some, names=names, interval=say("interval"), **how)
            for title, unit, series, how in plots
            if (some := [one for one in series if one.points])
        )
        return f'<h2>{escape(say("from_round_to_round"))}</h2><div class="plots">{figures}</div>' if figures else ""

    def _called(self, view: View) -> str:
        state = self._say.sentences.get(f"state_{view['state']}", str(view["state"]))
        name = view.get("candidate")
        return self._say("round", id=view["id"]) + (f" ({name}, {state})" if name else f" ({state})")

    def votes(self, tally: Sequence[View]) -> str:
        """What people chose when they compared two checkpoints without knowing which is which."""
        rows = []
        for one in tally:
            (older, newer), (for_older, for_newer) = one["models"], one["chosen"]
            total = for_older + for_newer
            if not total:
                continue
            low, high = wilson(for_newer, total)
            words = self._say(
                "votes_of", newer=newer, older=older, won=for_newer, total=total,
                low=f"{low:.0%}", high=f"{high:.0%}", ties=one.get("ties", 0),
            )  # fmt: skip
            rows.append(f"<li>{escape(words)}</li>")
        return f'<h2>{escape(self._say("votes"))}</h2><ul class="card votes">{"".join(rows)}</ul>' if rows else ""


def wilson(won: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927): sound for few votes, where won / total +- z s is not."""
    share = won / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (max(0.0, middle - half) if won else 0.0), (min(1.0, middle + half) if won < total else 1.0)


_SIDES = ("live", "candidate")


def _judged(view: View) -> bool:
    return any(isinstance((view.get("verdict") or {}).get(name), Mapping) for name in JUDGES)


def _kl(view: View) -> float | None:
    return (view.get("verdict") or {}).get("kl")


def _series(name: str, rounds: Sequence[View], judge: str, value: str, low: str, high: str) -> Series:
    found = {int(one["id"]): one["verdict"].get(judge) or {} for one in rounds}
    points = [(key, float(one[value])) for key, one in found.items() if one.get(value) is not None]
    spans = {key: (float(one[low]), float(one[high])) for key, one in found.items() if one.get(low) is not None}
    return Series(name, points, spans)


def _habit(name: str, rounds: Sequence[View], habit: str) -> Series:
    found = [(int(one["id"]), (one["verdict"].get(habit) or {}).get("candidate")) for one in rounds]
    return Series(name, [(key, float(value)) for key, value in found if value is not None])


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}".replace(".0%", "%")


def _number(value: float | None) -> str:
    return "" if value is None else number(float(value))


def _table(rows: str) -> str:
    return f'<div class="table-wrap" tabindex="0"><table>{rows}</table></div>'
