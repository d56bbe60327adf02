"""How an answer is asked for: thinking and effort by conversation, remembered; files that go with a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import expect
from support.fake_chat_gateway import Script

from ui import files
from ui.files import File, joined, parted

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20).map(
    lambda name: " ".join(name.split()) or "a"
)
TEXTS = st.text(st.sampled_from("`~\n File:abc\t#"), max_size=60)


@given(st.lists(st.builds(File, NAMES, TEXTS), max_size=3), TEXTS.filter(lambda words: not words.startswith("File: ")))
def test_files_and_words_come_apart_as_they_were_joined(given_files: list[File], words: str) -> None:
    if given_files and not words:
        assert parted(joined(given_files, "")) == (given_files, "")
    assert parted(joined(given_files, words)) == (given_files, words)


def test_what_the_page_sends_is_checked() -> None:
    assert files.given([{"name": "a\nb.txt", "text": "x"}, "nonsense"]) == [File("a b.txt", "x")]
    assert files.given(None) == []
    with pytest.raises(files.TooLong, match=f"expected up to {files.MOST_CHARACTERS}"):
        files.given([{"name": "a", "text": "x" * (files.MOST_CHARACTERS + 1)}])


def effort(shown, words: str) -> None:
    shown.page.click("#options")
    shown.page.click(f"[data-option=effort] label:has-text('{words}')")
    shown.page.keyboard.press("Escape")


def test_effort_and_thinking_belong_to_the_conversation_and_are_remembered(shown) -> None:
    page = shown.page
    effort(shown, "High")
    expect(page.locator("#options")).to_contain_text("High effort")
    shown.ask("think hard")
    shown.answered()
    hard = page.url
    assert shown.gateway.asked[-1]["reasoning_effort"] == "high"
    page.click("#new")
    expect(page.locator("#options")).to_contain_text("High effort")
    effort(shown, "As usual")
    page.click("#think")
    shown.ask("be quick")
    shown.answered()
    assert "reasoning_effort" not in shown.gateway.asked[-1]
    assert shown.gateway.asked[-1]["chat_template_kwargs"] == {"enable_thinking": False}
    page.goto(hard)
    expect(page.locator("#options")).to_contain_text("High effort")
    expect(page.locator("#think")).to_have_attribute("aria-pressed", "true")


def test_another_browser_knows_from_the_record_how_a_conversation_was_asked(shown, chromium) -> None:
    page = shown.page
    page.click("#think")
    shown.ask("be quick")
    shown.answered()
    context = chromium.new_context()
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator("#think")).to_have_attribute("aria-pressed", "false")
    other.click("#new")
    expect(other.locator("#think")).to_have_attribute("aria-pressed", "true")
    context.close()


def test_a_text_file_goes_with_the_message_and_is_shown_folded(shown) -> None:
    page = shown.page
    page.set_input_files(
        "#file-input", {"name": "soup.md", "mimeType": "text/markdown", "buffer": b"# Soup\n```\nleek\n```"}
    )
    expect(page.locator("#files li")).to_contain_text("soup.md")
    shown.ask("What is in it?")
    shown.answered()
    sent = shown.gateway.asked[-1]["messages"][0]["content"]
    assert sent == "File: soup.md\n````\n# Soup\n```\nleek\n```\n````\n\nWhat is in it?"
    for _ in range(2):
        bubble = page.locator(".row.user .bubble")
        expect(bubble.locator(".file summary")).to_contain_text("soup.md")
        expect(bubble.locator(".file pre")).to_be_hidden()
        bubble.locator(".file summary").click()
        expect(bubble.locator(".file pre")).to_contain_text("leek")
        page.reload()
    expect(page.locator(".item")).to_have_text("What is in it?")
    page.locator(".row.user").hover()
    page.click("[data-do=edit]")
    expect(page.locator(".editor textarea")).to_have_value("What is in it?")
    page.fill(".editor textarea", "Who eats it?")
    page.press(".editor textarea", "Enter")
    shown.answered()
    assert shown.gateway.asked[-1]["messages"][0]["content"] == sent.replace("What is in it?", "Who eats it?")


@pytest.mark.parametrize(
    ("name", "kind", "content", "told"),
    [
        ("cat.png", "image/png", b"\x89PNG", "models read text only"),
        ("tool.bin", "application/octet-stream", b"\x00\x01\xff", "is not a text file"),
        ("long.txt", "text/plain", b"x" * (files.MOST_CHARACTERS + 1), "is too long"),
    ],
)
def test_a_file_that_the_model_cannot_read_is_refused_in_a_sentence(shown, name, kind, content, told) -> None:
    shown.page.set_input_files("#file-input", {"name": name, "mimeType": kind, "buffer": content})
    expect(shown.page.locator(".toast")).to_contain_text(told)
    expect(shown.page.locator(".toast")).to_contain_text(name)
    expect(shown.page.locator("#files")).to_be_hidden()


def test_a_file_alone_is_a_message_and_one_can_be_taken_back(shown) -> None:
    page = shown.page
    for name in ("a.txt", "b.txt"):
        page.set_input_files("#file-input", {"name": name, "mimeType": "text/plain", "buffer": b"words"})
    page.click("[aria-label='Remove a.txt']")
    shown.gateway.script = Script(thought=[])
    page.press("#message", "Enter")
    shown.answered()
    assert shown.gateway.asked[-1]["messages"][0]["content"] == "File: b.txt\n```\nwords\n```"
    expect(page.locator(".item")).to_have_text("b.txt")
