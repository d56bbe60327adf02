"""The colours of the page, light and dark: words and the edges of controls stand out as WCAG AA asks."""

import re
from pathlib import Path

import pytest
from support.contrast import contrast

STATIC = Path(__file__).parents[2] / "ui" / "static"
GROUNDS = ("--ground", "--side", "--raised", "--bubble")  # what anything may lie on
WORDS, EDGES = ("--text", "--soft"), ("--line-strong", "--accent")
CONTROLS = (
    "#page .composer",
    "#page .composer:focus-within",
    '#page .think[aria-pressed="true"]',
    ".options-panel",
    "#page .pills span",
    "#page .pills :checked + span",
    "#page .tag",
    '#page .tag[aria-pressed="true"]',
    "#page .why input",
    ".editor",
    '#page dialog input:is([type="text"], [type="password"])',
    "#page .plain",
    ".option:has(:checked)",
    "#page .md .task input",
    "#page .md .task :checked",
)
"""What is known as a control, or as one that is on, by its edge."""


def colours(theme: str) -> dict[str, str]:
    """The colours of page.css by name, as they are in `theme`."""
    sheet = (STATIC / "page.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})\b", sheet[sheet.index(head) :].split("}")[0]))
        for head in (":root {", '[data-theme="dark"] {')
    )
    return light | dark if theme == "dark" else light


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_and_edges_stand_out_from_every_ground(theme: str) -> None:
    named = colours(theme)
    found = {
        (name, ground): round(contrast(named[name], named[ground]), 2)
        for name in WORDS + EDGES
        for ground in (*GROUNDS, "--accent-soft")
        if (name, ground) != ("--line-strong", "--accent-soft")  # what is filled with it has an edge of --accent
    }
    too_faint = {pair: ratio for pair, ratio in found.items() if ratio < (4.5 if pair[0] in WORDS else 3)}
    assert not too_faint


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_has_an_edge_that_stands_out(control: str) -> None:
    sheets = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("page.css", "chat.css"))
    rules = re.findall(rf"^{re.escape(control)} {{(.*)}}$", sheets, flags=re.MULTILINE)
    borders = [found for rule in rules for found in re.findall(r"border(?:-color)?: ([^;]+);", rule)]
    assert len(borders) == 1, f"{control}: {borders}"
    assert any(f"var({edge})" in borders[0] for edge in EDGES), f"{control}: {borders}"
