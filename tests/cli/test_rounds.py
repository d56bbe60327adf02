"""Rounds from the command line: asked for, watched, cancelled; the last one against a real gateway."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from support.commands import client, round_view, ruminate
from support.gateways import running_gateway

from cli.client import GatewayClient
from cli.rounds import cancel_round, run_round, write_steps
from cli.tables import show_round


@pytest.mark.parametrize(
    ("view", "code", "words"),
    [
        (round_view("published", candidate="v2", verdict={"words": "It wins."}), 0, "v2 is live. It wins."),
        (
            round_view("rejected", candidate="v2", verdict={"words": "No better."}),
            3,
            "rejected by the gate. No better.",
        ),
        (round_view("failed", step=7, error="disk full"), 1, "failed at step 7: disk full"),
    ],
)
def test_a_round_ends_with_its_exit_code_and_its_cause(
    view: dict[str, Any], code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cli.rounds._POLL_S", 0.01)
    assert run_round(ending_with(view, {"live": {"name": "v2"}}), "grpo", {}, "why", False) == code
    assert words in " ".join(capsys.readouterr().out.split())


def test_a_round_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A bar with the steps and what is done just now, redrawn as the round goes on."""
    monkeypatch.setattr("cli.rounds._POLL_S", 0.3)  # longer than between two drawings of the bar
    monkeypatch.setattr("rich._console", Console(force_terminal=True, width=100))
    view = round_view("published", candidate="v2", verdict={"words": "It wins."})
    assert run_round(ending_with(view, {"live": {"name": "v2"}}), "grpo", {}, "why", False) == 0
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    assert "round 4 waiting for a trainer" in drawn
    assert re.search(r"round 4 train\s+\S*\s*━.*1/7", drawn), drawn


def whole_round(steps: int) -> dict[str, Any]:
    """As the gateway tells one round: a figure of each step, and one that only some steps have."""
    checks = [
        {"passed": True, "words": "the reward model says +0.554"},
        {"passed": False, "words": "on its own answers it is 0.110 nats per token away from live (allowed: 0.08)"},
    ]
    return round_view("rejected", step=steps, total_steps=steps, parent="v0", candidate="v1", seed=7) | {
        "config": {"steps": steps, "learning_rate": 0.003},
        "reason": "200 [new] prompts",
        "ended_at": None,
        "verdict": {"words": "rejected: too far from live", "checks": checks},
        "metrics": {
            "reward": [[step, step / 100] for step in range(1, steps + 1)],
            "kl": [[1, None], [2, 1e-5]],
            "lookout_judge": [[1, 0.25], [steps, 0.5]],
        },
    }


def test_one_round_is_shown_with_its_settings_its_checks_and_some_of_its_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_round(whole_round(50), False)
    shown = capsys.readouterr().out
    for words in (
        "round     4 rejected: grpo, step 50 of 50, seed 7",
        "asked for by person: 200 [new] prompts",
        "v0 to v1",
        "learning_rate=0.003 steps=50",
        "FAILED  on its own answers it is 0.110 nats per token away",
        "passed  the reward model says +0.554",
        "20 of 50 steps; --csv writes them all",
    ):
        assert words in shown, shown
    rows = [line.split() for line in shown.splitlines() if re.fullmatch(r"\s*\d+(\s+\S+)+\s*", line)]
    assert ["1", "0.01"] in rows
    assert ["50", "0.5"] in rows
    assert len({row[0] for row in rows if row[0] != "20"}) >= 19


def test_a_rounds_figures_are_written_a_line_for_each_step() -> None:
    file = io.StringIO()
    write_steps(whole_round(50), file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 51)]
    assert rows[1] == {"step": "2", "kl": "1e-05", "lookout_judge": "", "reward": "0.02"}
    assert (rows[0]["kl"], rows[49]["lookout_judge"]) == ("", "0.5")


def ending_with(view: dict[str, Any], status: dict[str, Any]) -> GatewayClient:
    answers = iter([round_view("requested"), round_view("running", step=1, total_steps=7, phase="train"), view])

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=status if request.url.path == "/api/status" else next(answers))

    return client(handler)


