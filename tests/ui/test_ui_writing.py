"""Other scripts than Latin, input methods, and hands that have a keyboard alone."""

import pytest
from playwright.sync_api import expect
from support.fake_chat_gateway import Script

KEY = """([place, key, composing]) => { const node = document.querySelector(place);
  node.focus();
  const given = composing === 'safari' ? {keyCode: 229} : {isComposing: true};
  node.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true, ...given})); }"""
STYLE = "(node, name) => getComputedStyle(node)[name]"
ARABIC = "مرحبا، هذا مثال:\n\n- أولاً `x = 1;`\n\n```js\nif (x) { y({'يوم': 'حساء'}); }\n```\n\nAnd in English."


@pytest.mark.parametrize("browser", ["chromium", "safari"])
def test_keys_of_an_input_method_do_nothing_else(shown, browser: str) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    address = page.url
    page.click("#new")
    page.fill("#search", "hello")
    for key in ("Enter", "ArrowDown"):
        page.evaluate(KEY, ["#search", key, browser])
        expect(page.locator("#search")).to_be_focused()
    assert page.url != address
    page.fill("#search", "")
    page.go_back()
    expect(page.locator(".row.user .bubble")).to_have_text("hello")
    page.fill("#message", "こんにちは")
    page.evaluate(KEY, ["#message", "Enter", browser])
    expect(page.locator("#message")).to_have_value("こんにちは")
    page.hover(".row.user")
    page.click("[data-do=edit]")
    page.fill(".editor textarea", "hello, 世界")
    for key in ("Escape", "Enter"):
        page.evaluate(KEY, [".editor textarea", key, browser])
        expect(page.locator(".editor textarea")).to_have_value("hello, 世界")
    page.click(".editor button:has-text('Cancel')")
    shown.gateway.script = Script(thought=[], response=["w "] * 40, pause=0.1)
    page.press("#message", "Enter")
    expect(page.locator(".row.live .md")).to_contain_text("w")
    page.evaluate(KEY, ["#message", "Escape", browser])
    shown.answered(2)
    expect(page.locator(".note:visible")).to_have_count(0)
    assert len(shown.gateway.asked) == 2


def test_escape_that_empties_the_search_stops_no_answer(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(thought=[], response=["w "] * 30, pause=0.1)
    shown.ask("hello")
    expect(page.locator(".row.live .md")).to_contain_text("w")
    page.fill("#search", "soup")
    page.press("#search", "Escape")
    shown.answered()
    expect(page.locator(".note:visible")).to_have_count(0)


@pytest.mark.parametrize("grown", [True, False], ids=["as it was written", "after a reload"])
def test_code_and_english_within_arabic_run_from_left_to_right(shown, grown: bool) -> None:
    page = shown.page
    shown.gateway.script = Script(thought=["أفكر في السؤال"], response=[ARABIC])
    shown.ask("مرحبا")
    shown.answered()
    if not grown:
        page.reload()
        shown.answered()
    answer = page.locator(".row.assistant")
    assert answer.locator(".md").evaluate(STYLE, "direction") == "rtl"
    assert answer.locator("pre").evaluate(STYLE, "direction") == "ltr"
    assert answer.locator("li code").evaluate(STYLE, "direction") == "ltr"
    assert answer.locator("li code").evaluate(STYLE, "unicodeBidi") == "isolate"
    day, soup = (one.bounding_box() for one in answer.locator("pre .s1").all())
    assert day["x"] + day["width"] < soup["x"]
    answer.locator(".thought summary").click()
    expect(answer.locator(".thought-text")).to_have_css("direction", "rtl")
    assert answer.locator("ul").evaluate(STYLE, "paddingRight") == "24px"
    assert answer.locator("ul").evaluate(STYLE, "paddingLeft") == "0px"
    left = "node => { const words = document.createRange(); words.selectNodeContents(node);"
    left += " return words.getBoundingClientRect().left - node.getBoundingClientRect().left; }"
    assert answer.locator("p", has_text="And in English").evaluate(left) < 2
    assert answer.locator("p").first.evaluate(left) > 100
    expect(page.locator(".item a span")).to_have_css("direction", "rtl")


def test_the_button_of_code_keeps_its_name_however_often_it_is_pressed(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(response=["```js\nx\n```"])
    shown.ask("code")
    shown.answered()
    button = page.locator("[data-do=copy-code]")
    button.click()
    page.wait_for_timeout(500)
    button.click()
    expect(page.locator("#announcer")).to_have_text("Copied")
    page.wait_for_timeout(2500)
    expect(button).to_have_attribute("aria-label", "Copy")


def test_who_steps_between_branches_by_keyboard_goes_on_from_there(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    for answer in ("second", "third"):
        shown.gateway.script = Script(response=[answer])
        page.click("[data-do=again]")
        shown.answered()
    page.focus("[data-do=back]")
    page.keyboard.press("Enter")
    expect(page.locator(".stepper")).to_have_text("2/3")
    expect(page.locator("[data-do=back]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".stepper")).to_have_text("1/3")
    expect(page.locator("[data-do=forth]")).to_be_focused()
