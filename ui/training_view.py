"""The page about the training as HTML: what is live, the rounds with their plots, the checkpoints.

Pure: takes the gateway's replies as they are, returns text in which everything from outside is escaped.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import urlencode

from ui.plots import Series, number, plot
from ui.verdicts import Verdicts
from ui.words import Words

View = Mapping[str, Any]
SHOWN = 160  # characters of an answer in a list
DEPLOYMENTS = 10  # of those that were, the newest; all are in the gateway's record
OPEN = ("requested", "running")  # states of a round that has not ended
_GOOD, _BAD = ("published", "live", "canary"), ("failed", "rejected")

# Which metrics share a plot: title, unit, the metrics, whether 0 stays in sight.
_PLOTS: tuple[tuple[str, str, tuple[str, ...], bool], ...] = (
    ("plot_reward", "unit_reward", ("reward", "reward_well_formed"), False),
    ("plot_kl", "unit_kl", ("kl",), True),
    ("plot_malformed", "unit_share", ("malformed_share",), True),
    ("plot_lengths", "unit_tokens", ("thought_tokens", "response_tokens"), True),
)


class TrainingView:
    """Draws the page in one language, for somebody who may change things (`admin`) or only look."""

    def __init__(self, words: Words, admin: bool, now: datetime) -> None:
        self._say, self._admin, self._now = words, admin, now
        self._verdicts = Verdicts(words)

    def overview(
        self,
        status: View,
        rounds: Sequence[View],
        checkpoints: Sequence[View],
        metrics: View | None,
        deployments: Sequence[View] = (),
        tally: Sequence[View] = (),
        kept: Sequence[View] = (),
    ) -> str:
        """Everything at a glance; `metrics` are those of the newest round that has any, with its `id`; `kept` are the
        answers that the person who looks has the gate ask for again."""
        return "".join(
            [
                self._live(status),
                self._rounds(status, rounds),
                self._plots(metrics) if metrics else "",
                self._verdicts.over_rounds(rounds),
                self._verdicts.votes(tally),
                self._kept(kept),
                self._checkpoints(checkpoints),
                self._deployments(deployments),
            ]
        )

    def round_page(self, view: View) -> str:
        """One round: how it went, its plots, what the gate said."""
        facts = [
            ("col_state", self._state(view) + (f" {self._progress(view)}" if view["state"] in OPEN else "")),
            ("col_algorithm", escape(str(view["algorithm"]))),
            ("reason", escape(view.get("reason") or "–")),
            ("requested_by", escape(view.get("requested_by") or view.get("trigger") or "–")),
            ("col_started", self._when(view.get("started_at") or view.get("created_at"))),
            ("col_took", self._took(view)),
            ("col_parent", self._checkpoint_link(view.get("parent"))),
            ("col_checkpoint", self._checkpoint_link(view.get("candidate"))),
            ("seed", escape(str(view.get("seed")))),
        ]
        buttons = self._button("cancel", "round_cancel", id=view["id"]) if view["state"] in OPEN else ""
        wrong = 'class="failed" role="alert"' if view["state"] != "cancelled" else 'class="quiet"'
        error = f"<p {wrong}>{escape(view['error'])}</p>" if view.get("error") else ""
        return (
            self._back(self._say("round", id=view["id"]), buttons)
            + error
            + self._facts(facts)
            + self._plots(view)
            + self._verdicts.one(view.get("verdict"))
        )

    def checkpoint_page(self, view: View, story: View) -> str:
        """One checkpoint: where it comes from, what it learnt from, what the gate said, answers before and after."""
        manifest = view.get("manifest") or {}
        base = manifest.get("base") or {}
        round_ = story.get("round") or {}
        facts = [
            ("col_state", self._state(view)),
            ("col_kind", escape(str(view["kind"]))),
            ("lineage", " ← ".join(self._checkpoint_link(name) for name in view.get("lineage") or [view["name"]])),
            ("col_round", self._round_link(view.get("round"))),
            ("col_algorithm", escape(str(round_.get("algorithm") or "–"))),
            ("seed", escape(str(round_.get("seed", "–")))),
            ("col_created", self._when(view.get("created_at"))),
            ("base_model", escape(str(base.get("name") or "–"))),
            ("learnt_from", escape(self._learnt(story.get("prompts") or manifest.get("prompts")))),
        ]
        buttons = "" if view.get("live") else self._button("promote", "promote", name=view["name"])
        if view.get("state") in ("candidate", "rejected"):
            buttons = ""
        return (
            self._back(self._say("page_checkpoint", name=view["name"]), buttons)
            + self._facts(facts)
            + self._verdicts.one(story.get("verdict") or manifest.get("verdict"))
            + self._samples(story.get("samples") or manifest.get("samples") or [])
            + self._courses(story.get("metrics") or {}, round_.get("id"))
            + self._changed(story.get("changed") or {})
        )

    def _learnt(self, prompts: View | None) -> str:
        if not prompts:
            return self._say("learnt_nothing")
        words = self._say("learnt_counts", recorded=prompts.get("recorded", 0), mix=prompts.get("mix", 0))
        return words + (f" ({self._say('learnt_erased', n=prompts['erased'])})" if prompts.get("erased") else "")

    def _courses(self, metrics: View, round_id: int | None) -> str:
        """Where the round's figures began and ended."""
        names = [name for _, _, some, _ in _PLOTS for name in some if name in metrics]
        if not names:
            return ""
        rows = "".join(
            f"<tr><td>{escape(self._say.sentences.get(f'metric_{name}', name))}</td>"
            + "".join(f"<td>{'–' if value is None else number(value)}</td>" for value in metrics[name])
            + "</tr>"
            for name in names
        )
        head = self._head("measure", "first_step", "last_step")
        link = f" ({self._say('col_round')} {self._round_link(round_id)})" if round_id is not None else ""
        table = f'<div class="table-wrap" tabindex="0"><table>{head}{rows}</table></div>'
        return f"<h2>{escape(self._say('training_of_it'))}{link}</h2>{table}"

    def _changed(self, changed: View) -> str:
        """The settings in which its round differs from its parent's."""
        if not changed:
            return ""
        rows = "".join(
            f"<tr><td><code>{escape(name)}</code></td><td>{escape(_value(one.get('parent')))}</td>"
            f"<td>{escape(_value(one.get('own')))}</td></tr>"
            for name, one in sorted(changed.items())
        )
        head = self._head("setting", "setting_parent", "setting_own")
        return (
            f'<h2>{escape(self._say("changed"))}</h2><details id="changed"><summary>'
            f"{escape(self._say('changed_count', n=len(changed)))}</summary>"
            f'<div class="table-wrap" tabindex="0"><table>{head}{rows}</table></div></details>'
        )

    # -- parts

    def _live(self, status: View) -> str:
        live, say = status.get("live") or {}, self._say
        since = say("live_since", when=self._when(live["since"])) if live.get("since") else say("since_start")
        lines = [since]
        if live.get("reason"):
            lines.append(escape(say("because", reason=live["reason"])))
        prompts = status.get("prompts")
        if prompts:
            lines.append(escape(say("prompts", **prompts)))
        previous = status.get("previous")
        buttons = self._button("rollback", "rollback", name=previous) if previous else ""
        if (status.get("round") or {}).get("state") not in OPEN:
            buttons += self._button("start", "round_start", primary=True)
        return (
            '<section class="card live-card" aria-label="' + escape(say("live")) + '"><div>'
            f'<h1><span class="dot"></span>{self._checkpoint_link(live.get("name"))}</h1>'
            + "".join(f"<p>{line}</p>" for line in lines)
            + f'</div><div class="row-of-buttons">{buttons}</div></section>'
        )

    def _rounds(self, status: View, rounds: Sequence[View]) -> str:
        say = self._say
        if not rounds:
            return f'<h2>{say("rounds")}</h2><p class="card quiet">{escape(say("rounds_none"))}</p>'
        head = self._head("col_round", "col_state", "col_started", "col_took", "col_checkpoint", "col_result")
        body = "".join(
            f"<tr><td>{self._round_link(one['id'])}</td>"
            f"<td>{self._state(one)} {self._progress(one) if one['state'] in OPEN else ''}</td>"
            f"<td>{self._when(one.get('started_at') or one.get('created_at'))}</td><td>{self._took(one)}</td>"
            f"<td>{self._checkpoint_link(one.get('candidate'))}</td>"
            f'<td class="wide">{escape(self._result(one))}</td></tr>'
            for one in rounds
        )
        return f'<h2>{say("rounds")}</h2><div class="table-wrap" tabindex="0"><table>{head}{body}</table></div>'

    def _checkpoints(self, checkpoints: Sequence[View]) -> str:
        say = self._say
        if not checkpoints:
            return f'<h2>{say("checkpoints")}</h2><p class="card quiet">{escape(say("checkpoints_none"))}</p>'
        head = self._head("col_checkpoint", "col_state", "col_kind", "col_parent", "col_round", "col_created", "")
        body = "".join(
            f"<tr><td>{self._checkpoint_link(one['name'])}</td><td>{self._state(one)}</td><td>{escape(one['kind'])}</td>"
            f"<td>{self._checkpoint_link(one.get('parent'))}</td><td>{self._round_link(one.get('round'))}</td>"
            f"<td>{self._when(one.get('created_at'))}</td><td>{self._promotion(one)}</td></tr>"
            for one in checkpoints
        )
        return f'<h2>{say("checkpoints")}</h2><div class="table-wrap" tabindex="0"><table>{head}{body}</table></div>'

    def _deployments(self, deployments: Sequence[View]) -> str:
        """What was live since when, by whom and why, newest first."""
        if not deployments:
            return ""
        head = self._head("col_checkpoint", "col_since", "col_by", "reason")
        body = "".join(
            f"<tr><td>{self._checkpoint_link(one['live'])}</td><td>{self._when(one.get('created_at'))}</td>"
            f"<td>{escape(_value(one.get('by')))}</td>"
            f'<td class="rest">{escape(_value(one.get("reason") or None))}</td></tr>'
            for one in deployments[:DEPLOYMENTS]
        )
        return (
            f"<h2>{escape(self._say('deployments'))}</h2>"
            f'<div class="table-wrap" tabindex="0"><table>{head}{body}</table></div>'
        )

    def _kept(self, kept: Sequence[View]) -> str:
        """The answers that an admin keeps an eye on, each with the way back to it and out of the list."""
        if not self._admin:
            return ""
        say = self._say
        heading = f"<h2>{escape(say('kept'))}</h2>"
        if not kept:
            return f'{heading}<p class="card quiet">{escape(say("kept_none"))}</p>'
        head = self._head("kept_as", "kept_answer", "col_checkpoint", "col_since", "")
        body = "".join(
            f"<tr><td>{self._kind(one['kind'])}</td>"
            f'<td class="wide"><a href="?{escape(urlencode({"c": one["conversation_id"]}))}">'
            f"{escape(_short(one.get('response') or ''))}</a></td>"
            f"<td>{self._checkpoint_link(str(one.get('model') or '').removeprefix('ruminate-'))}</td>"
            f"<td>{self._when(one.get('created_at'))}</td>"
            f"<td>{self._button('drop', 'keep_drop', generation=one['generation_id'])}</td></tr>"
            for one in kept
        )
        table = f'<div class="table-wrap" tabindex="0"><table>{head}{body}</table></div>'
        return f'{heading}<p class="quiet">{escape(say("kept_what"))}</p>{table}'

    def _plots(self, view: View) -> str:
        say, metrics = self._say, view.get("metrics") or {}
        figures = []
        for title, unit, names, zero in _PLOTS:
            lines = [Series(say(f"series_{name}"), _points(metrics.get(name))) for name in names]
            series = [line for line in lines if line.points]
            if series:
                figures.append(plot(say(title), say(unit), say("axis_step"), series, zero))
        heading = f"<h2>{escape(say('measured', id=view['id']))}</h2>"
        if not figures:
            return f'{heading}<p class="card quiet">{escape(say("no_metrics"))}</p>'
        return f'{heading}<div class="plots">{"".join(figures)}</div>'

    def _samples(self, samples: Sequence[View]) -> str:
        if not samples:
            return ""
        head = self._head("sample_prompt", "sample_before", "sample_after")
        labels = [escape(self._say(f"sample_{key}")) for key in _SAMPLE]
        body = "".join(
            "<tr>"
            + "".join(
                f'<td class="wide" data-label="{label}">{escape(str(one.get(key) or ""))}</td>'
                for key, label in zip(_SAMPLE, labels, strict=True)
            )
            + "</tr>"
            for one in samples
        )
        table = f'<div class="table-wrap samples" tabindex="0"><table>{head}{body}</table></div>'
        return f"<h2>{self._say('samples')}</h2>{table}"

    # -- small pieces

    def _back(self, title: str, buttons: str) -> str:
        return (
            f'<p><a href="?view=training">← {escape(self._say("back"))}</a></p><div class="heading">'
            f'<h1>{escape(title)}</h1><div class="row-of-buttons">{buttons}</div></div>'
        )

    def _facts(self, facts: Sequence[tuple[str, str]]) -> str:
        lines = "".join(f"<dt>{escape(self._say(key))}</dt><dd>{value}</dd>" for key, value in facts)
        return f'<dl class="facts card">{lines}</dl>'

    def _head(self, *keys: str) -> str:
        cells = "".join(f"<th scope='col'>{escape(self._say(key)) if key else ''}</th>" for key in keys)
        return f"<tr>{cells}</tr>"

    def _button(self, what: str, words: str, primary: bool = False, **data: object) -> str:
        if not self._admin:
            return ""
        attributes = "".join(f' data-{key}="{escape(str(value))}"' for key, value in data.items())
        name = "-".join([what, *map(str, data.values())])
        style = "primary" if primary else "plain"
        return (
            f'<button type="button" id="do-{escape(name)}" class="{style}" data-do="{what}"{attributes}>'
            f"{escape(self._say(words))}</button>"
        )

    def _kind(self, kind: str) -> str:
        style, words = ("bad", "keep_never") if kind == "never" else ("good", "keep_good")
        return f'<span class="badge {style}">{escape(self._say(words))}</span>'

    def _promotion(self, view: View) -> str:
        fit = not view.get("live") and view.get("state") not in ("candidate", "rejected")
        return self._button("promote", "promote", name=view["name"]) if fit else ""

    def _state(self, view: View) -> str:
        state = "live" if view.get("live") else str(view["state"])
        style = "good" if state in _GOOD else "bad" if state in _BAD else ""
        words = self._say.sentences.get(f"state_{state}", state)
        return f'<span class="badge {style}">{escape(words)}</span>'

    def _progress(self, view: View) -> str:
        phase = self._say.sentences.get(f"phase_{view.get('phase')}", view.get("phase") or "")
        total = view.get("total_steps") or 0
        if not total:
            return escape(phase)
        step = view.get("step") or 0
        words = self._say("step_of", step=step, total=total)
        return (
            f'<span class="progress"><span class="bar" role="progressbar" '
            f'aria-valuemax="{total}" aria-valuenow="{step}" '
            f'aria-label="{escape(words)}"><i style="width:{min(100, 100 * step / total):.1f}%"></i></span>'
            f"{escape(phase)}, {escape(words)}</span>"
        )

    def _result(self, view: View) -> str:
        return str(view.get("error") or (view.get("verdict") or {}).get("words") or view.get("reason") or "")

    def _took(self, view: View) -> str:
        if not view.get("started_at"):
            return "–"
        end = _time(view["ended_at"]) if view.get("ended_at") else self._now
        return span(max(0.0, (end - _time(view["started_at"])).total_seconds()), self._say)

    def _when(self, text: str | None) -> str:
        """A moment, which the browser rewrites in its own clock's terms."""
        if not text:
            return "–"
        return f'<time datetime="{escape(text)}">{_time(text):%Y-%m-%d %H:%M} UTC</time>'

    def _checkpoint_link(self, name: str | None) -> str:
        return f'<a href="?{escape(urlencode({"checkpoint": name}))}">{escape(name)}</a>' if name else "–"

    def _round_link(self, round_id: int | None) -> str:
        return f'<a href="?round={int(round_id)}">{int(round_id)}</a>' if round_id is not None else "–"


def _value(value: Any) -> str:
    return "–" if value is None else str(value)


def _short(words: str) -> str:
    """The beginning of an answer, as a line."""
    line = " ".join(words.split())
    return line if len(line) <= SHOWN else line[:SHOWN].rsplit(" ", 1)[0] + "…"


_SAMPLE = ("prompt", "before", "after")


def span(seconds: float, words: Words) -> str:
    """A length of time as people say it."""
    if seconds < 60:
        return words("second", n=round(seconds))
    if seconds < 3600:
        return words("minute", m=int(seconds // 60), s=round(seconds % 60))
    return words("hour", h=int(seconds // 3600), m=round(seconds % 3600 / 60))


def _points(series: Sequence[Sequence[Any]] | None) -> list[tuple[int, float]]:
    """Points that are numbers; the gateway sends null for what was none."""
    return [(int(step), float(value)) for step, value in series or () if value is not None]


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
