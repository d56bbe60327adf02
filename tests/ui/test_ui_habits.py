"""What people are used to from other chats: drafts, shortcuts, dropped files, long messages, a lost connection."""

import re

import pytest
from playwright.sync_api import expect
from support.fake_chat_gateway import FakeGateway, Script, serving

DROP = """([name, text]) => { const data = new DataTransfer();
  data.items.add(new File([text], name, {type: 'text/plain'}));
  const view = document.querySelector('#view-chat');
  for (const kind of ['dragover', 'drop'])
    view.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true})); }"""


def test_a_draft_outlives_a_reload_and_a_look_at_another_conversation(shown) -> None:
    page = shown.page
    shown.ask("first talk")
    shown.answered()
    expect(page.locator("#message")).to_have_value("")
    page.fill("#message", "half a thou")
    page.reload()
    expect(page.locator("#message")).to_have_value("half a thou")
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator("#message")).to_have_value("")
    page.fill("#message", "another")
    page.go_back()
    expect(page.locator("#message")).to_have_value("half a thou")
    page.click("#new")
    expect(page.locator("#message")).to_have_value("another")


def test_what_the_server_does_not_take_comes_back_into_the_box(shown, chromium) -> None:
    page = shown.page
    shown.gateway.script = Script(thought=["hm "] * 500, pause=0.2)
    shown.ask("one")
    page.wait_for_url(re.compile(r"\?c="))
    other = shown.context.new_page()
    other.goto(page.url)
    expect(other.locator("body.answering")).to_have_count(1)
    other.evaluate("document.body.classList.remove('answering')")
    other.fill("#message", "two")
    other.evaluate("ruminate.draftSent(); ruminate.ask({do: 'send', text: 'two', files: [], pictures: []})")
    expect(other.locator(".note.failed")).to_contain_text("being answered already")
    expect(other.locator("#message")).to_have_value("two")
    page.keyboard.press("Escape")


def test_a_closed_tab_finds_its_answer_when_it_opens_again(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(thought=[], response=[f"w{n} " for n in range(80)], pause=0.05)
    shown.ask("hello")
    page.wait_for_url(re.compile(r"\?c="))
    expect(page.locator(".row.live .md")).to_contain_text("w2 ")
    address = page.url
    page.close()
    again = shown.context.new_page()
    again.goto(address)
    expect(again.locator(".row.live .md")).to_contain_text("w4 ")
    expect(again.locator(".row.assistant:not(.live) .md")).to_contain_text("w79")
    assert len(shown.gateway.asked) == 1


def test_a_server_that_is_gone_is_told_and_the_page_comes_back_with_it(shown) -> None:
    page = shown.page
    shown.ask("first")
    shown.answered()
    shown.context.set_offline(True)
    expect(page.locator("#lost")).to_contain_text("The connection to the server was lost.")
    page.fill("#message", "are you there?")
    page.press("#message", "Enter")
    expect(page.locator(".toast")).to_contain_text("was lost")
    expect(page.locator("#message")).to_have_value("are you there?")
    page.hover(".row.user")
    page.click("[data-do=edit]")
    page.fill(".editor textarea", "first, but better")
    page.press(".editor textarea", "Enter")
    expect(page.locator(".editor textarea")).to_have_value("first, but better")
    page.evaluate("window.before = true")
    shown.context.set_offline(False)
    page.wait_for_function("() => !window.before && window.ruminate?.me?.consent")
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator(".row.assistant .md")).to_contain_text("a plan")
    expect(page.locator("#message")).to_have_value("are you there?")


def test_a_very_long_message_is_folded_until_one_asks_for_all_of_it(shown) -> None:
    page = shown.page
    text = "\n".join(f"line {n}" for n in range(400))
    page.fill("#message", text)
    assert page.locator("#message").bounding_box()["height"] <= 240
    page.press("#message", "Enter")
    shown.answered()
    bubble = page.locator(".row.user .bubble")
    assert bubble.bounding_box()["height"] < 450
    page.click("text=Show all")
    assert bubble.bounding_box()["height"] > 4000
    page.click("text=Show less")
    assert bubble.bounding_box()["height"] < 450
    assert shown.gateway.asked[-1]["messages"][0]["content"] == text


def test_a_dropped_file_is_attached(shown) -> None:
    page = shown.page
    page.evaluate(DROP, ["soup.md", "# Soup"])
    expect(page.locator("#files li")).to_contain_text("soup.md")
    shown.ask("what?")
    shown.answered()
    assert shown.gateway.asked[-1]["messages"][0]["content"].startswith("File: soup.md\n```\n# Soup")


def test_shortcuts_work_and_are_listed(shown) -> None:
    page = shown.page
    shown.ask("first talk")
    shown.answered()
    expect(page.locator(".item")).to_have_count(1)
    page.keyboard.press("Control+k")
    page.keyboard.type("first")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".item a")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Control+Shift+O")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.press("Control+Shift+S")
    expect(page.locator("#side")).to_be_hidden()
    page.keyboard.press("Control+/")
    expect(page.locator("dialog.keys")).to_contain_text("Search conversations")
    page.keyboard.press("Escape")
    expect(page.locator("dialog.keys")).to_have_count(0)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.type("hi")
    expect(page.locator("#message")).to_have_value("hi")


