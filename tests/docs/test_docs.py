"""What the pages say of settings, files, links and commands is so. (Words and figures are for a reader to judge.)"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.settings_page import PAGE, PREFIXES, TRAINER, default_of, every, filled

from cli.main import app
from cli.names import BESIDE, known

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATORS = [*PAGES, ROOT / ".env.example", ROOT / "docker-compose.yml", ROOT / "docker-compose.cpu.yml"]
SETTINGS = every()


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def words(page: Path) -> str:
    """Its text without the blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def tables(page: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Head and rows of each table, as cells."""
    for found in re.findall(r"(?:^\|.*\|\n)+", words(page), re.M):
        head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()]
        yield head, rows


def test_the_page_of_settings_is_the_codes() -> None:
    assert PAGE.read_text() == filled(PAGE.read_text()), "run `make settings`"


def test_every_setting_is_documented() -> None:
    assert set(SETTINGS) | BESIDE == known()
    told = "".join(page.read_text() for page in PAGES)
    assert {name for name in known() if f"`{name}`" not in PAGE.read_text() and f"{name}=" not in told} == set()


@pytest.mark.parametrize("page", OPERATORS, ids=name_of)
def test_a_setting_that_is_named_is_one(page: Path) -> None:
    named = set(re.findall(r"\bRUMINATE_[A-Z_]*[A-Z]\b(?!_)", page.read_text()))
    assert named - known() == set()


def test_a_default_that_is_told_is_the_codes() -> None:
    """In tables with a column "default"; the row names a setting whole, or by the head's prefix."""
    wrong, seen = [], 0
    for page in PAGES:
        for head, rows in tables(page):
            if "default" not in head:
                continue
            prefix = next((found for cell in head for found in re.findall(r"(RUMINATE_[A-Z]+_)…", cell)), "")
            for row in rows:
                names = [prefix + name for cell in row for name in re.findall(r"^`([A-Z_]+)`$", cell)]
                told = row[head.index("default")].strip("`").split(" ")[0]
                for name in names:
                    seen += 1
                    if told != (default_of(SETTINGS[name]) or "empty"):
                        wrong.append(f"{name_of(page)}: {name} is {default_of(SETTINGS[name])}, not {told}")
    assert not wrong
    assert seen > 150


def test_a_default_in_brackets_is_the_codes() -> None:
    """As in "`flat_rounds` (3; 0: never)": the number that follows a setting's name."""
    short = {name.removeprefix(prefix): field for prefix in ("RUMINATE_", *PREFIXES.values(), TRAINER)
             for name, field in SETTINGS.items() if name.startswith(prefix)}  # fmt: skip
    known = {name.lower(): field for name, field in short.items()} | short | SETTINGS
    wrong, seen = [], 0
    for page in PAGES:
        for name, told in re.findall(r"`(\w+)` \((\d[\d,.]*\d|\d)\b(?!, \d)", words(page)):
            if name in known:
                seen += 1
                value = known[name].get_default()
                if value is None or float(told.replace(",", "")) != float(value):
                    wrong.append(f"{name_of(page)}: {name} is {value}, not {told}")
    assert not wrong
    assert seen > 20


def test_a_rounds_setting_that_is_named_is_one() -> None:
    """In the tables of docs/training.md with a column "setting"."""
    fields = {name.removeprefix(TRAINER).lower() for name in SETTINGS if name.startswith(TRAINER)}
    named = {
        name
        for head, rows in tables(ROOT / "docs/training.md")
        if "setting" in head
        for row in rows
        for name in re.findall(r"`([a-z_]+)`", re.sub(r"\(.*?\)", "", row[head.index("setting")]))
    }
    assert len(named) > 15
    assert named - fields == set()


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.*)$", words(page), re.M)
    plain = (re.sub(r"[^\w\- ]", "", head.replace("`", "").lower()) for head in heads)
    return {head.replace(" ", "-") for head in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", words(page)):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_and_picture_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s#]+)", words(page))
    }
    there = {*PAGES[1:], *(ROOT / "docs/images").iterdir()}
    assert {name_of(path) for path in there - linked if path.parent not in linked} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_file_that_is_named_is_there(page: Path) -> None:
    folders = "bench|cli|db|docs|models|requirements|server|tests|thinking|trainer|ui"
    for named in re.findall(rf"`((?:{folders})/[\w./*-]+)`", words(page)):
        assert list(ROOT.glob(named)) or named.startswith("bench/out/"), named  # what benches write


def spoken() -> list[tuple[str, str]]:
    """Page and command line of each `ruminate …` in code."""
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^```.*?^```", text, re.M | re.S)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", words(page))]
        for said in (*lines, *spans):
            words_of = re.sub(r"^(?:\w+=\S+ )*", "", said).split("   #")[0]  # settings before, a remark behind
            if re.match(r"ruminate [a-z]", words_of) and " is " not in words_of:
                found.append((name_of(page), words_of))
    return found


def test_commands_and_their_options_are_the_command_lines() -> None:
    wrong = []
    for page, said in spoken():
        begin, *others = re.split(r" \| ", said)
        first = begin.split()[1]
        group = typer.main.get_command(app).commands.get(first)  # type: ignore[attr-defined]
        nested = getattr(group, "commands", {})
        for part in (begin.removeprefix("ruminate "), *others):
            tokens = shlex.split(re.sub(r"[\[\]…]", " ", part))
            command: Any = group if tokens[0] == first else None
            if tokens[0] == first and nested and len(tokens) > 1:
                command = nested.get(tokens[1])
            elif tokens[0] != first:
                command = nested.get(tokens[0]) or typer.main.get_command(app).commands.get(tokens[0])  # type: ignore[attr-defined]
            options = {name for given in getattr(command, "params", []) for name in given.opts} | {"--help"}
            unknown = [token for token in tokens if token.startswith("--") and token.split("=")[0] not in options]
            if command is None or unknown:
                wrong.append(f"{page}: {said}: {unknown or part}")
    assert not wrong
    assert len(spoken()) > 40


def test_what_is_made_and_run_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"(?:`|^)make ([a-z][\w-]*)", text, re.M):
            module = target.removeprefix("bench-")
            known = (
                list(ROOT.glob(f"bench/{module}*")) if target != module else re.search(rf"^{target}:", makefile, re.M)
            )
            assert known or target == "bench-NAME", f"{name_of(page)}: make {target}"
        for named in re.findall(r"python -m ([a-z_][\w.]*\w)", text):
            path = ROOT / named.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file() or named == "bench.NAME", named


def test_a_route_that_is_named_is_there() -> None:
    """Of the page's and the trainer's API; with ids in braces, or as they might be."""
    from server.app import ROUTES

    routes = [(method, route.path) for part in ROUTES for route in part.router.routes for method in route.methods]

    def is_there(method: str, path: str) -> bool:
        said = path.rstrip("/").split("/")
        for offered, route in routes:
            parts = route.split("/")
            alike = all(a == b or b.startswith("{") for a, b in zip(said, parts, strict=False))
            if method in (offered, "") and len(said) == len(parts) and alike:
                return True
        return False

    wrong, seen = [], 0
    for page in PAGES:
        for methods, path in re.findall(
            r"((?:[A-Z]+(?:`?, `?))*[A-Z]+)? ?`?(/(?:api|internal)/[\w/{}.-]*\w\}?)", words(page)
        ):
            for method in re.findall(r"GET|POST|PUT|PATCH|DELETE", methods) or [""]:
                seen += 1
                if not is_there(method, path) and path != "/api/admin":  # all under it
                    wrong.append(f"{name_of(page)}: {method} {path}")
    assert not wrong
    assert seen > 20
