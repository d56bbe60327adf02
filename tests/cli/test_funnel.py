"""What `ruminate prompts` prints, and what it asks of the gateway."""

import json

import httpx
import pytest
from typer.testing import CliRunner

from cli import main
from cli.client import GatewayClient

FUNNEL = {
    "round": 4,
    "data": [
        {"source": "mix", "split": "train", "verdict": "kept", "why": "eligible", "prompts": 200},
        {"source": "recorded", "split": "train", "verdict": "left", "why": "a duplicate", "prompts": 12},
        {"source": "recorded", "split": "heldout", "verdict": "kept", "why": "held out for good", "prompts": 3},
    ],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        answers = {"/api/rounds": {"data": [{"id": 4}, {"id": 3}]}, "/api/rounds/4/prompts": FUNNEL}
        return httpx.Response(200, json=answers[request.url.path])

    transport = httpx.MockTransport(handler)
    monkeypatch.setattr(main, "_client", lambda: GatewayClient("http://gateway", transport=transport))
    return seen


def test_the_newest_rounds_funnel_is_told_by_source(asked: list[str]) -> None:
    told = CliRunner().invoke(main.app, ["prompts"])
    assert told.exit_code == 0, told.output
    assert asked == ["/api/rounds", "/api/rounds/4/prompts"]
    assert [line.split() for line in told.output.splitlines()] == [
        ["recorded", "15", "looked", "at", "in", "round", "4"],
        ["kept", "3", "held", "out:", "held", "out", "for", "good"],
        ["left", "12", "to", "train:", "a", "duplicate"],
        ["mix", "200", "looked", "at", "in", "round", "4"],
        ["kept", "200", "to", "train:", "eligible"],
    ]


def test_a_round_can_be_named_and_programs_get_json(asked: list[str]) -> None:
    told = CliRunner().invoke(main.app, ["prompts", "4", "--json"])
    assert json.loads(told.output) == FUNNEL
    assert asked == ["/api/rounds/4/prompts"]
