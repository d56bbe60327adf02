"""Markdown of answers: the same HTML however it streams, and nothing in it that acts."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pygments.styles import get_style_by_name
from support.contrast import contrast

from ui import streamed as streaming
from ui.markdown import DARK_CODE, LIGHT_CODE, code_styles, render
from ui.streamed import StreamedMarkdown

PIECES = st.sampled_from(
    [
        "# head\n",
        "words ",
        "line\n",
        "  indented\n",
        "**bold** ",
        "\n",
        "\n\n",
        "- item\n",
        "1. item\n",
        "2. next\n",
        "> said\n",
        "```py\nx = 1\n",
        "```\n",
    ]
    + [
        "| a | b |\n|--|--|\n",
        "| 1 | 2 |\n",
        "$$x^2$$\n",
        "\\[y\\]\n",
        "$a$ ",
        "---\n",
        "    code\n",
        "<b>",
        "\t",
        "`c` ",
        "https://a.org/b_c_d, ",
        "- [ ] to do\n",
        "- [x] **done**\n",
    ]
)


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=30), st.integers(1, 9))
@example(["1. item\n", *["line\n"] * 4, "2. next\n", "line\n"], 1)
def test_streaming_gives_what_the_whole_gives(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    streamed = StreamedMarkdown()
    for end in range(0, len(text) + size, size):
        streamed.update(text[:end])
    if streamed.code is None and not streamed._cuts:
        assert "".join([*streamed.blocks, *streamed.tail]) == render(text)
    streamed.finish(text)
    assert "".join(streamed.blocks) == render(text)
    assert (streamed.tail, streamed.code) == ([], None)


@settings(max_examples=100)
@given(st.lists(PIECES, max_size=60), st.integers(1, 9))
def test_a_long_open_block_ends_as_the_whole_gives_it(pieces: list[str], size: int) -> None:
    """The same with limits so small that pieces, and parts of code, come about at once."""
    text = "".join(pieces)
    small = {"SMALL": 20, "PIECE": 10, "PART": 30, "PART_LINES": 2, "MOST_LINES": 3}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items():
            patch.setattr(streaming, name, value)
        streamed, before = StreamedMarkdown(), 0
        for end in range(0, len(text) + size, size):
            streamed.update(text[:end])
            assert len(streamed.blocks) >= before
            before = len(streamed.blocks)
        streamed.finish(text)
    assert "".join(streamed.blocks) == render(text)


LONG = {
    "code": "intro\n\n```python\n" + "".join(f"x{n} = f({n})\n" for n in range(600)) + "```\n\nand\nthen\n",
    "list": "".join(f"- item {n} of them\n" for n in range(250)) + "\nand\nthen\n",
    "table": "| a | b |\n|--|--|\n" + "".join(f"| cell {n} | b |\n" for n in range(250)) + "\nand\nthen\n",
    "quote": "".join(f"> said {n} times\n" for n in range(250)),
    "line": "word " * 1500,
}


@pytest.mark.parametrize("kind", LONG)
def test_the_work_on_a_long_block_grows_with_its_length_and_not_its_square(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in characters that are parsed and highlighted, for an answer of one frame to each 100 characters."""
    work = {"parsed": 0, "highlighted": 0}
    parse, colour = streaming.parsed, streaming.highlighted

    def parsing(text: str):
        work["parsed"] += len(text)
        return parse(text)

    def colouring(code: str, language: str):
        work["highlighted"] += len(code)
        return colour(code, language)

    monkeypatch.setattr(streaming, "parsed", parsing)
    monkeypatch.setattr(streaming, "highlighted", colouring)
    text, streamed = LONG[kind], StreamedMarkdown()
    for end in range(0, len(text), 100):
        streamed.update(text[:end])
    streamed.finish(text)
    frames = len(text) // 100
    assert work["parsed"] + work["highlighted"] < 15 * len(text) + frames * 5 * streaming.PIECE
    assert "".join(streamed.blocks) == render(text)


def test_open_code_has_colours_and_its_parts_stand() -> None:
    text = "```python\n" + "".join(f"def f{n}(): pass\n{chr(10) if n % 10 == 9 else ''}" for n in range(100))
    streamed = StreamedMarkdown()
    parts: list[str] = []
    for end in range(0, len(text), 30):
        streamed.update(text[:end])
        if streamed.code is not None:
            assert streamed.code.parts[: len(parts)] == parts
            parts = list(streamed.code.parts)
            shown = re.sub(r"<[^>]*>", "", "".join([*parts, streamed.code.rest])).rstrip("\n")
            assert shown == text[len("```python\n") : end].rstrip("\n")
    assert len(parts) > 3
    assert '<span class="k">def</span>' in parts[-1]
    assert streamed.code is not None
    assert streamed.code.language == "python"


def test_a_fence_that_closes_is_a_block_at_once() -> None:
    streamed = StreamedMarkdown()
    for end in range(len("~~~py\nx = 1\n~~~\n") + 1):
        streamed.update("~~~py\nx = 1\n~~~\n"[:end])
    assert streamed.blocks == [render("~~~py\nx = 1\n~~~\n")]
    assert streamed.code is None


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("1. Soup.\n2. Rice.\nStart with rice.", "<ol><li>Soup.</li><li>Rice.</li></ol><p>Start with rice.</p>"),
        ("- a\n  still a", "<ul><li>a<br />still a</li></ul>"),
        ("- a\n  - b\n  of a\nbelow", "<ul><li>a<ul><li>b</li></ul>of a</li></ul><p>below</p>"),
        ("1. a\nwords\n2. b", '<ol><li>a</li></ol><p>words</p><ol start="2"><li>b</li></ol>'),
        ("> - a\n> below", "<blockquote><ul><li>a</li></ul><p>below</p></blockquote>"),
        ("> said\nand on", "<blockquote><p>said<br />and on</p></blockquote>"),
    ],
)
def test_a_line_right_below_a_list_is_a_paragraph_of_its_own(text: str, html: str) -> None:
    assert render(text).replace("\n", "") == html


