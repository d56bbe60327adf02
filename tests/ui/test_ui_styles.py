"""One name, one look: no class of the page is made by two parts, unless both mean the same."""

import re
from collections import defaultdict
from pathlib import Path

from pygments.token import STANDARD_TYPES

UI = Path(__file__).parents[2] / "ui"
SHARED = {"plain", "primary", "text-button", "quiet", "failed", "dot", "card", "running", "table-wrap", "plots", "rest"}
SHARED |= {"ask", "dialog-acts", "dialog-head", "row", "files", "unseen", "options", "code", "row-of-buttons"}
"""Looks that several parts use on purpose: buttons, dialogs, cards, tables, a message or code whoever draws it."""


def made() -> dict[str, set[str]]:
    """Each class, and the files that make elements with it."""
    found: dict[str, set[str]] = defaultdict(set)
    for script in (UI / "static").glob("*.js"):
        text = script.read_text(encoding="utf-8")
        specs = re.findall(r'\bel\(\s*["`][a-z0-9]+((?:\.[a-z-]+)+)', text)
        names = [name for spec in specs for name in spec.split(".")[1:]]
        names += [name for names in re.findall(r'class: "([^"]+)"', text) for name in names.split()]
        for name in names:
            found[name].add(script.name)
    for module in UI.glob("*.py"):
        for names in re.findall(r"class=['\"]([\w -]+)['\"]", module.read_text(encoding="utf-8")):
            for name in names.split():
                found[name].add(module.name)
    return found


def test_no_two_parts_of_the_page_use_one_class_by_accident() -> None:
    classes = made()
    assert len(classes) > 60
    twice = {name: files for name, files in classes.items() if len(files) > 1 and name not in SHARED}
    assert not twice, f"used by two parts (rename one, or add it to SHARED where both mean it): {twice}"


def test_no_class_of_the_page_is_one_of_highlighted_code() -> None:
    highlighted = {name for name in STANDARD_TYPES.values() if name}
    assert not highlighted & made().keys()


def test_each_class_that_is_styled_is_made_somewhere() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in [*(UI / "static").glob("*.js"), *UI.glob("*.py")])
    styled = set()
    for sheet in (UI / "static").glob("*.css"):
        rules = re.sub(r"/\*.*?\*/|\{[^{}]*\}", " ", sheet.read_text(encoding="utf-8"), flags=re.DOTALL)
        styled |= {name.rstrip("-") for name in re.findall(r"\.([a-z][a-z-]+)", rules)}
    gradios = {"gradio-container", "toast-wrap", "wrap", "dark", "svelte-czcr"}
    missing = {name for name in styled - gradios if not re.search(rf"\b{name}\b", sources)}
    assert not missing, f"styled and never made: {missing}"
