"""Asks for a round, watches it and stops it: a progress bar, the verdict in words, and an exit code."""

import csv
import json
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from cli.client import GatewayClient, GatewayError

PUBLISHED = CANCELLED = 0
FAILED, REJECTED = 1, 3
INTERRUPTED = 130  # as of a program that Ctrl-C ended
_EXIT = {"published": PUBLISHED, "rejected": REJECTED, "failed": FAILED, "cancelled": FAILED}
_POLL_S = 1.0
_PATIENCE_S = 60.0  # a gateway that restarts is away for some seconds; the round goes on meanwhile
_AWAY = (0, 429, 500, 502, 503, 504)


def run_round(
    client: GatewayClient,
    algorithm: str,
    config: dict[str, Any],
    reason: str,
    as_json: bool,
    seed: int | None = None,
) -> int:
    """Start a round, or go on with the open one, and wait for its end. Returns the exit code."""
    view = _start_or_join(client, algorithm, config, reason, seed)
    try:
        view = _watch_quietly(client, view) if as_json else _watch(client, view)
    except KeyboardInterrupt:
        print(
            f"round {view['id']} goes on without you: `ruminate train` watches it again, `ruminate cancel` stops it",
            file=sys.stderr,
        )
        return INTERRUPTED
    if as_json:
        print(json.dumps(view, indent=2))
    else:
        print(_ending(view, _patiently(client.status) if view["state"] == "published" else {}))
    return _EXIT[view["state"]]


def _start_or_join(
    client: GatewayClient, algorithm: str, config: dict[str, Any], reason: str, seed: int | None
) -> dict[str, Any]:
    try:
        return client.start_round(algorithm, config, reason, seed)
    except GatewayError as error:
        if error.status != 409:
            raise
        view = _open_round(client)
        if view is None:
            raise
        print(f"round {view['id']} is open at step {view['step']}: going on with it", file=sys.stderr)
        return view


def cancel_round(client: GatewayClient, round_id: int | None, reason: str) -> int:
    """Stop this round, or the open one. Returns the exit code, which tells whether it is cancelled now."""
    if round_id is None:
        running = _open_round(client)
        if running is None:
            print("no round is open", file=sys.stderr)
            return FAILED
        round_id = running["id"]
    view = client.cancel_round(round_id, reason)
    if view["state"] != "cancelled":
        print(f"round {round_id} has ended before: it is {view['state']}", file=sys.stderr)
        return FAILED
    print(f"round {round_id} is cancelled at step {view['step']}; nothing of it is published")
    return CANCELLED


def write_steps(view: dict[str, Any], file: TextIO) -> None:
    """A round's figures as CSV, a line for each step and a column for each figure; what a step has not is empty."""
    names = sorted(view["metrics"])
    by_step: dict[int, dict[str, float | None]] = {}
    for name in names:
        for step, value in view["metrics"][name]:
            by_step.setdefault(step, {})[name] = value
    writer = csv.DictWriter(file, ["step", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"step": step} | by_step[step] for step in sorted(by_step))


def _open_round(client: GatewayClient) -> dict[str, Any] | None:
    return next((view for view in client.rounds() if view["state"] in ("requested", "running")), None)


def _watch(client: GatewayClient, view: dict[str, Any]) -> dict[str, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("round {task.fields[id]} {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("waiting for a trainer", total=view["total_steps"] or None, id=view["id"], figures="")
        while view["state"] in ("requested", "running"):
            time.sleep(_POLL_S)
            view = _ask(client, view["id"])
            progress.update(
                task,
                description=view["phase"] or "waiting for a trainer",
                completed=view["step"] or 0,
                total=view["total_steps"] or None,
                figures=_figures(view.get("metrics") or {}),
            )
    return view


def _watch_quietly(client: GatewayClient, view: dict[str, Any]) -> dict[str, Any]:
    while view["state"] in ("requested", "running"):
        time.sleep(_POLL_S)
        view = _ask(client, view["id"])
    return view


def _ask(client: GatewayClient, round_id: int) -> dict[str, Any]:
    return _patiently(lambda: client.round(round_id))


def _patiently(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the gateway says, asked again while it, or a proxy before it, has no answer just now."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask()
        except GatewayError as error:
            if error.status not in _AWAY or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)


def _figures(metrics: dict[str, list[list[float]]]) -> str:
    shown = [(name, metrics[name][-1][1]) for name in ("reward", "kl") if metrics.get(name)]
    return " ".join(f"{name} {value:.3g}" for name, value in shown)


def _ending(view: dict[str, Any], status: dict[str, Any]) -> str:
    words = (view.get("verdict") or {}).get("words", "")
    match view["state"]:
        case "published":
            return f"round {view['id']}: {_place(view['candidate'], status)}. {words}"
        case "rejected":
            return f"round {view['id']}: {view['candidate']} was rejected by the gate. {words}"
        case "cancelled":
            return f"round {view['id']} was cancelled at step {view['step']}"
        case _:
            return f"round {view['id']} failed at step {view['step']}: {view['error']}"


def _place(checkpoint: str, status: dict[str, Any]) -> str:
    """Where a published checkpoint stands: live, on trial, or already neither."""
    trial, live = status.get("canary") or {}, (status.get("live") or {}).get("name")
    if checkpoint == trial.get("name"):
        return f"{checkpoint} is on trial in {trial['share']:.0%} of the conversations, and {live} is live"
    return f"{checkpoint} is live" if checkpoint == live else f"{checkpoint} passed its gate, and {live} is live now"


def funnel(client: GatewayClient, round_id: int | None, as_json: bool) -> None:
    """Print what curation made of a round's prompts, by source."""
    if round_id is None:
        every = client.rounds()
        if not every:
            print("no round has been asked for yet", file=sys.stderr)
            return
        round_id = every[0]["id"]
    found = client.get(f"/api/rounds/{round_id}/prompts")
    print(json.dumps(found, indent=2) if as_json else funnel_text(found))


def funnel_text(found: dict[str, Any]) -> str:
    """The funnel as lines: each source with what was looked at, and under it each end with its count."""
    lines = []
    for source in sorted({row["source"] for row in found["data"]}, reverse=True):
        rows = [row for row in found["data"] if row["source"] == source]
        lines.append(f"{source:<10}{sum(row['prompts'] for row in rows):>7} looked at in round {found['round']}")
        for verdict in ("kept", "left"):
            for row in (row for row in rows if row["verdict"] == verdict):
                split = "to train" if row["split"] == "train" else "held out"
                lines.append(f"  {verdict:<8}{row['prompts']:>7} {split}: {row['why']}")
    return "\n".join(lines) or f"round {found['round']} has chosen no prompts yet"