def test_a_finished_block_is_parsed_once() -> None:
    streamed = StreamedMarkdown()
    streamed.update("one\n\ntwo\n\nthr")
    before = list(streamed.blocks)
    streamed.update("one\n\ntwo\n\nthree")
    assert streamed.blocks == before == ["<p>one</p>\n"]
    assert streamed.tail == ["<p>two</p>\n<p>three</p>\n"]


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        "[x](javascript:alert(1))",
        "![x](http://elsewhere/pixel.png)",
        "$\\text{<img src=x onerror=alert(1)>}$",
        "$$\\href{javascript:alert(1)}{x}$$",
        "$\\style{background:url(http://elsewhere)}{x}$",
        '```html"onload="x\n<script>\n```',
        '[x](http://a"onmouseover="alert(1))',
        "<details open ontoggle=alert(1)>",
    ],
)
def test_no_text_of_a_model_acts(attack: str) -> None:
    html = render(attack)
    tags = re.findall(r"<[^>]*>", html)
    assert not re.search(r"<(script|img|details|iframe|style)\b", html)
    assert not any(re.search(r"\bon\w+=|javascript:|style=", tag) for tag in tags), tags


def test_links_open_elsewhere_and_tell_nothing() -> None:
    assert 'rel="noopener noreferrer nofollow"' in render("[a](https://example.org)")


OUTSIDE = 'target="_blank" rel="noopener noreferrer nofollow"'


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("https://a.org/b_c, or (http://a.org/B_(c)).", ["https://a.org/b_c", "http://a.org/B_(c)"]),
        ("HTTPS://a.org!", ["HTTPS://a.org"]),
        ("**https://a.org** *https://b.org/* ~~https://c.org~~", ["https://a.org", "https://b.org/", "https://c.org"]),
        ("https://a.org/?b=1&c=$2$#d <https://b.org>", ["https://a.org/?b=1&amp;c=$2$#d", "https://b.org"]),
        ("# https://a.org\n\n- https://b.org\n\n| c |\n|--|\n| https://c.org |", ["https://a.org", "https://b.org", "https://c.org"]),
        ("见https://例え.jp/径。好", ["https://xn--r8jz45g.jp/%E5%BE%84"]),
        ('"https://a.org/"><script>', ["https://a.org/"]),
        ("[https://a.org](https://b.org) ![https://c.org](https://d.org)", ["https://b.org", "https://d.org"]),
        ("`https://a.org` $https://a.org$\n\n```\nhttps://a.org\n```\n\n    https://a.org", []),
        ("javascript://a.org ftp://a.org file:///a xhttps://a.org https:// https://. //a.org", []),
    ],
)  # fmt: skip
def test_an_address_by_itself_is_a_link(text: str, addresses: list[str]) -> None:
    links = re.findall(r"<a ([^>]*)>", render(text))
    assert links == [f'href="{address}" {OUTSIDE}' for address in addresses]


def test_a_task_is_a_box_with_its_words() -> None:
    html = render("- [ ] buy **milk**\n- [x] done\n- [y] no task\n- [ ](https://a.org)\n- [x]\n\n1. [X] a\n\n2. b")
    box = '<label><input type="checkbox" disabled="">'
    ticked = '<label><input type="checkbox" disabled="" checked="">'
    assert f'<li class="task">{box} buy <strong>milk</strong></label></li>' in html
    assert f'<li class="task">{ticked} done</label></li>' in html
    assert f'<li class="task">\n<p>{ticked} a</label></p>\n</li>' in html
    assert (html.count("<label>"), html.count("</label>"), html.count("<input")) == (3, 3, 3)
    assert "<li>[y] no task</li>" in html
    assert "<li>[x]</li>" in html


def test_links_and_boxes_are_there_while_the_text_grows() -> None:
    streamed = StreamedMarkdown()
    streamed.update("- [x] read https://a.org/on")
    assert 'href="https://a.org/on"' in streamed.tail[0]
    assert "<input" in streamed.tail[0]
    streamed.update("- [x] read https://a.org/one and")
    assert '<a href="https://a.org/one"' in streamed.tail[0]


def test_prices_are_no_formulas() -> None:
    assert "<math" not in render("It costs $5, or $6 with tax; $7 and $8.")
    assert render("$x_1$").count("<math") == 1


def test_a_formula_that_is_no_latex_shows_its_source() -> None:
    assert "<code>\\frac{</code>" in render("$\\frac{$")


def test_code_has_colours_for_light_and_dark() -> None:
    styles = code_styles()
    assert "[data-theme=light] .code .k" in styles
    assert "[data-theme=dark] .code .k" in styles
    assert '<span class="k">def</span>' in render("```python\ndef f(): pass\n```")


@pytest.mark.parametrize(("style", "ground"), [(LIGHT_CODE, "ffffff"), (DARK_CODE, "23211e")])
def test_every_colour_of_code_can_be_read_on_its_ground(style: str, ground: str) -> None:
    assert f"--raised: #{ground}" in (Path(__file__).parents[2] / "ui" / "static" / "page.css").read_text()
    looks = {(look["color"], look["bgcolor"] or ground) for _, look in get_style_by_name(style) if look["color"]}
    assert min(contrast(colour, behind) for colour, behind in looks) >= 4.5
