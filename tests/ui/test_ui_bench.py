"""The page's benchmark before pages of a few lines: what it times, and what it says where Enter is not taken."""

from typing import Any

import pytest
from playwright.sync_api import Browser

from bench.ui import measures
from bench.ui.__main__ import told
from bench.ui.chats import ANSWERS, count
from bench.ui.measures import Chat

PAGE = """<input id=box><button id=new></button><div id=answers></div><script>
document.querySelector('#box').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || window.deaf) return;
  event.target.value = '';
  setTimeout(() => { document.querySelector('#answers').innerHTML += '<p>words</p>'; }, 100);
});
document.querySelector('#new').addEventListener('click', () => {
  history.pushState({}, ''); document.querySelector('#answers').textContent = '';
});
addEventListener('popstate', () => setTimeout(() => {
  document.querySelector('#answers').innerHTML = '<p>words</p>';
}, 100));</script>"""


def chat(**other: Any) -> Chat:
    how: dict[str, Any] = {
        "name": "small",
        "program": None,
        "ready": "() => true",
        "box": "#box",
        "thought": None,
        "response": count("#answers p"),
        "sent": "() => !document.querySelector('#box').value",
        "busy": "() => false",
        "said": "() => document.querySelector('#answers').textContent",
        "new": "#new",
    }
    return Chat(**how | other)


def test_the_first_word_is_timed_from_the_press_of_enter(chromium: Browser) -> None:
    page = chromium.new_page()
    page.set_content(PAGE)
    figures = measures.first_word(page, chat(), chat().response, lambda: 1.0, 3)
    page.close()
    assert figures["page_ms"]["count"] == 3
    assert figures["page_ms"]["p50"] >= 99  # the answer takes a tenth of a second; a timer may be a hair early
    assert figures["added_ms_at_the_median"] == pytest.approx(figures["page_ms"]["p50"] - 1, abs=0.2)


def test_turning_back_is_timed_to_the_last_words(chromium: Browser) -> None:
    page = chromium.new_page()
    page.goto("data:text/html,<p>a document with a history</p>")
    page.set_content(PAGE)
    figures = measures.turning(page, chat(), 2)
    page.close()
    assert figures["count"] == 2
    assert figures["p50"] >= 99


def test_a_page_that_does_not_take_enter_is_told_in_the_measures_place(
    chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "TAKEN_MS", 300)
    page = chromium.new_page()
    page.set_content(PAGE)
    page.evaluate("window.deaf = true")

    def first_word() -> Any:
        return measures.first_word(page, chat(), chat().response, lambda: 1.0, 3)

    assert told(chat(), first_word) == {"failed": "small: Enter in #box did not send what was written there"}
    page.close()


def test_what_playwright_says_stands_in_the_measures_place_too(chromium: Browser) -> None:
    page = chromium.new_page()

    def frames() -> Any:
        return page.wait_for_selector("#nothing", timeout=50)

    assert "Timeout 50ms exceeded" in told(chat(), frames)["failed"]
    page.close()


def test_answers_are_counted_on_a_page_that_keeps_the_last_few_only(chromium: Browser) -> None:
    """As Open WebUI's does: how many stand there no longer tells that one was added."""
    page = chromium.new_page()
    for number in range(3):
        words = f"<div class=chat-assistant><div class=markdown-prose>{'word' if number else ''}</div></div>"
        page.evaluate(
            "(inner) => { document.body.innerHTML = inner; }",
            f"<div class=message-listitem><div id=message-{number}>{words}</div></div>",
        )
        assert page.evaluate(ANSWERS) == number  # the first has no words yet
        assert page.evaluate(ANSWERS) == number
    page.close()
