"""Tables for people and JSON for programs, from the same rows."""

import json
from collections.abc import Callable
from typing import Any

Column = tuple[str, Callable[[dict[str, Any]], Any]]

ROUND: list[Column] = [
    ("round", lambda r: r["id"]),
    ("state", lambda r: r["state"]),
    ("step", lambda r: f"{r['step'] or 0}/{r['total_steps'] or '?'}"),
    ("algorithm", lambda r: r["algorithm"]),
    ("trigger", lambda r: r["trigger"]),
    ("parent", lambda r: r["parent"]),
    ("candidate", lambda r: r["candidate"]),
    ("started", lambda r: _when(r["started_at"])),
    ("verdict or error", lambda r: r["error"] or (r["verdict"] or {}).get("words")),
]

CHECKPOINT: list[Column] = [
    ("checkpoint", lambda c: c["name"] + (" (live)" if c["live"] else "")),
    ("state", lambda c: c["state"]),
    ("kind", lambda c: c["kind"]),
    ("parent", lambda c: c["parent"]),
    ("round", lambda c: c["round"]),
    ("made", lambda c: _when(c["created_at"])),
    ("files", lambda c: c["path"]),
]

ENGINE: list[Column] = [
    ("engine", lambda e: e["url"]),
    ("state", lambda e: e["state"]),
    ("answers", lambda e: e["in_flight"]),
    ("weights", lambda e: e.get("weights") or "none"),
    ("adapters", lambda e: ", ".join(e["adapters"]) or "none"),
    ("from", lambda e: "settings" if e["in_settings"] else "added"),
    ("detail", lambda e: e["detail"]),
]

USER: list[Column] = [
    ("user", lambda u: u["name"]),
    ("role", lambda u: u["role"]),
    ("consent", lambda u: u["consent"]),
    ("keys", lambda u: u["keys"] or "none: can't get in with a key"),
    ("added", lambda u: _when(u["created_at"])),
]

KEY: list[Column] = [
    ("key", lambda k: k["id"]),
    ("begins", lambda k: k["prefix"] + "…"),
    ("user", lambda k: k["user"]),
    ("for", lambda k: ", ".join(k["scopes"]) or "everything"),
    ("state", lambda k: "valid" if k["valid"] else "revoked" if k["revoked_at"] else "expired"),
    ("until", lambda k: _when(k["revoked_at"] or k["expires_at"])),
]


STEP_FIGURES = {  # of a round's metrics: what one looks at first
    "reward": "reward", "kl": "KL", "malformed_share": "malformed", "zero_std_share": "flat groups",
    "thought_tokens": "thought, tokens", "response_tokens": "response, tokens", "seconds_step": "seconds",
}  # fmt: skip
STEPS_SHOWN = 20  # of a long round, evenly spaced


def show(rows: list[dict[str, Any]], columns: list[Column], as_json: bool) -> None:
    """Print `rows` as a table, or all of them as JSON."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    console = _console()
    table = Table(box=None, header_style="bold")
    for number, (name, _) in enumerate(columns):
        table.add_column(name, no_wrap=number < len(columns) - 1, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value(row)) for _, value in columns))
    console.print(table if rows else "none yet")


def show_round(view: dict[str, Any], as_json: bool) -> None:
    """Print all of one round: what it ran with, what came of it, and its first figures by step."""
    if as_json:
        print(json.dumps(view, indent=2))
        return
    from rich.markup import escape

    console = _console()
    steps = f"step {view['step'] or 0} of {view['total_steps'] or '?'}"
    console.print(escape(f"round     {view['id']} {view['state']}: {view['algorithm']}, {steps}, seed {view['seed']}"))
    console.print(escape(f"asked for by {view['trigger']}: {view['reason'] or view['requested_by']}"))
    span = " to ".join(_when(at) for at in (view["started_at"], view["ended_at"]) if at)
    console.print(escape(f"weights   {view['parent'] or '?'} to {view['candidate'] or 'none yet'}   {span}"))
    if view["config"]:
        told = " ".join(f"{name}={json.dumps(value)}" for name, value in sorted(view["config"].items()))
        console.print(escape(f"settings  {told}"))
    if view["error"]:
        console.print(escape(f"error     {view['error']}"))
    verdict = view["verdict"] or {}
    if verdict:
        console.print(escape(f"gate      {verdict.get('words', '')}"))
    for check in verdict.get("checks", []):
        console.print(escape(f"          {'passed' if check['passed'] else 'FAILED'}  {check['words']}"))
    _show_steps(console, view["metrics"])


def _show_steps(console: Any, metrics: dict[str, list[list[Any]]]) -> None:
    from rich.table import Table

    names = [name for name in STEP_FIGURES if metrics.get(name)]
    figures: dict[str, dict[int, float | None]] = {name: dict(metrics[name]) for name in names}
    steps = sorted({step for name in names for step in figures[name]})
    if not steps:
        return
    shown = min(len(steps), STEPS_SHOWN)
    chosen = [steps[round(at * (len(steps) - 1) / max(shown - 1, 1))] for at in range(shown)]
    table = Table(box=None, header_style="bold")
    for name in ("step", *(STEP_FIGURES[name] for name in names)):
        table.add_column(name, justify="right")
    for step in chosen:
        values = [figures[name].get(step) for name in names]
        table.add_row(str(step), *("" if value is None else f"{value:.4g}" for value in values))
    console.print(table)
    if len(steps) > shown:
        console.print(f"{shown} of {len(steps)} steps; --csv writes them all, with every figure")


def show_status(status: dict[str, Any], as_json: bool) -> None:
    """Print the house's state."""
    if as_json:
        print(json.dumps(status, indent=2))
        return
    from rich.markup import escape

    console, live = _console(), status["live"]
    if live is None:
        console.print("live      nothing yet: no engine has come up")
    else:
        console.print(f"live      [bold]{live['name']}[/] since {_when(live['since'])}: {escape(live['reason'])}")
    console.print(f"previous  {status['previous'] or 'none'}")
    if trial := status.get("canary"):
        since = _when(trial["since"])
        console.print(f"canary    {trial['name']} in {trial['share']:.0%} of conversations since {since}")
        if trial.get("trouble"):
            console.print(f"          {escape(trial['trouble'])}")
    if version := status.get("version"):
        console.print(escape(f"gateway   version {version}, profile {status['profile']}"))
    for engine in status["engines"]:
        has = [name for name in (engine.get("weights"),) if name not in (None, "ruminate-v0")] + engine["adapters"]
        console.print(escape(f"engine    {engine['url']} {engine['state']}: {', '.join(has) or 'no adapters'}"))
        if engine.get("detail"):
            console.print(escape(f"          {engine['detail']}"))
    running = status["round"]
    if running:
        console.print(f"round     {running['id']} {running['state']} {running['phase'] or ''} {running['step'] or 0}")
        by = running["reason"] or running["requested_by"]
        console.print(escape(f"          started by {running['trigger']}: {by}"))
    else:
        console.print("round     none is open")
    prompts = status["prompts"]
    console.print(f"prompts   {prompts['recorded']} recorded, {prompts['trainable']} may be trained on")


def _console() -> Any:
    """Prints what it is given without a word of its own; a file or a pipe has no width, and a guess would cut names."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, width=200)


def _cell(value: Any) -> Any:
    """As text and not as markup: a path in brackets stands in many an error."""
    from rich.text import Text

    return Text("" if value is None else str(value))


def _when(iso: str | None) -> str:
    return (iso or "").replace("T", " ")[:16]
