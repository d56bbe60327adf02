"""The events of the page about the training: draw it, start and stop rounds, promote and roll back."""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

import gradio as gr

from cli.client import GatewayClient, GatewayError
from ui.gate import Gate, items, within
from ui.people import People
from ui.training_view import TrainingView
from ui.troubles import needs_key, plain
from ui.words import Words

View = dict[str, Any]
METRICS_OF = 5  # newest rounds among which the overview looks for one that has measured something


class Training:
    """The handlers. Built once per process; who is asking comes with each request."""

    def __init__(self, people: People, words: Words) -> None:
        self._people, self._say = people, words

    async def show(self, event: gr.EventData, request: gr.Request) -> Any:
        """The page for the address: the overview, one round or one checkpoint; nothing while it stays as it was."""
        gate = self._people.gate(self._people.browser(request.cookies))
        drawn = await asyncio.to_thread(self._drawn, gate, event._data)
        return gr.skip() if drawn is None else drawn

    async def act(self, event: gr.EventData, request: gr.Request) -> tuple[View | None, View]:
        """Carry out a button; the page as it is after that, and a sentence on what happened."""
        gate = self._people.gate(self._people.browser(request.cookies))
        told: View = {"n": time.monotonic_ns()}
        try:
            told["toast"] = await asyncio.to_thread(self._act, gate, event._data)
        except GatewayError as error:
            told |= {"toast": plain(self._say, error), "need_key": needs_key(error)}
        return await asyncio.to_thread(self._drawn, gate, {**event._data, "mark": None}), told

    def _act(self, gate: Gate, asked: Mapping[str, Any]) -> str:
        what, reason = asked["do"], asked.get("reason") or ""
        with gate.client() as client:
            if what == "start":
                return self._say("round_started", id=client.start_round(reason=reason)["id"])
            if what == "drop":
                client.call("DELETE", f"/api/generations/{within(asked['generation'])}/regression")
                return self._say("keep_dropped")
            if what == "cancel":
                client.cancel_round(int(asked["id"]), reason)
                return self._say("round_cancelled", id=asked["id"])
            live = (client.status().get("live") or {}).get("name")
            wanted = "previous" if what == "rollback" else asked["name"]
            name = client.deploy(wanted, reason, expected_live=live)["live"]
            return self._say("promoted", name=name["name"] if isinstance(name, dict) else name)

    def _drawn(self, gate: Gate, asked: Mapping[str, Any]) -> View | None:
        """The page as HTML with a mark of what it shows; None where the mark that was asked with still holds."""
        place = [asked.get("round"), asked.get("checkpoint")]
        try:
            with gate.client() as client:
                status = client.status()
                mark = mark_of(status, asked)
                if asked.get("mark") == mark:
                    return None
                view = TrainingView(self._say, gate.is_admin(client), datetime.now(UTC))
                html = self._page(client, view, status, asked)
                return {"html": html, "place": place, "live": status.get("live"), "mark": mark}
        except GatewayError as error:
            sentence = escape(self._say("training_unreached", error=plain(self._say, error)))
            html = f'<p class="card failed" role="alert">{sentence}</p>'
            return {"html": html, "place": place, "mark": "", "need_key": needs_key(error)}

    def _page(self, client: GatewayClient, view: TrainingView, status: View, asked: Mapping[str, Any]) -> str:
        if asked.get("round"):
            return view.round_page(client.get(f"/api/rounds/{within(asked['round'])}"))
        if asked.get("checkpoint"):
            path = f"/api/checkpoints/{within(asked['checkpoint'])}"
            story = client.get(f"{path}/story")
            return view.checkpoint_page(client.get(path), story, _round_of(client, story))
        rounds = client.rounds()
        return view.overview(
            status,
            rounds,
            client.checkpoints(manifests=False),
            _measured(client, rounds),
            items(client.get("/api/deployments")),
            items(client.get("/api/comparisons/tally")),
            items(client.get("/api/regressions")) if view.admin else (),
        )


def mark_of(status: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What of the house's state the page at this address shows; as long as it is the same, so is the page.

    Votes and kept answers are not in it: the browser asks without a mark now and then.
    """
    running = status.get("round") or {}
    shown = [status.get(key) for key in ("live", "previous", "canary", "prompts")]
    shown += [running.get(key) for key in ("id", "state", "phase", "step", "total_steps")]
    return json.dumps([asked.get("round"), asked.get("checkpoint"), *shown], sort_keys=True)


def _round_of(client: GatewayClient, story: Mapping[str, Any]) -> View | None:
    """The round that made a checkpoint, with its metrics; None where there was none, or it is known no more."""
    made_by = (story.get("round") or {}).get("id")
    if made_by is None:
        return None
    try:
        return client.round(int(made_by))
    except GatewayError as error:
        if error.status == 404:
            return None
        raise


def _measured(client: GatewayClient, rounds: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest round that has metrics."""
    for one in rounds[:METRICS_OF]:
        whole = client.round(one["id"])
        if whole.get("metrics"):
            return whole
    return None
