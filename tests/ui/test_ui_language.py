"""Another language is a file: a made-up one, with each sentence in brackets, leaves no English on the page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.fake_chat_gateway import FakeGateway, Script, serving

from ui.words import Words, load_words, plural

TEXTS = """(left) => {
  const said = [];
  const walk = document.createTreeWalker(document.querySelector('#page'), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) if (!walk.currentNode.parentElement.closest(left)) said.push(walk.currentNode.data);
  for (const node of document.querySelectorAll('#page *')) {
    if (node.closest(left)) continue;
    for (const name of ['aria-label', 'title', 'placeholder', 'alt']) if (node.hasAttribute(name)) said.push(node.getAttribute(name));
    if (node.dataset.points) said.push(...JSON.parse(node.dataset.points).map((one) => one.words));
  }
  return said; }"""  # noqa: E501
NOT_OURS = "#announcer, .bubble, .md, .thought-text, .editor, .item, .talk-title, time, code, kbd"
NOT_OURS += ", td.wide, td.rest[data-label*=Reason], .live-card p"
DATA = {"v0", "v1", "v2", "v3", "ruminate-v0", "ruminate-v1", "ruminate-v2", "grpo", "adapter", "base", "rk-…"}
DATA |= {"round 1", "gateway", "local", "tiny/policy", "reward", "length", "x", "words", "learning_rate", "tiny"}


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def foreign(gateway: FakeGateway, chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    from ui.app import create_app
    from ui.settings import UiSettings

    sentences = {key: f"⟦{sentence}⟧" for key, sentence in load_words("en").sentences.items()}
    (tmp_path / "xx.json").write_text(json.dumps(sentences), encoding="utf-8")
    monkeypatch.setattr("ui.words.__file__", str(tmp_path / "__init__.py"))
    with serving(gateway.app) as address, serving(create_app(UiSettings(gateway=address, language="xx"))) as url:
        context = chromium.new_context(viewport={"width": 1200, "height": 800})
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(url)
        page.wait_for_function("() => window.ruminate?.me?.consent")
        yield page
        context.close()
    load_words.cache_clear()


def english(page: Page) -> set[str]:
    """What can be read on the page, or is read aloud, and stands in no brackets."""
    left: set[str] = set()
    for said in page.evaluate(TEXTS, NOT_OURS):
        rest, before = str(said).replace("200 new prompts", " "), ""  # why a round was asked for
        while rest != before:
            before, rest = rest, re.sub(r"⟦[^⟦⟧]*⟧", " ", rest)
        left |= set(re.findall(r"[^\W\d_]{2}[\w/-]*(?: \d+)?", rest)) - DATA if said.strip() not in DATA else set()
    return left


def test_the_chat_speaks_the_language_of_its_file(foreign: Page) -> None:
    page = foreign
    expect(page.locator("html")).to_have_attribute("lang", "xx")
    assert english(page) == set()
    page.click("#options")
    page.fill("#message", "Plan three dinners")
    page.press("#message", "Enter")
    expect(page.locator(".row.assistant .by")).to_be_visible()
    page.click("[data-do=bad]")
    assert english(page) == set()
    for opener in ("[data-do=keep]", "#settings"):
        page.click(opener)
        expect(page.locator("dialog")).to_be_visible()
        assert english(page) == set()
        page.keyboard.press("Escape")
    page.keyboard.press("Control+/")
    assert english(page) == set()


def test_what_goes_wrong_and_what_is_asked_are_told_in_it_too(foreign: Page, gateway: FakeGateway) -> None:
    page = foreign

    def ask(question: str, comparing: int) -> None:
        page.click("#options")
        page.click(f"[data-option=compare] label >> nth={comparing}")
        page.keyboard.press("Escape")
        page.fill("#message", question)
        page.press("#message", "Enter")

    ask("Plan three dinners", comparing=1)
    expect(page.locator(".choose")).to_be_visible()
    assert english(page) == set()
    page.click("[data-choice=tie]")
    expect(page.locator("#toasts")).to_contain_text("⟦")
    assert english(page) == set()
    gateway.script = Script(refuse=(429, "60 requests a minute are allowed", "rate_limit_exceeded"))
    ask("And on Thursday?", comparing=0)
    expect(page.locator(".note.failed")).to_be_visible()
    assert english(page) == set()
    page.evaluate("ruminate.needKey()")
    expect(page.locator("dialog.signin")).to_be_visible()
    assert english(page) == set()
    page.context.set_offline(True)
    expect(page.locator("#lost")).to_be_visible()
    assert english(page) == set()


def test_the_training_page_speaks_it_as_well(foreign: Page) -> None:
    page = foreign
    page.click("#tab-training")
    expect(page.locator(".live-card")).to_be_visible()
    assert english(page) == set()
    for place in ("?checkpoint=v2", "?round=1"):
        page.goto(page.url.split("?")[0] + place)
        expect(page.locator(".facts")).to_be_visible()
        assert english(page) == set()


def test_lengths_of_time_are_rounded_before_they_are_told(shown) -> None:
    said = "[0.04, 3.96, 9.97, 59.7, 60.2, 119.7].map(ruminate.duration)"
    assert shown.page.evaluate(said) == ["0.1 s", "4 s", "10 s", "1 min 0 s", "1 min 0 s", "2 min 0 s"]


def test_a_count_takes_the_form_that_its_language_wants(shown) -> None:
    """On the page as from the server, whose rules say what the browser's do."""
    russian = "{n} {n|one=токен|few=токена|many=токенов|other=токена}"
    say = """([lang, sentence, counts]) => { document.documentElement.lang = lang; ruminate.words.tokens = sentence;
        return counts.map((n) => ruminate.say('tokens', {n})); }"""
    counts = [0, 1, 2, 5, 11, 21]
    english = load_words("en").sentences["tokens"]
    for language, sentence in (("en", english), ("ru", russian), ("ja", "{n} {n|other=個}")):
        words = Words({"tokens": sentence}, language)
        assert shown.page.evaluate(say, [language, sentence, counts]) == [words("tokens", n=n) for n in counts]
    assert Words({"tokens": russian}, "ru")("tokens", n=21) == "21 токен"
    assert Words({"tokens": "{n|one=a|few=b}"}, "ru")("tokens", n=5) == "b"  # the form that is wanted is not there
    counts = [*range(131), 1_000_000]
    chosen = "([lang, counts]) => counts.map((n) => new Intl.PluralRules(lang).select(n))"
    for language in [
        "en",
        "de",
        "fr",
        "es",
        "pt",
        "pl",
        "ru",
        "cs",
        "sl",
        "lt",
        "lv",
        "ro",
        "he",
        "ar",
        "ga",
        "cy",
        "ja",
    ]:
        expected = shown.page.evaluate(chosen, [language, counts])
        assert [plural(language, n) for n in counts] == expected, language