def test_a_conversation_is_held_with_the_keyboard_alone(shown) -> None:
    page = shown.page
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("soup")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("or rice?")
    page.keyboard.press("Enter")
    shown.answered()
    expect(page.locator(".row.user .bubble")).to_have_text(re.compile(r"^soup\s+or rice\?$"))
    page.keyboard.press("ArrowUp")
    expect(page.locator(".editor textarea")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#message")).to_be_focused()
    page.focus(".thought summary")
    page.keyboard.press("Enter")
    expect(page.locator(".thought-text")).to_be_visible()
    expect(page.locator(".item")).to_have_count(1)
    page.focus(".item .icon-button")
    page.keyboard.press("Enter")
    expect(page.locator(".menu button").first).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("winter")
    page.keyboard.press("Enter")
    expect(page.locator(".item a")).to_have_text("winter")
    expect(page.locator(".item .icon-button")).to_be_focused()


def test_light_and_dark_are_a_choice_that_is_remembered(shown) -> None:
    page = shown.page
    html = page.locator("html")
    expect(html).to_have_attribute("data-theme", "light")
    page.click("#theme")
    expect(html).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(html).to_have_attribute("data-theme", "dark")


def test_on_a_phone_nothing_is_wider_than_the_screen(shown) -> None:
    page = shown.page
    page.set_viewport_size({"width": 360, "height": 700})
    shown.gateway.script = Script(response=["| a | b |\n|--|--|\n", f"| {'wide' * 40} | c |\n\n", "x" * 300])
    shown.ask("y" * 200)
    shown.answered()
    parts = "[document.documentElement, document.querySelector('#scroll')]"
    fits = f"() => {parts}.every((one) => one.scrollWidth <= innerWidth)"
    assert page.evaluate(fits)
    page.click("#menu")
    expect(page.locator("#side")).to_be_visible()
    page.click(".item a")
    expect(page.locator("#side")).to_be_hidden()


def test_copying_works_without_a_secure_address(shown) -> None:
    page = shown.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.ask("hello")
    shown.answered()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    page.click(".row.assistant [data-do=copy]")
    expect(page.locator("#announcer")).to_have_text("Copied")
    page.evaluate("delete navigator.clipboard")
    assert page.evaluate("navigator.clipboard.readText()").startswith("Here is a **plan**")


def test_feedback_opens_in_sight(shown) -> None:
    page = shown.page
    page.set_viewport_size({"width": 800, "height": 500})
    shown.gateway.script = Script(response=["word\n\n"] * 30)
    shown.ask("hello")
    shown.answered()
    page.click("[data-do=bad]")
    asked, box = page.locator(".why").bounding_box(), page.locator("#composer").bounding_box()
    assert asked["y"] + asked["height"] <= box["y"]


def test_another_training_page_begins_at_its_top(shown) -> None:
    page = shown.page
    page.click("#tab-training")
    link = page.locator("a[href='?checkpoint=v1']").last
    link.scroll_into_view_if_needed()
    link.click()
    expect(page.locator("h1", has_text="Checkpoint v1")).to_be_in_viewport()


def test_two_people_see_nothing_of_each_other(chromium) -> None:
    from ui.app import create_app
    from ui.settings import UiSettings

    gateways = {key: FakeGateway(key=key) for key in ("rk-ann", "rk-ben")}
    with serving(by_key(gateways)) as address, serving(create_app(UiSettings(gateway=address))) as url:
        pages = {}
        for key in gateways:
            page = chromium.new_context().new_page()
            page.goto(url)
            page.fill("dialog.signin input", key)
            page.click("dialog.signin .primary")
            page.wait_for_function("() => window.ruminate?.me?.consent")
            page.fill("#message", f"only {key} may read this")
            page.press("#message", "Enter")
            expect(page.locator(".row.assistant .by")).to_be_visible()
            pages[key] = page
        addresses = {key: page.url for key, page in pages.items()}
        for key, page in pages.items():
            other = next(name for name in gateways if name != key)
            expect(page.locator(".item")).to_have_count(1)
            assert [asked["messages"][0]["content"] for asked in gateways[key].asked] == [f"only {key} may read this"]
            page.goto(addresses[other])
            expect(page.locator(".toast")).to_contain_text("does not exist, or it is not yours")
            assert f"only {other}" not in page.content()
            page.context.close()


def by_key(gateways: dict[str, FakeGateway]):
    """One address in front of a gateway for each key: people share a server and none of its memory."""

    async def app(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            await gateways["rk-ann"].app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        await gateways.get(said, gateways["rk-ann"]).app(scope, receive, send)

    return app


@pytest.mark.parametrize("text", ["שלום", "مرحبا"])
def test_a_message_from_right_to_left_stands_so(shown, text: str) -> None:
    shown.gateway.script = Script(response=[text])
    shown.ask(text)
    shown.answered()
    for place in (".row.user .bubble", ".row.assistant .md"):
        assert shown.page.locator(place).evaluate("(node) => getComputedStyle(node).direction") == "rtl"
