"""Comparing two answers, in a real Chromium: side by side, blind until chosen, recorded, found again."""

import re

import pytest
from playwright.sync_api import expect
from support.fake_chat_gateway import Script


def compare(shown, words: str) -> None:
    shown.page.click("#options")
    shown.page.click(f"[data-option=compare] label:has-text('{words}')")
    shown.page.keyboard.press("Escape")


def both(shown) -> None:
    expect(shown.page.locator(".choose")).to_be_visible()


@pytest.fixture
def compared(shown):
    shown.gateway.script = Script(more={"ruminate-v1": ["3. old"], "ruminate-v2": ["3. new"]})
    compare(shown, "With another version")
    shown.ask("Plan dinners")
    both(shown)
    return shown


def test_two_checkpoints_answer_side_by_side_without_names(compared) -> None:
    page = compared.page
    assert {asked["model"] for asked in compared.gateway.asked} == {"ruminate", "ruminate-v1"}
    assert len(compared.gateway.conversations) == 1
    sides = page.locator(".side-answer")
    texts = sides.all_inner_texts()
    assert sum("old" in text for text in texts) == sum("new" in text for text in texts) == 1
    assert "ruminate-v" not in page.locator("#rows").inner_html()
    one, other = (sides.nth(index).bounding_box() for index in (0, 1))
    assert one is not None
    assert other is not None
    assert one["y"] == other["y"]
    assert one["x"] + one["width"] <= other["x"]


def test_a_choice_is_recorded_with_what_was_shown_and_names_appear(compared) -> None:
    page = compared.page
    left_is_new = "new" in page.locator(".side-answer").first.inner_text()
    page.click("[data-choice=right]")
    expect(page.locator(".pair")).to_have_count(0)
    chosen = "ruminate-v1" if left_is_new else "ruminate-v2"
    expect(page.locator(".row.assistant .by")).to_have_text(chosen)
    expect(page.locator(".row.assistant .chosen")).to_be_visible()
    expect(page.locator(".toast")).to_contain_text(f"You preferred {chosen}")
    expect(page.locator(".stepper")).to_have_text("2/2")
    (kept,) = compared.gateway.comparisons
    assert kept["choice"] == "right"
    shown = kept["shown"]
    assert (shown["mode"], shown["blind"], shown["layout"]) == ("previous", True, "beside")
    assert shown["models"] == (["ruminate-v2", "ruminate-v1"] if left_is_new else ["ruminate-v1", "ruminate-v2"])
    made = {
        one["generation"]["id"]: one["generation"]["model"]
        for talk in compared.gateway.conversations.values()
        for one in talk["messages"]
        if one["role"] == "assistant"
    }
    assert [made[kept[side]] for side in ("left", "right")] == shown["models"]
    page.reload()
    expect(page.locator(".row.assistant .by")).to_have_text(chosen)
    expect(page.locator(".row.assistant .chosen")).to_be_visible()


def test_while_a_canary_is_on_trial_live_is_compared_with_it(shown) -> None:
    """Both by version: what answers without one may be the canary already. And with no version before."""
    shown.gateway.previous, shown.gateway.canary = None, "v3"
    shown.page.reload()
    compare(shown, "With another version")
    shown.ask("Plan dinners")
    both(shown)
    assert {asked["model"] for asked in shown.gateway.asked} == {"ruminate-v2", "ruminate-v3"}
    assert "ruminate-v" not in shown.page.locator("#rows").inner_html()
    shown.page.click("[data-choice=left]")
    expect(shown.page.locator(".row.assistant .chosen")).to_be_visible()
    (kept,) = shown.gateway.comparisons
    assert (kept["shown"]["mode"], kept["shown"]["blind"]) == ("canary", True)
    assert sorted(kept["shown"]["models"]) == ["ruminate-v2", "ruminate-v3"]


def test_a_choice_outlives_a_reload_and_stays_blind(compared) -> None:
    page = compared.page
    page.wait_for_url(re.compile(r"\?c="))
    texts = page.locator(".side-answer .md").all_inner_texts()
    page.reload()
    both(compared)
    assert page.locator(".side-answer .md").all_inner_texts() == texts
    assert "ruminate-v" not in page.locator("#rows").inner_html()
    page.click("[data-choice=left]")
    expect(page.locator(".row.assistant .by")).to_be_visible()
    assert page.locator(".row.assistant .md").inner_text() == texts[0]
    expect(page.locator(".stepper")).to_contain_text("/2")


