"""Conversations have places: the side bar, addresses, reloads, tabs, people. In a real Chromium."""

import json
import re
from itertools import pairwise

import pytest
from playwright.sync_api import expect
from support.fake_chat_gateway import FakeGateway, Script, serving

OUTSIDE = re.compile(r"^(?!data:|blob:)")


def test_a_conversation_has_its_address_and_survives_reload_and_back(shown) -> None:
    page = shown.page
    shown.ask("first talk")
    shown.answered()
    first = page.url
    assert re.search(r"\?c=\w+$", first)
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    shown.ask("second talk")
    shown.answered()
    page.go_back()
    expect(page.locator(".row.user .bubble")).to_have_text("first talk")
    assert page.url == first
    page.reload()
    expect(page.locator(".row.user .bubble")).to_have_text("first talk")
    expect(page.locator(".item a[aria-current]")).to_have_text("first talk")


def test_an_answer_goes_on_while_the_page_reloads(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(thought=["hm "] * 20, response=[f"w{n} " for n in range(60)], pause=0.04)
    shown.ask("hello")
    expect(page.locator(".row.live .thought-text")).to_contain_text("hm")
    page.wait_for_url(re.compile(r"\?c="))
    page.reload()
    expect(page.locator(".row.live .md")).to_contain_text("w2 ")
    shown.answered()
    expect(page.locator(".row.assistant .md")).to_contain_text("w59")
    assert page.locator(".row").count() == 2
    assert len(shown.gateway.asked) == 1
    assert shown.gateway.cancelled == 0


def test_the_side_bar_searches_renames_pins_exports_and_deletes(shown) -> None:
    page = shown.page
    for number, title in enumerate(("soup recipes", "a letter to Ann"), start=1):
        page.click("#new")
        expect(page.locator("#welcome")).to_be_visible()
        shown.ask(title)
        shown.answered()
        expect(page.locator(".item")).to_have_count(number)
    page.fill("#search", "soup")
    expect(page.locator(".item")).to_have_count(1)
    page.fill("#search", "")

    def choose(words: str) -> None:
        item = page.locator(".item", has_text="soup")
        item.hover()
        item.locator("button").click()
        page.locator(".menu button", has_text=words).click()

    choose("Rename")
    page.fill("dialog input", "winter soups")
    page.press("dialog input", "Enter")
    expect(page.locator(".item", has_text="winter soups")).to_be_visible()
    choose("Pin")
    expect(page.locator(".item").first).to_have_text("winter soups")
    with page.expect_download() as download:
        choose("Export Markdown")
    text = download.value.path().read_text()
    assert "# winter soups" in text
    assert "> step 1 of the plan" in text
    with page.expect_download() as download:
        choose("Export JSON")
    assert [one["role"] for one in json.loads(download.value.path().read_text())["messages"]] == ["user", "assistant"]
    choose("Delete")
    page.click("dialog [value=yes]")
    expect(page.locator(".item")).to_have_count(1)
    assert [one["title"] for one in shown.gateway.conversations.values()] == ["a letter to Ann"]


def test_two_tabs_do_not_disturb_each_other(shown) -> None:
    one, two = shown.page, shown.context.new_page()
    two.goto(shown.url)
    two.wait_for_function("() => window.ruminate?.me?.consent")
    shown.gateway.script = Script(pause=0.04)
    one.fill("#message", "from one")
    two.fill("#message", "from two")
    one.press("#message", "Enter")
    two.press("#message", "Enter")
    for page, words in ((one, "from one"), (two, "from two")):
        expect(page.locator(".row.assistant .by")).to_be_visible()
        expect(page.locator(".row.user .bubble")).to_have_text(words)
    assert one.url != two.url
    assert len(shown.gateway.conversations) == 2


def test_the_page_says_what_is_recorded_and_consent_can_be_changed(shown) -> None:
    page = shown.page
    expect(page.locator("#trust")).to_contain_text("used to train the next version")
    page.click("#trust-welcome button")
    page.check("dialog input[value=history]")
    expect(page.locator("#trust")).to_contain_text("they train nothing")
    assert shown.gateway.consent == "history"
    assert page.locator("dialog input[type=checkbox]").count() == 1
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_choices_of_consent_stand_one_under_another_inside_their_dialog(shown, width: int) -> None:
    page = shown.page
    page.set_viewport_size({"width": width, "height": 800})
    page.click("#settings")
    dialog = page.locator("dialog.settings").bounding_box()
    boxes = [option.bounding_box() for option in page.locator("dialog.settings .option").all()]
    assert len(boxes) == 3
    for upper, lower in pairwise(boxes):
        assert upper["y"] + upper["height"] <= lower["y"]
    for box in boxes:
        assert box["height"] > 40
        assert dialog["x"] <= box["x"]
        assert box["x"] + box["width"] <= dialog["x"] + dialog["width"]


def test_one_conversation_can_be_kept_out_of_training(shown) -> None:
    page = shown.page
    page.click("#settings")
    page.uncheck("dialog input[type=checkbox]")
    page.keyboard.press("Escape")
    shown.ask("between us")
    shown.answered()
    assert shown.gateway.asked[-1]["ruminate"]["consent"] == "history"
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    shown.ask("learn this")
    shown.answered()
    assert "consent" not in shown.gateway.asked[-1]["ruminate"]


def test_a_conversation_that_has_begun_is_taken_out_of_training_and_let_in_again(shown) -> None:
    page = shown.page
    shown.ask("learn this")
    shown.answered()
    (talk,) = shown.gateway.conversations.values()
    for count, consent in ((2, "history"), (3, None)):
        page.click("#settings")
        page.set_checked("dialog input[type=checkbox]", consent is None)
        page.keyboard.press("Escape")
        shown.ask(f"question {count}")
        shown.answered(count)
        assert talk["consent"] == consent
        assert shown.gateway.asked[-1]["ruminate"].get("consent") == consent
        page.reload()
        shown.answered(count)
        page.click("#settings")
        expect(page.locator("dialog input[type=checkbox]")).to_be_checked(checked=consent is None)
        page.keyboard.press("Escape")


def test_delete_my_data_does(shown) -> None:
    page = shown.page
    shown.ask("forget me")
    shown.answered()
    page.click("#settings")
    page.click("dialog .danger-text")
    page.click("dialog.ask [value=yes]")
    expect(page.locator(".item")).to_have_count(0)
    assert ("DELETE", "/api/me/data", None) in shown.gateway.calls
    assert shown.gateway.conversations == {}


def test_ones_data_can_be_taken_along(shown) -> None:
    page = shown.page
    for number in range(2):
        shown.ask(f"keep this, {number}")
        shown.answered()
        page.click("#new")
        expect(page.locator("#welcome")).to_be_visible()
    page.click("#settings")
    with page.expect_download() as download:
        page.click("dialog button:has-text('Download my data')")
    kept = json.loads(download.value.path().read_text())["conversations"]
    assert sorted(talk["messages"][0]["content"] for talk in kept) == ["keep this, 0", "keep this, 1"]


def test_a_conversation_that_is_not_there_is_told_in_a_sentence(shown) -> None:
    shown.page.goto(f"{shown.url}/?c=nothere")
    expect(shown.page.locator(".toast")).to_contain_text("does not exist, or it is not yours")


@pytest.mark.parametrize("name", ["../status", "..", ".", "a/../../status", "%2e%2e"])
def test_an_address_that_is_no_conversations_is_told_in_a_sentence(shown, name: str) -> None:
    page = shown.page
    page.evaluate("name => ruminate.go({ c: name })", name)
    expect(page.locator(".toast")).to_be_visible()
    page.wait_for_function("() => !ruminate.loading()")


def test_a_proxys_page_in_place_of_an_answer_is_told_in_a_sentence(shown) -> None:
    shown.gateway.before_it = (200, "<html><title>Please wait</title></html>")
    shown.page.evaluate("ruminate.go({ c: 'one' })")
    expect(shown.page.locator(".toast")).to_contain_text("could not do this, and did not say why")
    shown.page.wait_for_function("() => !ruminate.loading()")


def test_a_late_beginning_leaves_the_page_where_it_has_gone(shown) -> None:
    page = shown.page
    shown.ask("about soup")
    shown.answered()
    soup = shown.page.evaluate("ruminate.place()")
    shown.gateway.slow_me = 1.0
    del shown.gateway.seen[:]
    page.reload()
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    shown.ask("about rice")
    shown.ready()
    shown.answered()
    assert [one["content"] for one in shown.gateway.asked[-1]["messages"]] == ["about rice"]
    assert f"/api/conversations/{soup}" not in shown.gateway.seen


def test_a_gateway_with_keys_asks_for_one_and_keeps_it_from_the_page(chromium) -> None:
    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway(key="rk-right")
    with serving(gateway.app) as address, serving(create_app(UiSettings(gateway=address))) as url:
        context, stranger = chromium.new_context(), chromium.new_context()
        page = context.new_page()
        page.goto(url)
        page.fill("dialog.signin input", "rk-wrong")
        page.click("dialog.signin .primary")
        expect(page.locator("dialog.signin .failed")).to_contain_text("does not accept this key")
        page.fill("dialog.signin input", "rk-right")
        page.click("dialog.signin .primary")
        expect(page.locator("#trust")).to_contain_text("used to train")
        assert "rk-right" not in page.content()
        cookie = next(one for one in context.cookies() if one["name"] == "ruminate_browser")
        assert cookie["httpOnly"]
        assert "rk-right" not in cookie["value"]
        other = stranger.new_page()
        other.goto(url)
        expect(other.locator("dialog.signin")).to_be_visible()
        page.fill("#message", "between us")
        page.press("#message", "Enter")
        expect(page.locator(".item")).to_have_text("between us")
        page.fill("#message", "half a thought")
        address = page.url
        page.click("#settings")
        page.click("dialog button:has-text('Sign out')")
        expect(page.locator("dialog.signin")).to_be_visible()
        page.goto(address)
        expect(page.locator("dialog.signin")).to_be_visible()
        expect(page.locator(".row")).to_have_count(0)
        assert "between us" not in page.content()
        assert page.input_value("#message") == ""
        context.close()
        stranger.close()


def test_nothing_is_asked_of_any_other_server(chromium, served) -> None:
    served.gateway.reset()
    context = chromium.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text) if "Content Security" in message.text else None)
    page.goto(served.url)
    page.wait_for_function("() => window.ruminate?.me?.consent")
    page.click("#tab-training")
    expect(page.locator("svg.plot").first).to_be_visible()
    context.close()
    outside = [url for url in asked if OUTSIDE.match(url) and not url.startswith(served.url)]
    assert asked
    assert (outside, blocked) == ([], [])
