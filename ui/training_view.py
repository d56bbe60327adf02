"""The overview of the page about the training as HTML: what is live, the rounds with their plots, the checkpoints.

Pure: takes the gateway's replies as they are, returns text in which everything from outside is escaped. The pages of
one round and one checkpoint are `ui.story_view`'s.
"""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from urllib.parse import urlencode

from ui.pieces import OPEN, Pieces, View, value
from ui.steps import steps_of
from ui.story_view import Stories
from ui.tables import Cell, table
from ui.verdicts import Verdicts
from ui.words import Words

SHOWN = 160  # characters of an answer in a list
DEPLOYMENTS = 10  # of those that were, the newest; all are in the gateway's record


class TrainingView:
    """Draws the page in one language, for somebody who may change things (`admin`) or only look."""

    def __init__(self, words: Words, admin: bool, now: datetime) -> None:
        self._say, self.admin, self._draw = words, admin, Pieces(words, admin, now)
        self._verdicts = Verdicts(self._draw)
        stories = Stories(self._draw, self._verdicts)
        self.round_page, self.checkpoint_page = stories.round_page, stories.checkpoint_page

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
        by_round = {f"round {one['id']}": one for one in rounds}
        return "".join(
            [
                self._live(status, self._why(deployments[0] if deployments else status.get("live") or {}, by_round)),
                self._rounds(rounds),
                self._steps(metrics) if metrics else "",
                self._verdicts.over_rounds(rounds),
                self._verdicts.votes(tally),
                self._kept(kept),
                self._checkpoints(checkpoints),
                self._deployments(deployments, by_round),
            ]
        )

    # -- parts

    def _live(self, status: View, why: str) -> str:
        live, say = status.get("live") or {}, self._say
        since = say("live_since", when=self._draw.when(live["since"])) if live.get("since") else say("since_start")
        lines = [since]
        if why:
            lines.append(escape(say("because", reason=why)))
        prompts = status.get("prompts")
        if prompts:
            lines.append(escape(say("prompts", recorded=prompts["recorded"], trainable=prompts["trainable"])))
        previous = status.get("previous")
        buttons = self._draw.button("rollback", "rollback", name=previous) if previous else ""
        if (status.get("round") or {}).get("state") not in OPEN:
            buttons += self._draw.button("start", "round_start", primary=True)
        return (
            '<section class="card live-card" aria-label="' + escape(say("live")) + '"><div>'
            f'<h1><span class="dot"></span>{self._draw.checkpoint(live.get("name"))}</h1>'
            + "".join(f"<p>{line}</p>" for line in lines)
            + f'</div><div class="row-of-buttons">{buttons}</div></section>'
        )

    def _rounds(self, rounds: Sequence[View]) -> str:
        say, draw = self._say, self._draw
        if not rounds:
            return f'<h2>{say("rounds")}</h2><p class="card quiet">{escape(say("rounds_none"))}</p>'
        rows: list[list[str | Cell]] = [
            [
                draw.round(one["id"]),
                draw.state(one) + (f" {draw.progress(one)}" if one["state"] in OPEN else ""),
                draw.when(one.get("started_at") or one.get("created_at")),
                draw.took(one),
                draw.checkpoint(one.get("candidate")),
                Cell(escape(self._result(one)), "wide"),
            ]
            for one in rounds
        ]
        heads = draw.heads("col_round", "col_state", "col_started", "col_took", "col_checkpoint", "col_result")
        return f"<h2>{say('rounds')}</h2>{table(heads, rows)}"

    def _checkpoints(self, checkpoints: Sequence[View]) -> str:
        say, draw = self._say, self._draw
        if not checkpoints:
            return f'<h2>{say("checkpoints")}</h2><p class="card quiet">{escape(say("checkpoints_none"))}</p>'
        rows = [
            [
                draw.checkpoint(one["name"]),
                draw.state(one),
                escape(draw.named("kind", one["kind"])),
                draw.checkpoint(one.get("parent")),
                draw.round(one.get("round")),
                draw.when(one.get("created_at")),
                draw.promotion(one),
            ]
            for one in checkpoints
        ]
        heads = ("col_checkpoint", "col_state", "col_kind", "col_parent", "col_round", "col_created", "")
        return f"<h2>{say('checkpoints')}</h2>{table(draw.heads(*heads), rows)}"

    def _deployments(self, deployments: Sequence[View], by_round: dict[str, View]) -> str:
        """What was live since when, by whom and why, newest first."""
        if not deployments:
            return ""
        draw = self._draw
        rows: list[list[str | Cell]] = [
            [
                draw.checkpoint(one["live"]),
                draw.when(one.get("created_at")),
                escape(value(one.get("by"))),
                Cell(escape(value(self._why(one, by_round))), "rest"),
            ]
            for one in deployments[:DEPLOYMENTS]
        ]
        heads = draw.heads("col_checkpoint", "col_since", "col_by", "reason")
        return f"<h2>{escape(self._say('deployments'))}</h2>{table(heads, rows)}"

    def _kept(self, kept: Sequence[View]) -> str:
        """The answers that an admin keeps an eye on, each with the way back to it and out of the list."""
        if not self.admin:
            return ""
        say, draw = self._say, self._draw
        heading = f"<h2>{escape(say('kept'))}</h2>"
        if not kept:
            return f'{heading}<p class="card quiet">{escape(say("kept_none"))}</p>'
        rows: list[list[str | Cell]] = [
            [
                draw.kept_kind(one["kind"]),
                Cell(
                    f'<a href="?{escape(urlencode({"c": one["conversation_id"]}))}">'
                    f"{escape(_short(one.get('response') or ''))}</a>",
                    "wide",
                ),
                draw.checkpoint(str(one.get("model") or "").removeprefix("ruminate-")),
                draw.when(one.get("created_at")),
                draw.button("drop", "keep_drop", generation=one["generation_id"]),
            ]
            for one in kept
        ]
        shown = table(draw.heads("kept_as", "answer_from", "col_checkpoint", "col_since", ""), rows)
        return f'{heading}<p class="quiet">{escape(say("kept_what"))}</p>{shown}'

    def _steps(self, view: View) -> str:
        return steps_of(view, self._say, self._say("measured", id=view["id"]))

    # -- small pieces

    def _result(self, view: View) -> str:
        if view.get("error"):
            return str(view["error"])
        return self._verdicts.plainly(view["verdict"]) if view.get("verdict") else str(view.get("reason") or "")

    def _why(self, deployment: View, by_round: dict[str, View]) -> str:
        """Why a checkpoint went live: in plain words what its round's gate said, else the reason that was given."""
        reason, made_by = str(deployment.get("reason") or ""), by_round.get(str(deployment.get("by")))
        verdict = (made_by or {}).get("verdict") or {}
        return self._verdicts.plainly(verdict) if verdict and reason == verdict.get("words") else reason


def _short(words: str) -> str:
    """The beginning of an answer, as a line."""
    line = " ".join(words.split())
    return line if len(line) <= SHOWN else line[:SHOWN].rsplit(" ", 1)[0] + "…"
