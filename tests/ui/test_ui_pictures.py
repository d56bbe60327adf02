"""Pictures that go with a message: only where the model takes them, as parts of OpenAI's form. In a real Chromium."""

import base64
import struct
import zlib

import pytest
from playwright.sync_api import expect

from ui import pictures
from ui.pictures import apart, together


def png(width: int, height: int) -> bytes:
    """A grey picture."""
    rows = b"".join(b"\x00" + b"\x80" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


SMALL = "data:image/png;base64," + base64.b64encode(png(8, 8)).decode()


@pytest.mark.parametrize("words", ["", "what is it?", "two\nlines"])
@pytest.mark.parametrize("shown", [[], [SMALL], [SMALL, "https://example.org/a.png"]])
def test_words_and_pictures_come_apart_as_they_were_put_together(words: str, shown: list[str]) -> None:
    assert apart(together(words, shown)) == (words, shown)


@pytest.mark.parametrize(
    "asked",
    [
        [SMALL] * (pictures.MOST + 1),
        ["https://example.org/pixel.png"],
        ["data:text/html;base64,AAAA"],
        ["data:image/svg+xml;base64,AAAA"],
        ["data:image/png;base64," + "A" * pictures.MOST_CHARACTERS],
    ],
)
def test_what_is_no_picture_is_refused(asked: list[str]) -> None:
    assert pictures.given([SMALL]) == [SMALL]
    assert pictures.given(None) == []
    with pytest.raises(pictures.BadPictures):
        pictures.given(asked)


@pytest.fixture
def seeing(shown):
    shown.gateway.takes_pictures = True
    shown.page.reload()
    shown.ready()
    return shown


def attach(shown, name: str = "cat.png", content: bytes | None = None) -> None:
    file = {"name": name, "mimeType": "image/png", "buffer": png(8, 8) if content is None else content}
    shown.page.set_input_files("#file-input", file)


def test_a_picture_goes_with_the_message_and_is_there_after_a_reload(seeing) -> None:
    page = seeing.page
    attach(seeing)
    expect(page.locator("#files li")).to_contain_text("cat.png")
    seeing.ask("What is it?")
    seeing.answered()
    picture, words = seeing.gateway.asked[-1]["messages"][0]["content"]
    assert picture == {"type": "image_url", "image_url": {"url": SMALL}}
    assert words == {"type": "text", "text": "What is it?"}
    for _ in range(2):
        shown = page.locator(".row.user .bubble img")
        expect(shown).to_have_attribute("src", SMALL)
        assert shown.evaluate("(image) => image.complete && image.naturalWidth") == 8
        expect(page.locator(".row.user .bubble")).to_have_text("What is it?")
        page.reload()
    seeing.answered()
    seeing.ask("And its colour?")
    seeing.answered(2)
    asked = seeing.gateway.asked[-1]["messages"]
    assert asked[0]["content"] == [picture, words]
    assert asked[2]["content"] == "And its colour?"


def test_an_edit_keeps_the_picture_and_a_picture_alone_is_a_message(seeing) -> None:
    page = seeing.page
    attach(seeing)
    page.press("#message", "Enter")
    seeing.answered()
    expect(page.locator(".item")).to_have_text("Picture")
    page.locator(".row.user").hover()
    page.click("[data-do=edit]")
    page.fill(".editor textarea", "Describe it")
    page.press(".editor textarea", "Enter")
    seeing.answered()
    kinds = [part["type"] for part in seeing.gateway.asked[-1]["messages"][0]["content"]]
    assert kinds == ["image_url", "text"]
    expect(page.locator(".row.user .bubble img")).to_have_count(1)


def test_a_large_picture_is_made_smaller_and_one_that_is_broken_is_told(seeing) -> None:
    page = seeing.page
    attach(seeing, "wide.png", png(4096, 16))
    attach(seeing, "broken.png", b"\x89PNG not really")
    expect(page.locator(".toast")).to_have_text("broken.png cannot be read as a picture.")
    expect(page.locator("#files li")).to_have_count(1)
    page.press("#message", "Enter")
    seeing.answered()
    assert seeing.gateway.asked[-1]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;")
    assert page.locator(".row.user .bubble img").evaluate("(image) => image.naturalWidth") == 2048


def test_no_more_pictures_than_can_go_with_a_message(seeing) -> None:
    for number in range(pictures.MOST + 1):
        attach(seeing, f"{number}.png")
    expect(seeing.page.locator(".toast")).to_have_text(f"Up to {pictures.MOST} pictures can go with a message.")
    expect(seeing.page.locator("#files li")).to_have_count(pictures.MOST)


def test_a_model_that_reads_text_only_gets_no_picture(shown) -> None:
    attach(shown)
    expect(shown.page.locator(".toast")).to_have_text("cat.png is a picture; this server's models read text only.")
    expect(shown.page.locator("#files")).to_be_hidden()
