"""People before the real gateway and engine: signing in, keeping apart, any screen, the keyboard, axe-core."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect
from support.axe import check
from support.real_page import ASK, PATIENCE_MS, READY, Behind, Person

FITS = """() => [document.documentElement, ...document.querySelectorAll('.scroll')]
  .every((one) => one.scrollWidth <= innerWidth)"""


def test_a_key_is_asked_for_and_two_people_see_nothing_of_each_other(behind: Behind, chromium: Browser) -> None:
    pages, names = {}, {}
    for words in ("between ann and me", "between ben and me"):
        name, key = behind.user()
        context = chromium.new_context()
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(behind.url)
        page.fill("dialog.signin input", key[:-1] + ("a" if key[-1] != "a" else "b"))
        page.click("dialog.signin .primary")
        expect(page.locator("dialog.signin .failed")).to_contain_text("does not accept this key")
        page.fill("dialog.signin input", key)
        page.click("dialog.signin .primary")
        page.wait_for_function(READY)
        page.fill("#message", words)
        page.press("#message", "Enter")
        expect(page.locator(".row.assistant .by")).to_be_visible()
        assert key not in page.content()
        cookie = next(one for one in context.cookies() if one["name"] == "ruminate_browser")
        assert cookie["httpOnly"]
        assert key not in cookie["value"]
        pages[words], names[words] = page, name
    addresses = {words: page.url for words, page in pages.items()}
    for words, page in pages.items():
        other = next(one for one in pages if one != words)
        expect(page.locator(".item")).to_have_count(1)
        (turn,) = behind.turns(names[words])  # asked with this person's own key
        assert f"c={turn.conversation_id}" in addresses[words]
        page.goto(addresses[other])
        expect(page.locator(".toast")).to_contain_text("does not exist, or it is not yours")
        assert other not in page.content()
        page.fill("#search", other)
        expect(page.locator("#conversations .quiet")).to_have_text("No conversation matches.")
        page.goto(addresses[words])
        expect(page.locator(".row.user .bubble")).to_have_text(words)
        page.click("#settings")
        page.click("dialog button:has-text('Sign out')")
        expect(page.locator("dialog.signin")).to_be_visible()
        expect(page.locator(".row")).to_have_count(0)
        page.context.close()


def test_a_conversation_is_held_with_the_keyboard_alone(behind: Behind, ann: Person) -> None:
    page = ann.page
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("Plan a dinner.")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("No nuts.")
    behind.slowly()
    page.keyboard.press("Enter")
    expect(page.locator(".row.live .thought-text")).not_to_be_empty()
    page.keyboard.press("Escape")
    ann.answered()
    expect(page.locator(".note")).to_contain_text("You stopped this before there was an answer.")
    behind.fast()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".editor textarea")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type(ASK)
    page.keyboard.press("Enter")
    ann.answered()
    expect(page.locator(".row.user .bubble")).to_have_text(ASK)
    expect(page.locator(".item")).to_have_count(1)

    def reach(selector: str) -> None:
        """By Tab and Shift+Tab from where one is."""
        for _ in range(60):
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
            page.keyboard.press("Shift+Tab")
        raise AssertionError(f"{selector} is not reached by the keyboard")

    reach("[data-do=bad]")
    page.keyboard.press("Enter")
    expect(page.locator(".why")).to_be_visible()
    reach(".thought summary")
    page.keyboard.press("Enter")
    expect(page.locator(".thought-text")).to_be_visible()
    page.keyboard.press("Control+k")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".item a")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".menu button").first).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("of heaters")
    page.keyboard.press("Enter")
    expect(page.locator(".item a")).to_have_text("of heaters")
    page.keyboard.press("Control+Shift+O")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator("#message")).to_be_focused()
    (talk,) = ann.api.get("/api/conversations")["data"]
    assert talk["title"] == "of heaters"


def test_on_a_phone_nothing_is_wider_than_the_screen(behind: Behind, people: Callable[..., Person]) -> None:
    person = people("admin")
    page = person.page
    page.set_viewport_size({"width": 360, "height": 740})
    person.ask()
    person.answered()
    assert page.evaluate(FITS)
    page.click("#menu")
    expect(page.locator("#side")).to_be_visible()
    page.click(".item a")
    expect(page.locator("#side")).to_be_hidden()
    page.click("#options")
    page.click("#options-panel [data-thoughts=open]")
    expect(page.locator(".thought-text")).to_be_visible()
    page.click("[data-option=compare] label:has-text('Two samples')")
    page.keyboard.press("Escape")
    person.ask("Plan a dinner.")
    expect(page.locator(".choose")).to_be_visible()
    assert page.evaluate(FITS)
    page.click("[data-choice=tie]")
    expect(page.locator(".pair")).to_have_count(0)
    page.click("#tab-training")
    row = page.locator("tr", has=page.locator("a[href='?round=1']")).first
    expect(row.locator("td[data-label=Took]")).to_be_visible()
    assert page.evaluate(FITS)
    page.goto(f"{behind.url}/?checkpoint={behind.published}")
    expect(page.locator(".facts")).to_be_visible()
    assert page.evaluate(FITS)


def test_light_and_dark_follow_the_system_until_one_chooses(people: Callable[..., Person]) -> None:
    person = people(color_scheme="dark")
    page, html = person.page, person.page.locator("html")
    expect(html).to_have_attribute("data-theme", "dark")
    page.emulate_media(color_scheme="light")
    expect(html).to_have_attribute("data-theme", "light")
    page.click("#theme")
    expect(html).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(html).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize("look", ["light", "dark phone"])
def test_axe_has_no_serious_finding(behind: Behind, people: Callable[..., Person], look: str) -> None:
    """Each look by itself: test_ui_axe.py."""
    scheme = "dark" if look == "dark phone" else "light"
    person = people("admin", color_scheme=scheme, reduced_motion="reduce")
    page = person.page
    if look == "dark phone":
        page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator("html")).to_have_attribute("data-theme", scheme)
    check(page, "welcome")
    behind.slowly()
    person.ask()
    expect(page.locator(".row.live .thought-text")).not_to_be_empty()
    check(page, "thinking")
    behind.fast()
    person.answered()
    page.click(".thought summary")
    page.click("[data-do=bad]")
    expect(page.locator(".item a")).to_have_count(1)
    check(page, "answered")
    person.compare("Two samples")
    person.ask("Plan a dinner.")
    expect(page.locator(".choose")).to_be_visible()
    check(page, "choosing")
    page.click("[data-choice=left]")
    expect(page.locator(".chosen")).to_be_visible()
    check(page, "chosen")
    page.click("#settings")
    check(page, "settings")
    page.keyboard.press("Escape")
    page.click("#tab-training")
    expect(page.locator(".live-card")).to_be_visible()
    check(page, "training")
    for place, shown in (("round=1", "Round 1"), (f"checkpoint={behind.published}", "Checkpoint")):
        page.evaluate("place => ruminate.go(Object.fromEntries(new URLSearchParams(place)))", place)
        expect(page.locator("#training h1", has_text=re.compile(shown))).to_be_visible()
        check(page, place)
