"""The page by keyboard alone, in a real Chromium: its frame, and the page about the training."""

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


def test_the_frame_of_the_page_is_gone_through_by_keyboard(shown) -> None:
    page = shown.page
    shown.gateway.conversations["one"] = shown.gateway._talk("one") | {"title": "about soup"}
    page.reload()
    expect(page.locator(".item")).to_have_count(1)
    tab_to(page, "tab-chat")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-training")).to_be_focused()
    page.focus(".skip")
    page.keyboard.press("Enter")
    expect(page.locator("#message")).to_be_focused()
    more = page.locator(".item .icon-button")
    more.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    expect(page.locator(".menu .danger")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.locator(".menu button").first).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.locator(".menu")).to_have_count(0)
    expect(page.locator(".item a")).to_be_focused()


def test_the_side_bar_that_lies_over_a_narrow_page_takes_the_focus_and_gives_it_back(shown) -> None:
    page = shown.page
    page.set_viewport_size({"width": 390, "height": 800})
    menu = page.locator("#menu")
    menu.focus()
    expect(menu).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(page.locator("#new")).to_be_focused()
    expect(menu).to_have_attribute("aria-expanded", "true")
    assert page.locator("#main").evaluate("node => node.inert")
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    expect(page.locator("#side")).to_be_hidden()
    page.keyboard.press("Enter")
    page.set_viewport_size({"width": 1200, "height": 800})  # a wide page has room for both
    expect(page.locator("#main")).to_have_js_property("inert", False)
