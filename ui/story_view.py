"""The pages of one round and of one checkpoint as HTML. Pure, as `ui.training_view`."""

from collections.abc import Sequence
from html import escape

from ui.pieces import OPEN, Pieces, View, value
from ui.plots import number
from ui.steps import STEP_PLOTS, steps_of
from ui.tables import table
from ui.verdicts import Verdicts

SAMPLES = 3  # shown at once; the rest unfolds


class Stories:
    """Draws them with the pieces and verdicts of one language."""

    def __init__(self, pieces: Pieces, verdicts: Verdicts) -> None:
        self._pieces, self._verdicts, self._say = pieces, verdicts, pieces.say

    def round_page(self, view: View) -> str:
        """One round: how it went, its plots, what the gate said."""
        draw = self._pieces
        facts = [
            ("col_state", draw.state(view) + (f" {draw.progress(view)}" if view["state"] in OPEN else "")),
            (
                "col_algorithm",
                escape(draw.named("algorithm", view["algorithm"] or "–")),
            ),  # the trainer has yet to choose
            ("reason", escape(value(view.get("reason")))),
            ("requested_by", escape(self._asked_by(view))),
            ("col_started", draw.when(view.get("started_at") or view.get("created_at"))),
            ("col_took", draw.took(view)),
            ("col_parent", draw.checkpoint(view.get("parent"))),
            ("col_checkpoint", draw.checkpoint(view.get("candidate"))),
            ("seed", escape(str(view.get("seed")))),
        ]
        buttons = draw.button("cancel", "round_cancel", id=view["id"]) if view["state"] in OPEN else ""
        wrong = 'class="failed" role="alert"' if view["state"] != "cancelled" else 'class="quiet"'
        error = f"<p {wrong}>{escape(view['error'])}</p>" if view.get("error") else ""
        return (
            draw.back(self._say("round", id=view["id"]), buttons)
            + error
            + draw.facts(facts)
            + self._verdicts.one(view.get("verdict"))
            + steps_of(view, self._say, self._say("measured", id=view["id"]))
        )

    def checkpoint_page(self, view: View, story: View, round_: View | None) -> str:
        """One checkpoint: where it comes from, answers before and after, what the gate said, how its training went.

        `round_` is the round that made it, with its metrics, where it is still known.
        """
        draw = self._pieces
        manifest = view.get("manifest") or {}
        base = manifest.get("base") or {}
        made_by = story.get("round") or {}
        line = [name for name in view.get("lineage") or [] if name != view["name"]]
        facts = [
            ("col_state", draw.state(view)),
            ("col_kind", escape(draw.named("kind", view["kind"]))),
            ("lineage", " ← ".join(draw.checkpoint(name) for name in line) or "–"),
            ("col_round", draw.round(view.get("round"))),
            ("col_algorithm", escape(draw.named("algorithm", made_by.get("algorithm") or "–"))),
            ("seed", escape(str(made_by.get("seed", "–")))),
            ("col_created", draw.when(view.get("created_at"))),
            ("base_model", escape(str(base.get("name") or "–"))),
            ("learnt_from", escape(self._learnt(story.get("prompts") or manifest.get("prompts")))),
        ]
        return (
            draw.back(self._say("page_checkpoint", name=view["name"]), draw.promotion(view))
            + draw.facts(facts)
            + self._samples(story.get("samples") or manifest.get("samples") or [])
            + self._verdicts.one(story.get("verdict") or manifest.get("verdict"))
            + self._course(story.get("metrics") or {}, round_, made_by.get("id"))
            + self._changed(story.get("changed") or {})
        )

    def _asked_by(self, view: View) -> str:
        """A person's name; of a round that began by itself, what made it begin."""
        trigger = view.get("trigger") or ""
        if view.get("requested_by") and trigger in ("", "person"):
            return str(view["requested_by"])
        return self._pieces.named("trigger", trigger) if trigger else "–"

    def _learnt(self, prompts: View | None) -> str:
        if not prompts:
            return self._say("learnt_nothing")
        words = self._say("learnt_counts", recorded=prompts.get("recorded", 0), mix=prompts.get("mix", 0))
        return words + (f" ({self._say('learnt_erased', n=prompts['erased'])})" if prompts.get("erased") else "")

    def _course(self, ends: View, round_: View | None, round_id: int | None) -> str:
        """How its training went, step by step; where the steps are gone, where the figures began and ended."""
        heading = self._say("training_of_it")
        if round_ is not None and round_.get("metrics"):
            return steps_of(round_, self._say, heading, f"({self._say('col_round')} {self._pieces.round(round_id)})")
        names = [name for one in STEP_PLOTS for name in one.metrics if name in ends]
        if not names:
            return ""
        rows = [
            [
                escape(self._say.sentences.get(f"metric_{name}", name)),
                *("–" if end is None else number(end) for end in ends[name]),
            ]
            for name in names
        ]
        return f"<h2>{escape(heading)}</h2>" + table(self._pieces.heads("measure", "first_step", "last_step"), rows)

    def _changed(self, changed: View) -> str:
        """The settings in which its round differs from its parent's."""
        if not changed:
            return ""
        rows = [
            [f"<code>{escape(name)}</code>", escape(value(one.get("parent"))), escape(value(one.get("own")))]
            for name, one in sorted(changed.items())
        ]
        shown = table(self._pieces.heads("setting", "setting_parent", "setting_own"), rows)
        return (
            f'<h2>{escape(self._say("changed"))}</h2><details id="changed"><summary>'
            f"{escape(self._say('changed_count', n=len(changed)))}</summary>{shown}</details>"
        )

    def _samples(self, samples: Sequence[View]) -> str:
        if not samples:
            return ""
        more = ""
        if len(samples) > SAMPLES:
            words = self._say("samples_more", n=len(samples) - SAMPLES)
            rest = self._verdicts.samples(samples[SAMPLES:])
            more = f'<details id="samples"><summary>{escape(words)}</summary>{rest}</details>'
        return f"<h2>{self._say('samples')}</h2>{self._verdicts.samples(samples[:SAMPLES])}{more}"