def test_nothing_goes_on_before_a_choice_and_skipping_records_none(compared) -> None:
    page = compared.page
    compared.ask("and then?")
    expect(page.locator(".toast")).to_contain_text("Choose one of the two answers first")
    assert len(compared.gateway.asked) == 2
    page.click("[data-choice=skip]")
    expect(page.locator(".row.assistant .by")).to_be_visible()
    assert compared.gateway.comparisons == []
    compare(compared, "Off")
    page.press("#message", "Enter")
    compared.answered(2)
    assert [message["role"] for message in compared.gateway.asked[-1]["messages"]] == ["user", "assistant", "user"]


def test_two_samples_of_one_checkpoint_can_be_compared_with_the_keyboard_alone(shown) -> None:
    page = shown.page
    page.focus("#options")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#options")).to_contain_text("Compare")
    shown.ask("again and again")
    both(shown)
    page.focus("[data-choice=tie]")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("Both were by ruminate-v2")
    assert shown.gateway.comparisons[0]["choice"] == "tie"


def test_stopping_ends_both_and_asks_for_no_choice(shown) -> None:
    shown.gateway.script = Script(thought=[], response=[f"w{n} " for n in range(300)], pause=0.02)
    compare(shown, "Two samples")
    shown.ask("long ones")
    expect(shown.page.locator(".pair .md").nth(1)).to_contain_text("w3")
    shown.page.click("#stop")
    shown.answered()
    expect(shown.page.locator(".row.assistant .note")).to_have_text("You stopped this answer.")
    expect(shown.page.locator(".stepper")).to_contain_text("/2")
    shown.cancelled(2)


def test_frames_of_two_answers_touch_no_other_message(shown) -> None:
    shown.ask("first")
    shown.answered()
    shown.page.evaluate(
        """() => {
          window.touched = 0;
          const old = [...document.querySelectorAll('#rows > .row')];
          new MutationObserver((records) => { window.touched += records.filter(
            (r) => old.some((row) => row.contains(r.target))).length; }).observe(
            document.querySelector('#rows'), {subtree: true, childList: true, characterData: true, attributes: true});
        }"""
    )
    compare(shown, "Two samples")
    shown.ask("second")
    both(shown)
    assert shown.page.evaluate("window.touched") == 0


def test_on_a_phone_the_second_answer_is_a_swipe_away(shown) -> None:
    shown.page.set_viewport_size({"width": 390, "height": 800})
    compare(shown, "Two samples")
    shown.ask("small")
    both(shown)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert shown.page.evaluate(
        "(() => { const c = document.querySelector('.columns'); return c.scrollWidth > c.clientWidth; })()"
    )


def test_a_choice_that_is_pressed_twice_is_one(compared) -> None:
    page = compared.page
    page.evaluate("for (const one of ['left', 'left', 'right']) document.querySelector(`[data-choice=${one}]`).click()")
    expect(page.locator(".row.assistant .by")).to_be_visible()
    expect(page.locator(".toast")).to_have_count(1)
    assert [one["choice"] for one in compared.gateway.comparisons] == ["left"]


def test_a_choice_that_the_gateway_refused_can_be_made_again(compared) -> None:
    page = compared.page
    compared.gateway.before_it = (503, "<h1>Busy</h1>")
    page.click("[data-choice=left]")
    expect(page.locator(".toast")).to_contain_text("could not do this")
    compared.gateway.before_it = None
    page.click("[data-choice=left]")
    expect(page.locator(".row.assistant .by")).to_be_visible()
    assert len(compared.gateway.comparisons) == 1


def test_a_choice_that_was_made_in_another_tab_is_made_here_too(compared) -> None:
    page = compared.page
    page.wait_for_url(re.compile(r"\?c="))
    other = compared.context.new_page()
    other.goto(page.url)
    expect(other.locator(".choose")).to_be_visible()
    page.click("[data-choice=left]")
    expect(page.locator(".row.assistant .by")).to_be_visible()
    other.click("[data-choice=right]")
    expect(other.locator(".row.assistant .by")).to_be_visible()
    assert other.locator(".row.assistant .md").inner_text() == page.locator(".row.assistant .md").inner_text()
    assert len(compared.gateway.comparisons) == 1
