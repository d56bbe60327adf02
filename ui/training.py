"""The events of the page about the training: draw it, start and stop rounds, promote and roll back."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote

import gradio as gr

from cli.client import GatewayClient, GatewayError
from ui.gate import Gate, items
from ui.people import People
from ui.training_view import TrainingView
from ui.troubles import plain
from ui.words import Words

View = dict[str, Any]
METRICS_OF = 5  # newest rounds among which the overview looks for one that has measured something


class Training:
    """The handlers. Built once per process; who is asking comes with each request."""

    def __init__(self, people: People, words: Words) -> None:
        self._people, self._say = people, words

    async def show(self, event: gr.EventData, request: gr.Request) -> View:
        """The page for the address: the overview, one round or one checkpoint."""
        gate = self._people.gate(self._people.browser(request.cookies))
        return await asyncio.to_thread(self._drawn, gate, event._data)

    async def act(self, event: gr.EventData, request: gr.Request) -> tuple[View, View]:
        """Carry out a button; the page as it is after that, and a sentence on what happened."""
        gate = self._people.gate(self._people.browser(request.cookies))
        try:
            sentence = await asyncio.to_thread(self._act, gate, event._data)
        except GatewayError as error:
            sentence = plain(self._say, error)
        told = {"n": time.monotonic_ns(), "toast": sentence}
        return await asyncio.to_thread(self._drawn, gate, event._data), told

    def _act(self, gate: Gate, asked: Mapping[str, Any]) -> str:
        what, reason = asked["do"], asked.get("reason") or ""
        with gate.client() as client:
            if what == "start":
                return self._say("round_started", id=client.start_round(reason=reason)["id"])
            if what == "drop":
                client.call("DELETE", f"/api/generations/{quote(str(asked['generation']), safe='')}/regression")
                return self._say("keep_dropped")
            if what == "cancel":
                client.cancel_round(int(asked["id"]), reason)
                return self._say("round_cancelled", id=asked["id"])
            live = (client.status().get("live") or {}).get("name")
            wanted = "previous" if what == "rollback" else asked["name"]
            name = client.deploy(wanted, reason, expected_live=live)["live"]
            return self._say("promoted", name=name["name"] if isinstance(name, dict) else name)

    def _drawn(self, gate: Gate, asked: Mapping[str, Any]) -> View:
        """The page as HTML; the overview tells what is live by now as well."""
        try:
            with gate.client() as client:
                admin = gate.is_admin(client)
                view = TrainingView(self._say, admin, datetime.now(UTC))
                if asked.get("round"):
                    return {"html": view.round_page(client.round(int(asked["round"])))}
                if asked.get("checkpoint"):
                    path = f"/api/checkpoints/{quote(str(asked['checkpoint']), safe='')}"
                    return {"html": view.checkpoint_page(client.get(path), client.get(f"{path}/story"))}
                rounds, status = client.rounds(), client.status()
                html = view.overview(
                    status,
                    rounds,
                    client.checkpoints(),
                    _measured(client, rounds),
                    items(client.get("/api/deployments")),
                    items(client.get("/api/comparisons/tally")),
                    items(client.get("/api/regressions")) if admin else (),
                )
                return {"html": html, "live": status.get("live")}
        except GatewayError as error:
            sentence = escape(self._say("training_unreached", error=plain(self._say, error)))
            return {"html": f'<p class="card failed" role="alert">{sentence}</p>'}


def _measured(client: GatewayClient, rounds: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest round that has metrics."""
    for one in rounds[:METRICS_OF]:
        whole = client.round(one["id"])
        if whole.get("metrics"):
            return whole
    return None
