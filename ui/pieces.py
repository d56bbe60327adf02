"""Small pieces of the page about the training as HTML: states, moments, links, buttons. Pure, in one language."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import urlencode

from ui.words import Words

View = Mapping[str, Any]
OPEN = ("requested", "running")  # states of a round that has not ended
_GOOD, _BAD = ("published", "live", "canary"), ("failed", "rejected")


class Pieces:
    """Draws them for somebody who may change things (`admin`) or only look."""

    def __init__(self, words: Words, admin: bool, now: datetime) -> None:
        self.say, self.admin, self._now = words, admin, now

    def back(self, title: str, buttons: str) -> str:
        """The head of a page below the overview."""
        return (
            f'<p><a href="?view=training">← {escape(self.say("back"))}</a></p><div class="heading">'
            f'<h1>{escape(title)}</h1><div class="row-of-buttons">{buttons}</div></div>'
        )

    def facts(self, facts: Sequence[tuple[str, str]]) -> str:
        """Names, as keys of the words, with what they are, as HTML."""
        lines = "".join(f"<dt>{escape(self.say(key))}</dt><dd>{value}</dd>" for key, value in facts)
        return f'<dl class="facts card">{lines}</dl>'

    def heads(self, *keys: str) -> list[str]:
        """The names of a table's columns; "" for none."""
        return [self.say(key) if key else "" for key in keys]

    def button(self, what: str, words: str, primary: bool = False, **data: object) -> str:
        """A button that asks the server for something; nothing for who only looks."""
        if not self.admin:
            return ""
        attributes = "".join(f' data-{key}="{escape(str(value))}"' for key, value in data.items())
        name = "-".join([what, *map(str, data.values())])
        style = "primary" if primary else "plain"
        return (
            f'<button type="button" id="do-{escape(name)}" class="{style}" data-do="{what}"{attributes}>'
            f"{escape(self.say(words))}</button>"
        )

    def promotion(self, view: View) -> str:
        """The button that makes a checkpoint live, where that may be."""
        fit = not view.get("live") and view.get("state") not in ("candidate", "rejected")
        return self.button("promote", "promote", name=view["name"]) if fit else ""

    def kept_kind(self, kind: str) -> str:
        """As what an answer is kept."""
        style, words = ("bad", "keep_never") if kind == "never" else ("good", "keep_good")
        return f'<span class="badge {style}">{escape(self.say(words))}</span>'

    def state(self, view: View) -> str:
        """Of a round or a checkpoint."""
        state = "live" if view.get("live") else str(view["state"])
        style = "good" if state in _GOOD else "bad" if state in _BAD else ""
        return f'<span class="badge {style}">{escape(self.named("state", state))}</span>'

    def named(self, family: str, name: Any) -> str:
        """The words for one of the gateway's own names, and the name itself, readable, where a newer one has more."""
        words = self.say.sentences.get(f"{family}_{name}")
        return words if words is not None else str(name).replace("_", " ")

    def progress(self, view: View) -> str:
        """How far an open round is."""
        phase = self.named("phase", view["phase"]) if view.get("phase") else ""
        total = view.get("total_steps") or 0
        if not total:
            return escape(phase)
        step = view.get("step") or 0
        words = self.say("step_of", step=step, total=total)
        return (
            f'<span class="progress"><span class="bar" role="progressbar" '
            f'aria-valuemax="{total}" aria-valuenow="{step}" '
            f'aria-label="{escape(words)}"><i style="width:{min(100, 100 * step / total):.1f}%"></i></span>'
            f"{escape(phase)}, {escape(words)}</span>"
        )

    def took(self, view: View) -> str:
        """How long a round took; of one that goes on the browser counts from here."""
        if not view.get("started_at"):
            return "–"
        end = _time(view["ended_at"]) if view.get("ended_at") else self._now
        seconds = max(0.0, (end - _time(view["started_at"])).total_seconds())
        words = span(seconds, self.say)
        return words if view.get("ended_at") else f'<span data-took="{seconds:.0f}">{words}</span>'

    def when(self, text: str | None) -> str:
        """A moment, which the browser rewrites in its own clock's terms."""
        if not text:
            return "–"
        return f'<time datetime="{escape(text)}">{_time(text):%Y-%m-%d %H:%M} UTC</time>'

    def checkpoint(self, name: str | None) -> str:
        """A link to its page."""
        return f'<a href="?{escape(urlencode({"checkpoint": name}))}">{escape(name)}</a>' if name else "–"

    def round(self, round_id: int | None) -> str:
        """A link to its page."""
        return f'<a href="?round={int(round_id)}">{int(round_id)}</a>' if round_id is not None else "–"


def span(seconds: float, words: Words) -> str:
    """A length of time as people say it."""
    if seconds < 60:
        return words("second", n=round(seconds))
    if seconds < 3600:
        return words("minute", m=int(seconds // 60), s=int(seconds % 60))
    return words("hour", h=int(seconds // 3600), m=int(seconds % 3600 // 60))


def value(found: Any) -> str:
    """What may be missing, as words."""
    return "–" if found is None or found == "" else str(found)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
