"""A conversation that is to train nothing: from its first word, after a reload, on every branch."""

import threading

import pytest
from playwright.sync_api import expect

from cli.client import GatewayError
from ui import optout


def learn(shown, on: bool) -> None:
    shown.page.click("#settings")
    shown.page.set_checked("dialog input[type=checkbox]", on)
    shown.page.keyboard.press("Escape")
    expect(shown.page.locator("dialog")).to_have_count(0)


def learns(shown) -> bool:
    shown.page.click("#settings")
    on = shown.page.is_checked("dialog input[type=checkbox]")
    shown.page.keyboard.press("Escape")
    expect(shown.page.locator("dialog")).to_have_count(0)
    return on


def kept_out(shown) -> None:
    """Wait until the record says so."""
    for _ in range(400):
        if [one["consent"] for one in shown.gateway.conversations.values()] == ["history"]:
            return
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"the record says {[one['consent'] for one in shown.gateway.conversations.values()]}")


def test_a_chat_that_is_begun_outside_of_training_stays_outside(shown) -> None:
    page = shown.page
    learn(shown, False)
    expect(page.locator("#trust")).to_contain_text("they train nothing")
    shown.ask("between us")
    shown.answered()
    kept_out(shown)
    page.reload()
    shown.answered()
    assert not learns(shown)
    page.hover(".row.user")
    page.click("[data-do=edit]")
    page.fill(".editor textarea", "still between us")
    page.press(".editor textarea", "Enter")
    shown.answered()
    assert [asked["ruminate"]["consent"] for asked in shown.gateway.asked] == ["history", "history"]


def test_a_wish_that_was_not_sent_yet_outlives_a_reload_and_a_look_elsewhere(shown) -> None:
    page = shown.page
    learn(shown, False)
    page.fill("#message", "between us")
    page.reload()
    shown.ready()
    expect(page.locator("#message")).to_have_value("between us")
    page.click("#tab-training")
    page.click("#tab-chat")
    assert not learns(shown)
    page.press("#message", "Enter")
    shown.answered()
    assert shown.gateway.asked[-1]["ruminate"]["consent"] == "history"
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    assert learns(shown)


def test_stepping_between_branches_keeps_the_wish(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    page.click("[data-do=again]")
    shown.answered()
    learn(shown, False)
    kept_out(shown)
    page.click("[data-do=back]")
    expect(page.locator(".stepper")).to_have_text("1/2")
    assert not learns(shown)
    shown.ask("and then?")
    shown.answered(2)
    assert shown.gateway.asked[-1]["ruminate"]["consent"] == "history"


class SlowRecord:
    """A gateway that has the conversation only at the third time of asking."""

    def __init__(self, status: int = 404) -> None:
        self.asked: list[object] = []
        self.taken = threading.Event()
        self._status = status

    def call(self, method: str, path: str, body: dict[str, object]) -> None:
        self.asked.append((method, path, body["consent"]))
        if len(self.asked) < 3:
            raise GatewayError("there is no such conversation", self._status)
        self.taken.set()


@pytest.mark.parametrize("status", [404, 503, 0])
def test_the_wish_is_said_until_the_gateway_has_taken_it(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optout, "AGAIN_S", 0.01)
    gate = SlowRecord(status)
    optout.keep_out(gate, "c1", lambda: "history", over=lambda: True)
    assert gate.taken.wait(10)
    assert gate.asked == [("PATCH", "/api/conversations/c1", "history")] * 3
