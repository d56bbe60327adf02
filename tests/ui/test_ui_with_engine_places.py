"""Conversations with the real model have places: side bar, titles, addresses, tabs. With the real gateway's record."""

import json
import re

from playwright.sync_api import expect
from support.real_page import ASK, Behind, Person
from support.waiting import wait_until

from ui.titles import shortened, usable
from ui.words import load_words

WALRUS = "How long does a walrus sleep?"
THOUGHT = "() => document.querySelector('.row.live .thought')?.pending"
"""The thought of the answer that is being written has come: shown, or closed where it has ended already."""


def test_a_conversation_is_named_by_the_model_and_has_its_address(behind: Behind, ann: Person) -> None:
    page = ann.page
    ann.ask()
    ann.answered()
    first = page.url
    assert re.search(r"\?c=[\w-]+$", first)
    title = page.locator(".item a[aria-current]")
    expect(title).not_to_be_empty()
    wait_until(lambda: ann.recorded()["title"], "the conversation got no name")
    (made,) = ann.answers()
    said = ann.api.call("POST", "/v1/chat/completions", asked_for_a_title(made["content"]))
    name = usable(said["choices"][0]["message"]["content"], ASK, made["content"]) or shortened(ASK)
    expect(title).to_have_text(name)  # without chance the model says the same again
    assert ann.recorded()["title"] == name
    (turn, _) = behind.turns(ann.name, "title")
    assert (turn.consent, turn.reasoning, turn.response) == ("none", None, None)
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    ann.ask(WALRUS)
    ann.answered()
    second = page.url
    page.go_back()
    expect(page.locator(".row.user .bubble")).to_have_text(ASK)
    assert page.url == first
    page.reload()
    ann.answered()
    expect(page.locator(".row.user .bubble")).to_have_text(ASK)
    page.go_forward()
    expect(page.locator(".row.user .bubble")).to_have_text(WALRUS)
    assert page.url == second


def asked_for_a_title(answer: str) -> dict:
    ask = load_words("en")("title_ask", question=ASK, answer=answer)
    kept = {"origin": "title", "consent": "none"}
    thinking = {"chat_template_kwargs": {"enable_thinking": False}, "temperature": 0, "max_tokens": 32}
    return {"model": "ruminate", "messages": [{"role": "user", "content": ask}], "ruminate": kept, **thinking}


def test_conversations_are_found_renamed_pinned_exported_and_deleted(ann: Person) -> None:
    page = ann.page
    for number, words in enumerate((WALRUS, ASK), start=1):
        page.click("#new")
        expect(page.locator("#welcome")).to_be_visible()
        ann.ask(words)
        ann.answered()
        expect(page.locator(".item")).to_have_count(number)
    page.fill("#search", "WALRUS")
    expect(page.locator(".item")).to_have_count(1)
    page.press("#search", "Enter")
    expect(page.locator(".row.user .bubble")).to_have_text(WALRUS)
    title = page.locator(".item a span").first.evaluate("node => node.firstChild.data")
    ann.choose(title, "Rename")
    page.fill("dialog input", "of animals")
    page.press("dialog input", "Enter")
    expect(page.locator("#talk-title")).to_have_text("of animals")
    expect(page.locator(".item a small")).to_contain_text("walrus")  # found by what was said, whatever it is called
    page.fill("#search", "")
    expect(page.locator(".item")).to_have_count(2)
    ann.choose("of animals", "Pin")
    expect(page.locator(".item").first).to_have_text("of animals")
    expect(page.locator(".item").first.locator(".icon").first).to_be_visible()
    (made,) = ann.answers()
    with page.expect_download() as download:
        ann.choose("of animals", "Export Markdown")
    markdown = download.value.path().read_text()
    assert markdown.startswith(f"# of animals\n\n## You said\n\n{WALRUS}\n\n## {made['model']}\n\n> ")
    assert all(f"> {line}".rstrip() in markdown for line in made["reasoning"].splitlines())
    assert markdown.endswith(f"{made['content']}\n")
    with page.expect_download() as download:
        ann.choose("of animals", "Export JSON")
    messages = json.loads(download.value.path().read_text())["messages"]
    assert [(one["role"], one["text"], one["thought"]) for one in messages] == [
        ("user", WALRUS, None),
        ("assistant", made["content"], made["reasoning"]),
    ]
    kept = ann.api.get("/api/conversations")["data"]
    assert [(one["title"], one["pinned"]) for one in kept if one["pinned"]] == [("of animals", True)]
    ann.choose("of animals", "Delete")
    page.click("dialog [value=yes]")
    expect(page.locator(".item")).to_have_count(1)
    expect(page.locator("#welcome")).to_be_visible()
    assert [one["title"] for one in ann.api.get("/api/conversations")["data"]] != ["of animals"]
    assert len(ann.api.get("/api/conversations")["data"]) == 1


def test_an_answer_goes_on_while_the_page_reloads_and_when_its_tab_is_closed(behind: Behind, ann: Person) -> None:
    page = ann.page
    behind.slowly()
    ann.ask()
    expect(page.locator(".row.live .thought-text")).not_to_be_empty()
    page.wait_for_url(re.compile(r"\?c="))
    page.reload()
    page.wait_for_function(THOUGHT)
    expect(page.locator(".row.user .bubble")).to_have_text(ASK)
    expect(page.locator(".row.live .md")).not_to_be_empty()
    address, words = page.url, page.inner_text(".row.live .md").split()
    page.close()
    assert behind.turns(ann.name) == []  # an answer is recorded at its end: nobody but the page's server has it
    behind.fast()
    wait_until(lambda: len(behind.turns(ann.name)), "the answer ended with its tab", 1)
    (turn,) = behind.turns(ann.name)
    again = ann.tab(address)
    ann.answered(page=again)
    (made,) = ann.answers(again)
    assert (made["id"], made["ending"]) == (turn.id, "complete")
    shown = again.inner_text(".row.assistant .md").split()
    assert shown[: len(words) - 1] == words[:-1]
    assert shown[-1] in made["content"]
    assert len(shown) > len(words)
    expect(again.locator(".thought summary")).to_contain_text(f"{made['reasoning_tokens']} tokens")


def test_two_tabs_do_not_disturb_each_other(behind: Behind, ann: Person) -> None:
    one, two = ann.page, ann.tab()
    behind.slowly(0.5)
    for page, words in ((one, ASK), (two, WALRUS)):
        page.fill("#message", words)
        page.press("#message", "Enter")
    for page in (one, two):
        page.wait_for_function(THOUGHT)
    two.click("#stop")
    ann.answered(page=two)
    expect(one.locator(".row.live")).to_have_count(1)
    behind.fast()
    ann.answered(page=one)
    for page, words in ((one, ASK), (two, WALRUS)):
        expect(page.locator(".row.user .bubble")).to_have_text(words)
    assert one.url != two.url
    wait_until(lambda: len(behind.turns(ann.name)), "the answers were not recorded", 2)
    recorded = {f"{behind.url}/?c={turn.conversation_id}": turn.ending for turn in behind.turns(ann.name)}
    assert recorded == {one.url: "complete", two.url: "interrupted"}
    assert len(ann.api.get("/api/conversations")["data"]) == 2
