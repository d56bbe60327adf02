"""What gates and people said of checkpoints, as HTML: a verdict's figures, how they went from round to round, votes.

Pure, as `ui.training_view`, which puts these parts on its pages.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ui.pieces import Pieces
from ui.plots import Said, Series, number, percent, plot
from ui.tables import Cell, table

View = Mapping[str, Any]
JUDGES = ("reward", "judge")
SHARES = ("malformed", "empty_thoughts", "repetition", "refusals")
HABITS = (*SHARES, "thought_tokens", "response_tokens")
_SAMPLE = ("prompt", "before", "after")


class Verdicts:
    """Draws them in one language."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces, self._say = pieces, pieces.say

    def one(self, verdict: View | None) -> str:
        """A verdict: its sentence, its figures, its checks, what the watch saw. Nothing where there is none."""
        if not verdict:
            return ""
        say = self._say
        rows: list[list[str | Cell]] = [
            [
                f'<span class="badge {"good" if check["passed"] else "bad"}">'
                f"{escape(say('passed' if check['passed'] else 'not_passed'))}</span>",
                escape(self._pieces.named("check", check["name"])),
                Cell(escape(self._found(check, verdict)), "rest"),
            ]
            for check in verdict.get("checks") or []
        ]
        checks = table([say("col_result"), say("check"), say("figures")], rows) if rows else ""
        return f"<h2>{say('verdict')}</h2><p>{escape(self.plainly(verdict))}</p>{self._figures(verdict)}" + (
            f"<h3>{escape(say('checks'))}</h3>{checks}" if checks else ""
        ) + self._alerts(verdict.get("watch"))  # fmt: skip

    def _found(self, check: View, verdict: View) -> str:
        """What a check found, in this language; of a round whose record has no figures, in the gate's words."""
        name = "share" if check["name"] in SHARES else check["name"]
        if name == "transfer":
            name = f"transfer_{verdict.get('outcomes')}"
        return self._say.known(f"saw_{name}", check.get("figures") or {}) or str(check["words"])

    def _rang(self, alert: View, watch: View) -> str:
        """The same of an alert."""
        values = {**(watch.get("figures") or {}), "words": watch.get("phrase") or None}
        return self._say.known(f"rang_{alert['name']}", values) or str(alert["words"])

    def _alerts(self, watch: View | None) -> str:
        """What the watch for reward hacking saw, with its examples; nothing of a round that was judged without it."""
        if not isinstance(watch, Mapping):
            return ""
        say, alerts = self._say, watch.get("alerts") or []
        heading = f"<h3>{escape(say('watch'))}</h3>"
        if not alerts:
            return f'{heading}<p class="quiet">{escape(say("watch_quiet"))}</p>'
        names = [escape(self._pieces.named("alert", one["name"])) for one in alerts]
        rows: list[list[str | Cell]] = [
            [f'<span class="badge bad">{name}</span>', Cell(escape(self._rang(one, watch)), "rest")]
            for name, one in zip(names, alerts, strict=True)
        ]
        shown = "".join(
            f'<details id="alert-{escape(one["name"])}"><summary>{escape(say("samples"))}: {name}</summary>'
            f"{self.samples(one['examples'])}</details>"
            for name, one in zip(names, alerts, strict=True)
            if one.get("examples")
        )
        note = f'<p class="quiet">{escape(say("watch_rang"))}</p>'
        return heading + note + table(self._pieces.heads("watch_alert", "figures"), rows) + shown

    def samples(self, samples: Sequence[View]) -> str:
        """Prompts with what live and the candidate answered, one beside the other."""
        rows = [[Cell(escape(str(one.get(key) or "")), "wide") for key in _SAMPLE] for one in samples]
        return table(self._pieces.heads(*(f"sample_{key}" for key in _SAMPLE)), rows, "samples")

    def plainly(self, verdict: View) -> str:
        """A verdict as a sentence for people: how often the better one won, or what was wrong."""
        failed = [check["name"] for check in verdict.get("checks") or [] if not check["passed"]]
        won = (verdict.get("judge") or {}).get("win_rate")
        if verdict.get("publish") and won is not None:
            return self._say("plain_better", won=percent(won))
        known = [self._say.sentences.get(f"fail_{name}") for name in failed]
        if failed and all(known):
            return self._say("plain_worse", why="; ".join(str(words) for words in known))
        return str(verdict.get("words") or "")

    def _figures(self, verdict: View) -> str:
        """Live and candidate beside each other; with what is known of each, for rounds of older versions have less."""
        say = self._say
        rows = []
        for name in JUDGES:
            found = verdict.get(name)
            if isinstance(found, Mapping):
                change = self._span(found, "difference", "low", "high", signed=True)
                won = self._span(found, "win_rate", "win_low", "win_high", share=True)
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
        heads = self._pieces.heads("measure", "side_live", "side_candidate", "change", "win_rate")
        figures = table(heads, [[escape(cell) for cell in row] for row in rows])
        how = ""
        if verdict.get("prompts"):
            how = say(
                "measured_on", prompts=verdict["prompts"], samples=verdict.get("samples", "?"),
                confidence=_percent(verdict.get("confidence")),
            )  # fmt: skip
        note = f'<p class="quiet">{escape(how)}</p>' if how else ""
        return f"<h3>{say('figures')}</h3>{figures}{note}"

    def _span(self, found: View, value: str, low: str, high: str, signed: bool = False, share: bool = False) -> str:
        if found.get(value) is None:
            return ""
        shown = [
            percent(end) if share else f"{end:+.3f}" if signed else number(end)
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
        labels = {int(one["id"]): str(one.get("candidate") or one["id"]) for one in judged}
        won = [_series(say(f"by_{name}"), judged, name, "win_rate", "win_low", "win_high") for name in JUDGES]
        gains = [_series(say(f"by_{name}"), judged, name, "difference", "low", "high") for name in JUDGES]
        scores = {
            name: [_series(say(f"side_{side}"), judged, name, end) for side, end in zip(_SIDES, _ENDS, strict=True)]
            for name in JUDGES
        }
        lengths = [_habit(say(f"series_{name}"), judged, name) for name in ("thought_tokens", "response_tokens")]
        malformed = [_habit(say("series_malformed_share"), judged, "malformed")]
        distances = [(int(one["id"]), float(kl)) for one in judged if (kl := _kl(one)) is not None]
        apart = [Series(say("habit_kl"), distances, dots=True)]
        plots: tuple[tuple[str, str, list[Series], dict[str, Any]], ...] = (
            ("win_rate", "unit_won", won, {"level_at": 0.5, "share": True}),
            ("plot_gain", "unit_gain", gains, {"level_at": 0.0}),
            ("plot_judge_score", "unit_judge_score", scores["judge"], {}),
            ("plot_reward_score", "unit_reward", scores["reward"], {}),
            ("plot_lengths", "unit_tokens", lengths, {"zero": True}),
            ("plot_malformed", "unit_share", malformed, {"zero": True, "share": True}),
            ("habit_kl", "unit_kl", apart, {"zero": True}),
        )
        said = Said(say("interval"), say("as_table"))
        figures = "".join(
            plot(say(title), say(unit), say("axis_candidate"), some, names=names, labels=labels, said=said, **how)
            for title, unit, series, how in plots
            if (some := [one for one in series if one.points])
        )
        return f'<h2>{escape(say("from_round_to_round"))}</h2><div class="plots">{figures}</div>' if figures else ""

    def _called(self, view: View) -> str:
        state = self._pieces.named("state", view["state"])
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


_SIDES, _ENDS = ("live", "candidate"), ("before", "after")


def _judged(view: View) -> bool:
    return any(isinstance((view.get("verdict") or {}).get(name), Mapping) for name in JUDGES)


def _kl(view: View) -> float | None:
    return (view.get("verdict") or {}).get("kl")


def _series(name: str, rounds: Sequence[View], judge: str, value: str, low: str = "", high: str = "") -> Series:
    """What a judge said of each candidate; these are different candidates, so no line joins them."""
    found = {int(one["id"]): one["verdict"].get(judge) or {} for one in rounds}
    points = [(key, float(one[value])) for key, one in found.items() if one.get(value) is not None]
    spans = {key: (float(one[low]), float(one[high])) for key, one in found.items() if one.get(low) is not None}
    return Series(name, points, spans, dots=True)


def _habit(name: str, rounds: Sequence[View], habit: str) -> Series:
    found = [(int(one["id"]), (one["verdict"].get(habit) or {}).get("candidate")) for one in rounds]
    return Series(name, [(key, float(value)) for key, value in found if value is not None], dots=True)


def _percent(value: float | None) -> str:
    return "" if value is None else percent(float(value))


def _number(value: float | None) -> str:
    return "" if value is None else number(float(value))
