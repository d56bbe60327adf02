"""What the gateway refuses is told in the page's language wherever that has words for it."""

import re
from pathlib import Path

import pytest

from cli.client import GatewayError
from server.errors import no_model, not_found
from ui.troubles import plain
from ui.words import Words, load_words

ROOT = Path(__file__).parents[2]
OURS = {"key", "too_long", "unreadable"}  # of no code: `ui.troubles` knows them by more than that
MET = {
    "admin_only", "missing_scope", "not_found", "round_already_open", "deployment_changed", "checkpoint_rejected",
    "rate_limit_exceeded", "too_many_answers", "body_too_large", "database_unavailable", "engine_unavailable",
}  # fmt: skip
"""What people meet on the page."""


def told() -> set[str]:
    return {key.removeprefix("trouble_") for key in load_words("en").sentences if key.startswith("trouble_")}


def foreign() -> Words:
    """A language in which each sentence is its key."""
    return Words({key: f"⟦{key}⟧" for key in load_words("en").sentences})


@pytest.mark.parametrize("code", sorted(MET))
def test_what_people_meet_is_told_in_the_pages_language(code: str) -> None:
    assert plain(foreign(), GatewayError("words of the gateway", 409, code)) == f"⟦trouble_{code}⟧"


def test_each_code_that_has_words_is_one_that_the_gateway_or_its_client_gives() -> None:
    sources = "".join(path.read_text() for path in [*(ROOT / "server").rglob("*.py"), ROOT / "cli" / "client.py"])
    assert told() >= MET
    assert not {code for code in told() - OURS if not re.search(rf'"{code}"', sources)}


def test_the_gateways_own_refusals_are_told_without_names_of_its_inside() -> None:
    for refusal in (not_found("round", 99), no_model("ruminate-v9")):
        said = plain(load_words("en"), GatewayError(refusal.message, refusal.status, refusal.code))
        assert said.startswith("This ")
        assert "GET /v1" not in said


def test_what_the_language_has_no_words_for_is_told_in_the_gateways() -> None:
    for code in (None, "a_newer_one"):
        assert plain(foreign(), GatewayError("the moon is full", 409, code)) == "the moon is full"


def test_a_checkpoint_that_cannot_be_loaded_is_told_with_the_cause() -> None:
    error = GatewayError("not loaded: {rank} of x differs", 422, "checkpoint_unfit")
    assert plain(load_words("en"), error).endswith("The server says: not loaded: {rank} of x differs")


@pytest.mark.parametrize(("status", "code"), [(413, "body_too_large"), (429, "rate_limit_exceeded")])
def test_what_a_proxy_refuses_is_told_by_its_status(status: int, code: str) -> None:
    said = plain(foreign(), GatewayError(f"HTTP {status} from http://10.0.0.7: <html>", status, "no_reason"))
    assert said == f"⟦trouble_{code}⟧"