@pytest.mark.parametrize(
    ("canary", "live", "words"),
    [
        ({"name": "v2", "share": 0.1}, "v1", "v2 is on trial in 10% of the conversations, and v1 is live. It wins."),
        (None, "v1", "v2 passed its gate, and v1 is live now. It wins."),
    ],
)
def test_a_round_whose_checkpoint_is_on_trial_says_so(
    canary: dict[str, Any] | None,
    live: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("cli.rounds._POLL_S", 0.01)
    view = round_view("published", candidate="v2", verdict={"words": "It wins."})
    gateway = ending_with(view, {"live": {"name": live}, "canary": canary})
    assert run_round(gateway, "grpo", {}, "why", False) == 0
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("status", [429, 500, 504])
def test_a_gateway_that_is_away_for_a_moment_fails_no_round(
    status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither while the round runs nor when it is published and only its place is asked for."""
    monkeypatch.setattr("cli.rounds._POLL_S", 0.01)
    seen: set[str] = set()

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json=round_view("running", step=1))
        if request.url.path not in seen:
            seen.add(request.url.path)
            return httpx.Response(status, text="away")
        live = {"live": {"name": "v2"}}
        published = round_view("published", candidate="v2")
        return httpx.Response(200, json=live if request.url.path == "/api/status" else published)

    assert run_round(client(handler), "grpo", {}, "why", False) == 0
    assert seen == {"/api/status", "/api/rounds/4"}
    assert "v2 is live" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [True, False])
def test_who_stops_watching_is_told_that_the_round_goes_on(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.rounds.time.sleep", ctrl_c)
    assert run_round(ending_with(round_view("running"), {}), "grpo", {}, "why", as_json) == 130
    assert "round 4 goes on without you: `ruminate train` watches it again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "rounds", "after", "code", "words"),
    [
        (None, ("running", "published"), "cancelled", 0, "round 4 is cancelled at step 2; nothing of it is published"),
        (3, ("running", "published"), "published", 1, "round 3 has ended before: it is published"),
        (None, ("failed", "published"), None, 1, "no round is open"),
    ],
)
def test_a_round_is_cancelled_by_its_number_or_because_it_is_the_open_one(
    asked: int | None,
    rounds: tuple[str, str],
    after: str | None,
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bodies = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            views = [round_view(state, id=4 - place) for place, state in enumerate(rounds)]
            return httpx.Response(200, json={"data": views})
        assert request.url.path == f"/api/rounds/{asked or 4}/cancel"
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=round_view(str(after), id=asked or 4, step=2))

    assert cancel_round(client(handler), asked, "too hot") == code
    told = capsys.readouterr()
    assert (told.err if code else told.out).strip() == words
    assert bodies == ([] if after is None else [{"reason": "too hot"}])


def test_train_goes_on_with_the_open_round(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("cli.rounds._POLL_S", 0.01)

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(409, json={"error": {"message": "round 4 is open"}})
        if request.url.path == "/api/rounds":
            return httpx.Response(200, json={"data": [round_view("running", step=3)]})
        return httpx.Response(200, json=round_view("published", candidate="v2"))

    assert run_round(client(handler), "grpo", {}, "why", True) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["candidate"] == "v2"
    assert "round 4 is open at step 3: going on with it" in printed.err


async def test_the_open_round_is_cancelled_with_its_reason(tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "home", ["http://127.0.0.1:9"]) as house:
        asked = (await house.service.post("/api/rounds", json={"algorithm": "grpo"})).json()
        shown = await ruminate(house, "rounds", str(asked["id"]))
        assert (shown.returncode, f"{asked['id']} requested: grpo" in shown.stdout) == (0, True), shown.stderr
        steps = await ruminate(house, "rounds", str(asked["id"]), "--csv")
        assert (steps.returncode, steps.stdout) == (0, "step\n")
        unnamed = await ruminate(house, "rounds", "--csv")
        assert (unnamed.returncode, "ruminate rounds ROUND" in unnamed.stderr) == (2, True), unnamed.stderr
        done = await ruminate(house, "cancel", "--reason", "too hot")
        assert (done.returncode, f"round {asked['id']} is cancelled" in done.stdout) == (0, True), done.stderr
        view = (await house.service.get(f"/api/rounds/{asked['id']}")).json()
        assert (view["state"], "too hot" in view["error"]) == ("cancelled", True)
        again = await ruminate(house, "cancel")
        assert (again.returncode, "no round is open" in again.stderr) == (1, True)
