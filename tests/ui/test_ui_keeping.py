"""Answers that an admin keeps an eye on: under the answer, and on the page about the training. In a real Chromium."""

import pytest
from playwright.sync_api import expect
from support.fake_chat_gateway import Script


@pytest.fixture
def answered(shown):
    shown.ask("Plan three dinners")
    shown.answered()
    return shown


def keep(shown, words: str) -> None:
    shown.page.click("[data-do=keep]")
    shown.page.click(f"dialog .option:has-text('{words}')")
    shown.page.click("dialog [value=yes]")


def told(shown, words: str) -> None:
    expect(shown.page.locator(".toast", has_text=words)).to_be_visible()


def test_an_admin_keeps_an_answer_as_good_and_sees_it_under_the_answer(answered) -> None:
    page = answered.page
    button = page.locator("[data-do=keep]")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(button).to_have_attribute("aria-label", "Keep an eye on this answer")
    keep(answered, "This answer was good")
    told(answered, "Kept as good")
    (kept,) = answered.gateway.kept.values()
    assert kept["kind"] == "good"
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_be_focused()
    page.reload()
    expect(button).to_have_attribute("aria-label", "Kept: This answer was good")


def test_leaving_the_question_keeps_nothing(answered) -> None:
    page = answered.page
    page.click("[data-do=keep]")
    expect(page.locator("dialog")).to_contain_text("does not go live")
    page.click("dialog [value=no]")
    page.click("[data-do=keep]")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    assert answered.gateway.kept == {}
    assert not [call for call in answered.gateway.calls if "regression" in call[1]]


def test_never_again_is_chosen_changed_and_taken_back_with_the_keyboard_alone(answered) -> None:
    page = answered.page
    page.focus("[data-do=keep]")
    page.keyboard.press("Enter")
    expect(page.locator("dialog input").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    told(answered, "Kept as never again")
    assert [one["kind"] for one in answered.gateway.kept.values()] == ["never"]
    button = page.locator("[data-do=keep]")
    expect(button).to_have_attribute("aria-label", "Kept: Never again")
    page.keyboard.press("Enter")
    expect(page.locator("dialog input").nth(1)).to_be_checked()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    told(answered, "no longer asks")
    assert answered.gateway.kept == {}
    expect(button).to_have_attribute("aria-pressed", "false")


def test_the_training_page_lists_them_leads_to_them_and_drops_them(answered) -> None:
    page = answered.page
    keep(answered, "Never again")
    told(answered, "Kept as never again")
    page.click("#tab-training")
    row = page.locator("tr", has=page.locator("[data-do=drop]"))
    expect(row).to_contain_text("Never again")
    expect(row).to_contain_text("v2")
    row.locator("a", has_text="Here is a **plan**").click()
    expect(page.locator(".row.user .bubble")).to_have_text("Plan three dinners")
    page.click("#tab-training")
    page.click("[data-do=drop]")
    expect(page.locator("dialog input")).to_have_count(0)
    page.click("dialog [value=yes]")
    told(answered, "no longer asks")
    expect(page.locator("[data-do=drop]")).to_have_count(0)
    expect(page.locator("#training")).to_contain_text("None yet. The eye under an answer keeps it")
    assert answered.gateway.kept == {}


def test_what_may_not_be_learnt_from_is_refused_in_a_sentence(answered) -> None:
    answered.gateway.consent = "history"
    keep(answered, "This answer was good")
    told(answered, "was written under another choice")
    expect(answered.page.locator("[data-do=keep]")).to_have_attribute("aria-pressed", "false")


def test_an_answer_that_was_stopped_is_not_offered(shown) -> None:
    shown.gateway.script = Script(thought=[], response=[f"w{n} " for n in range(500)], pause=0.02)
    shown.ask("a long one")
    expect(shown.page.locator(".row.live .md")).to_contain_text("w3")
    shown.page.click("#stop")
    shown.answered()
    expect(shown.page.locator("[data-do=bad]")).to_be_visible()
    expect(shown.page.locator("[data-do=keep]")).to_have_count(0)


def test_who_is_no_admin_sees_neither_the_button_nor_the_list(shown) -> None:
    page = shown.page
    shown.gateway.role = "user"
    page.reload()
    shown.ready()
    shown.ask("hello")
    shown.answered()
    expect(page.locator("[data-do=bad]")).to_be_visible()
    expect(page.locator("[data-do=keep]")).to_be_hidden()
    page.click("#tab-training")
    expect(page.locator(".live-card")).to_be_visible()
    expect(page.locator("#training button")).to_have_count(0)
    expect(page.locator("#training")).not_to_contain_text("keep an eye on")
