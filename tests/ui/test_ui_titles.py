"""Names for conversations: the model's where it makes sense, else the first words; a person's before both."""

import re
from concurrent.futures import Future
from typing import Any

import pytest
from playwright.sync_api import expect
from support.fake_chat_gateway import Script

from ui.files import File, joined
from ui.titles import LONGEST, Titles, shortened, usable
from ui.words import load_words

QUESTION, ANSWER = "Plan three dinners for two, no nuts.", "Soup on Monday, rice on Tuesday."


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Dinner plan without nuts", "Dinner plan without nuts"),
        ('**Title:** "dinners for two."\n\nIt is short.', "Dinners for two"),
        ("«Soup and rice»", "Soup and rice"),
        ("", ""),
        ("and and and and", ""),
        ("The history of tea in the north", ""),
        ("Dinner " * 4, ""),
        ("Three dinners for two people who eat no nuts and like soup on Mondays", ""),
        ("<think> dinners", ""),
        ("You could make these dinners.\n1. Soup.\n2. Rice.", ""),
        ("dinners: https://example.org", ""),
        ("Dear all who plan dinners,", ""),
        ("**Dear dinner guests,**", ""),
        ("Dinners, soup and rice", "Dinners, soup and rice"),
    ],
)
def test_a_models_reply_is_a_name_only_where_it_reads_like_one(said: str, name: str) -> None:
    assert usable(said, QUESTION, ANSWER) == name


def test_names_of_other_scripts_are_names() -> None:
    assert usable("Ужины на двоих", "Составь план: ужины на двоих", "Суп") == "Ужины на двоих"


def test_first_words_are_cut_at_a_word_and_leave_files_out() -> None:
    assert shortened("word " * 40) == "word " * 11 + "word…"
    assert len(shortened("x" * 400)) <= LONGEST + 1
    assert shortened(joined([File("notes.txt", "a\nb")], "what is  this?")) == "what is this?"
    assert shortened(joined([File("notes.txt", "a\nb")], "")) == "notes.txt"


def test_the_model_names_a_conversation_and_nothing_is_kept_of_that(shown) -> None:
    shown.gateway.title = '"Dinners for two"'
    shown.ask(QUESTION)
    shown.answered()
    expect(shown.page.locator(".item")).to_have_text("Dinners for two")
    expect(shown.page).to_have_title("Dinners for two · Ruminate")
    (asked,) = shown.gateway.asked_titles
    assert asked["ruminate"] == {"origin": "title", "consent": "none"}
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    assert QUESTION in asked["messages"][0]["content"]
    shown.ask("and dessert?")
    shown.answered(2)
    shown.page.wait_for_timeout(300)
    assert len(shown.gateway.asked_titles) == 1


def test_nonsense_is_no_name_the_first_words_serve(shown) -> None:
    shown.ask(QUESTION)
    shown.answered()
    expect(shown.page.locator(".item")).to_have_text(QUESTION)  # at once; the gateway has it a moment later
    (talk,) = shown.gateway.conversations.values()
    for _ in range(200):
        if talk["title"] is not None:
            break
        shown.page.wait_for_timeout(50)
    assert talk["title"] == QUESTION
    assert len(shown.gateway.asked_titles) == 1


def test_a_conversation_whose_first_answer_was_stopped_is_called_by_its_first_words(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(hold_at=(3,))
    shown.ask(QUESTION)
    expect(page.locator(".row.live .thought-text")).to_contain_text("step 2")
    page.click("#stop")
    shown.answered()
    for _ in range(200):
        titles = [talk["title"] for talk in shown.gateway.conversations.values()]
        if titles == [QUESTION]:
            break
        page.wait_for_timeout(50)
    assert titles == [QUESTION]
    assert shown.gateway.asked_titles == []
    page.click("#new")
    expect(page.locator(".item")).to_have_text(QUESTION)


def test_a_name_that_a_person_gave_wins(shown) -> None:
    class Renamed(list[dict[str, Any]]):
        """Somebody names the conversation in another tab while the model is asked for a name."""

        def append(self, asked: dict[str, Any]) -> None:
            super().append(asked)
            for talk in shown.gateway.conversations.values():
                talk["title"] = "mine"

    page = shown.page
    shown.gateway.title, shown.gateway.asked_titles = "Dinners for two", Renamed()
    shown.ask(QUESTION)
    shown.answered()
    expect(page.locator(".item")).to_have_text("mine")
    page.wait_for_timeout(500)
    assert len(shown.gateway.asked_titles) == 1
    assert [talk["title"] for talk in shown.gateway.conversations.values()] == ["mine"]


def test_a_conversation_gets_its_name_though_its_tab_was_closed(shown) -> None:
    page = shown.page
    shown.gateway.title = "Dinners for two"
    shown.gateway.script = Script(response=[f"w{n} " for n in range(40)], pause=0.1)
    shown.ask(QUESTION)
    page.wait_for_url(re.compile(r"\?c="))
    address = page.url
    page.close()
    other = shown.context.new_page()
    other.goto(address)
    expect(other.locator(".row.live .md")).to_contain_text("w")
    expect(other.locator(".row.assistant:not(.live) .md")).to_contain_text("w39")
    expect(other.locator(".item")).to_have_text("Dinners for two")
    assert len(shown.gateway.asked) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_while_naming_leaves_nobody_waiting() -> None:
    class Broken:
        def short_answer(self, text: str, origin: str) -> str:
            raise KeyError("choices")

    named: Future[str] = Future()
    Titles(load_words("en")).begin(named, Broken(), "c1", QUESTION, ANSWER)
    assert named.result(timeout=10) == ""
