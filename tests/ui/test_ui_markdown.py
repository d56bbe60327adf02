"""Markdown of answers: the same HTML however it streams, and nothing in it that acts."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pygments.styles import get_style_by_name

from ui.markdown import DARK_CODE, LIGHT_CODE, StreamedMarkdown, code_styles, render

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
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30), st.integers(1, 9))
@example(["1. item\n", *["line\n"] * 4, "2. next\n", "line\n"], 1)
def test_streaming_gives_what_the_whole_gives(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    streamed = StreamedMarkdown()
    for end in range(0, len(text) + size, size):
        streamed.update(text[:end])
    assert "".join(streamed.blocks) + streamed.tail == render(text)


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
    assert streamed.tail == "<p>two</p>\n<p>three</p>\n"


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
    assert min(_contrast(colour, behind) for colour, behind in looks) >= 4.5


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1, 1.4.3: (lighter + 0.05) / (darker + 0.05), of relative luminances."""
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
