"""What stands around a conversation: its title, that another one is on its way, the settings; in a real Chromium."""

import re
from pathlib import Path

import httpx
from playwright.sync_api import Locator, expect
from support.fake_chat_gateway import Script

from ui.words import load_words


def middle(of: Locator) -> float:
    box = of.bounding_box()
    assert box is not None
    return box["y"] + box["height"] / 2


def test_the_title_of_the_conversation_stands_on_top(shown) -> None:
    page = shown.page
    title = page.locator("#talk-title")
    expect(title).to_be_empty()
    shown.ask("three dinners for two")
    shown.answered()
    expect(title).to_have_text("three dinners for two")
    page.click("#tab-training")
    expect(title).to_be_hidden()
    page.click("#tab-chat")
    page.click("#new")
    expect(title).to_be_empty()


def test_while_another_conversation_is_on_its_way_the_page_says_so(shown) -> None:
    page = shown.page
    shown.ask("the first")
    shown.answered()
    page.click("#new")
    shown.ask("the second")
    shown.answered()
    view = page.locator("#view-chat")
    expect(view).to_have_attribute("aria-busy", "false")
    shown.gateway.slow = 1.5
    page.locator(".item a", has_text="the first").click()
    expect(view).to_have_attribute("aria-busy", "true")
    expect(page.locator(".row.user .bubble")).to_have_text("the second")
    expect(page.locator(".row.user .bubble")).to_have_text("the first")
    expect(view).to_have_attribute("aria-busy", "false")


def test_what_is_recorded_is_said_once_on_a_fresh_page_and_at_the_side_later(shown) -> None:
    page = shown.page
    expect(page.locator("#trust-welcome")).to_contain_text("used to train")
    expect(page.locator("#trust")).to_be_hidden()
    shown.ask("hello")
    shown.answered()
    expect(page.locator("#trust")).to_be_visible()


def test_settings_name_the_account_and_say_why_a_chat_is_not_learnt_from(shown) -> None:
    page = shown.page
    page.click("#settings")
    dialog = page.locator("dialog.settings")
    expect(dialog).to_contain_text("Account: local")
    learn, why = dialog.get_by_label("Learn from this chat"), dialog.locator("#learn-why-not")
    expect(learn).to_be_enabled()
    expect(why).to_be_hidden()
    page.check("dialog input[value=history]")
    expect(learn).to_be_disabled()
    expect(why).to_have_text("Nothing of yours is learnt from, as you chose above.")
    close, heading = dialog.locator(".dialog-head button"), dialog.locator(".dialog-head h2")
    assert abs(middle(close) - middle(heading)) < 2
    assert abs(middle(learn) - middle(dialog.locator(".check"))) < 2


def test_how_long_it_thought_is_told_after_a_reload_too(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(thought=["so "] * 12, pause=0.1)
    shown.ask("hello")
    shown.answered()
    page.reload()
    expect(page.locator(".thought-label")).to_have_text("Thought for 1.2 s, 12 tokens")


def test_a_link_to_the_page_is_previewed_as_the_houses_own(served) -> None:
    """By those who read the page's head and run no scripts; nothing in it says Gradio, or has them fetch a picture."""
    head = httpx.get(served.url).text.partition("</head>")[0]
    told = dict(re.findall(r'<meta (?:name|property)="((?:og|twitter):\w+|description)" content="([^"]*)"', head))
    about = load_words("en")("about")
    assert told == {
        "description": about,
        "og:type": "website",
        "og:title": "Ruminate",
        "og:description": about,
        "twitter:card": "summary",
    }
    assert head.count("og:") == 3
    assert "<title>Ruminate</title>" in head


def test_a_tab_of_the_browser_bears_the_pages_own_mark(served) -> None:
    reply = httpx.get(f"{served.url}/favicon.ico")
    assert reply.headers["content-type"].startswith("image/svg+xml")
    assert reply.content == (Path(__file__).parents[2] / "ui" / "static" / "mark.svg").read_bytes()
