"""The page about the training by keyboard alone, in a real Chromium."""

import pytest
from playwright.sync_api import Page, expect

FARTHEST = 80  # presses of Tab; the page has fewer places to stop at


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element with this id has the focus."""
    for _ in range(FARTHEST):
        if page.evaluate("document.activeElement.id") == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no Tab leads to {name}")


@pytest.fixture
def training(shown):
    """The training page, come to by keyboard; no round runs."""
    shown.gateway.rounds[1]["state"] = "published"
    tab_to(shown.page, "tab-training")
    shown.page.keyboard.press("Enter")
    expect(shown.page.locator(".live-card")).to_be_visible()
    return shown


def test_a_round_is_started_with_a_reason(training) -> None:
    page = training.page
    tab_to(page, "do-start")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.keyboard.type("a new week")
    page.keyboard.press("Enter")
    expect(page.locator("tr", has_text="waiting for a trainer")).to_contain_text("a new week")
    expect(page.locator(".toast")).to_contain_text("Round 3 was asked for")
    expect(page.locator("#do-start")).to_have_count(0)
    assert training.gateway.rounds[-1]["reason"] == "a new week"
    expect(page.locator(".live-card :focus")).to_have_count(1)  # the button is gone, the way goes on from its card


def test_a_checkpoint_is_made_live_and_the_way_goes_on_from_its_row(training) -> None:
    page = training.page
    tab_to(page, "do-promote-v0")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")  # no reason yet
    expect(page.locator("dialog .failed")).not_to_be_empty()
    page.keyboard.type("to compare")
    page.keyboard.press("Tab")
    expect(page.locator("dialog [value=no]")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".live-card h1")).to_have_text("v0")
    wish = {"checkpoint": "v0", "reason": "to compare", "expected_live": "v2"}
    assert ("POST", "/api/deployments", wish) in training.gateway.calls
    expect(page.locator("#do-promote-v0")).to_have_count(0)
    expect(page.locator("tr:has(.badge) a[href='?checkpoint=v0']").last).to_be_focused()


def test_escape_leaves_the_question_and_comes_back_to_its_button(training) -> None:
    page = training.page
    tab_to(page, "do-rollback-v1")
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#do-rollback-v1")).to_be_focused()
    assert training.gateway.calls == []
