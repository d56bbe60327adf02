"""Turning to another conversation, or away from the chat, while something is under way. In a real Chromium."""

import re

from playwright.sync_api import expect
from support.fake_chat_gateway import Script
from support.open_pages import loses_one


def held(*, first_pause: float = 0.0) -> Script:
    """An answer that waits after three words until the test releases it."""
    words = [f"w{n} " for n in range(30)]
    return Script(thought=[], response=words, pause=0.005, hold_at=(3,), first_pause=first_pause)


def recorded(shown, question: str, words: str) -> None:
    """Wait until the gateway has the whole answer to `question`."""
    for _ in range(600):
        for talk in list(shown.gateway.conversations.values()):
            texts = [one["content"] for one in talk["messages"]]
            if question in texts and words in texts[-1]:
                return
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"no answer to {question!r} with {words!r} was recorded")


def test_an_answer_stays_in_its_conversation_when_the_page_turns_to_another(shown) -> None:
    page = shown.page
    shown.ask("about soup")
    shown.answered()
    soup = page.url
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    shown.gateway.script = held()
    shown.ask("about rice")
    expect(page.locator(".row.live .md")).to_contain_text("w2")
    rice = page.url
    page.click(".item:has-text('about soup') a")
    expect(page.locator(".row.user .bubble")).to_have_text("about soup")
    shown.gateway.release()
    recorded(shown, "about rice", "w29")
    expect(page.locator(".item", has_text="about rice")).to_be_visible()  # what ended elsewhere is listed
    assert page.url == soup
    assert page.locator(".row").count() == 2
    expect(page.locator(".row.assistant .md")).to_contain_text("a plan")
    shown.gateway.script = Script(response=["more soup"])
    shown.ask("and then?")
    shown.answered(2)
    assert shown.gateway.asked[-1]["messages"][0]["content"] == "about soup"
    assert page.url == soup
    page.goto(rice)
    shown.answered(1)
    expect(page.locator(".row.assistant .md")).to_contain_text("w29")


def test_coming_back_finds_the_answer_that_is_being_written(shown) -> None:
    page = shown.page
    shown.gateway.script = held()
    shown.ask("about rice")
    expect(page.locator(".row.live .md")).to_contain_text("w2")
    page.wait_for_url(re.compile(r"\?c="))
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator("body.answering")).to_have_count(0)
    page.go_back()
    expect(page.locator(".row.live .md")).to_contain_text("w2")
    shown.gateway.release()
    shown.answered()
    expect(page.locator(".row.assistant .md")).to_contain_text("w29")
    assert page.locator(".row").count() == 2
    assert len(shown.gateway.asked) == 1


def test_the_training_page_keeps_its_address_when_the_conversation_gets_one(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(thought=[], response=["done"], first_pause=1.0)
    shown.ask("hello")
    page.click("#tab-training")
    expect(page.locator(".live-card")).to_be_visible()
    page.wait_for_function("() => ruminate.place() && !ruminate.answering()")
    assert page.url.endswith("?view=training")
    page.go_back()
    expect(page.locator(".row.assistant .md")).to_have_text("done")
    assert re.search(r"\?c=\w+$", page.url)
    page.click("#tab-training")
    page.click("#tab-chat")
    assert re.search(r"\?c=\w+$", page.url)
    assert page.locator(".row").count() == 2


def test_a_new_chat_begins_also_where_nothing_is_kept(shown) -> None:
    page = shown.page
    shown.gateway.consent = "none"
    shown.ask("first")
    shown.answered()
    page.click("#tab-training")
    page.click("#tab-chat")
    expect(page.locator(".row")).to_have_count(2)  # a look elsewhere loses nothing
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator(".row")).to_have_count(0)
    shown.ask("second")
    shown.answered()
    assert [one["content"] for one in shown.gateway.asked[-1]["messages"]] == ["second"]


def test_a_new_chat_begins_after_a_first_message_that_was_refused(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(refuse=(503, "no engine is ready; it is starting"))
    shown.ask("hello")
    expect(page.locator(".note.failed")).to_be_visible()
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator(".row")).to_have_count(0)


def test_a_message_that_is_sent_before_its_conversation_is_there_waits_for_it(shown) -> None:
    page = shown.page
    for number, words in enumerate(("about soup", "about rice"), start=1):
        page.click("#new")
        expect(page.locator("#welcome")).to_be_visible()
        shown.ask(words)
        shown.answered()
        expect(page.locator(".item")).to_have_count(number)
    shown.gateway.slow = 1.0
    page.click(".item:has-text('about soup') a")
    shown.ask("and then?")
    shown.answered(2)
    assert [one["content"] for one in shown.gateway.asked[-1]["messages"]][::2] == ["about soup", "and then?"]
    expect(page.locator(".row.user .bubble")).to_have_text(["about soup", "and then?"])


def test_a_suggestion_that_is_taken_while_the_page_begins_is_sent_once_it_can_be(shown) -> None:
    page = shown.page
    shown.gateway.slow_me = 1.0
    page.goto(shown.url)
    page.click("#suggestions button:has-text('history of tea')")
    assert page.evaluate("ruminate.loading()")
    shown.answered()
    assert shown.gateway.asked[-1]["messages"][0]["content"] == "Outline a talk about the history of tea."
    expect(page.locator("#message")).to_have_value("")


def test_a_conversation_whose_asking_was_lost_is_asked_for_again(shown) -> None:
    page = shown.page
    shown.ask("about soup")
    shown.answered()
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    page.evaluate("ruminate.patience = 300")
    lost = loses_one(page)
    page.click(".item:has-text('about soup') a")
    page.fill("#message", "and then?")
    page.press("#message", "Enter")
    shown.answered(2)
    assert len(lost) == 1
    expect(page.locator(".row.user .bubble")).to_have_text(["about soup", "and then?"])


def test_a_page_whose_server_dies_while_it_turns_says_so(shown) -> None:
    page = shown.page
    shown.ask("about soup")
    shown.answered()
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    shown.context.route("**/*", lambda route: route.abort())
    page.click(".item:has-text('about soup') a")
    expect(page.locator("#lost")).to_be_visible()
    page.evaluate("window.before = true")
    shown.context.unroute("**/*")
    page.wait_for_function("() => !window.before && window.ruminate?.me?.consent")
    expect(page.locator(".row.user .bubble")).to_have_text("about soup")


def test_the_branch_that_was_chosen_outlives_a_reload_and_is_what_is_exported(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    shown.gateway.script = Script(response=["another answer"])
    page.click("[data-do=again]")
    shown.answered()
    expect(page.locator(".stepper")).to_have_text("2/2")
    page.click("[data-do=back]")
    expect(page.locator(".stepper")).to_have_text("1/2")
    page.reload()
    expect(page.locator(".stepper")).to_have_text("1/2")
    expect(page.locator(".row.assistant .md")).to_contain_text("a plan")
    page.hover(".item")
    page.click(".item button")
    with page.expect_download() as download:
        page.click(".menu button:has-text('Export Markdown')")
    text = download.value.path().read_text()
    assert "a **plan**" in text
    assert "another answer" not in text
