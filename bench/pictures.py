"""The pictures of the README and the docs, all in one go, from a real house: `python -m bench.pictures HOME`.

HOME is the home of a house on SQLite that has published a round; it is copied, with the files of its checkpoints, and
left alone. Over the copy an engine, a gateway and a page are started, a few conversations are held, and docs/images is
written anew. The one of highlighted code is of the demonstration (bench/screenshots.py): embedded models write none.
The last line is JSON.
"""

import argparse
import json
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from bench.scenes import Stage
from bench.screenshots import CHROMIUM, FLAGS, LOOKS, ROOT, demonstration, take
from bench.stack import running
from bench.ui.programs import the_page

OF_A_HOUSE = {
    "welcome-light": "welcome-light",
    "thinking-light": "thinking-light",
    "answered-light": "chat-light",
    "settings-light": "settings-light",
    "training-light": "training-light",
    "win-rates-light": "win-rates-light",
    "checkpoint-light": "checkpoint-light",
    "choosing-light": "compare-light",
    "plots-dark": "plots-dark",
    "options-phone": "options-phone",
    "training-phone": "training-phone",
}
OF_THE_DEMONSTRATION = {"code-dark": "code-dark"}
"""State and look of each picture, and its name under docs/images."""
QUESTION = "Write a short email to my landlord about a broken heater."
TALKS = {
    "Three dinners": "Plan three dinners for two, no nuts.",
    "The history of tea": "Outline a talk about the history of tea.",
    "A lighthouse": "Tell me a short story about a lighthouse.",
    "Breakfast for guests": "Plan a breakfast for four guests.",
}
"""Titles and questions of the conversations in the side bar, oldest first."""


def copied(home: Path, to: Path) -> None:
    """The home under a new path, in which its checkpoints lie where its database says; what is asked there is kept."""
    shutil.copytree(home, to, ignore=shutil.ignore_patterns("*.log", "spool"))
    with sqlite3.connect(to / "ruminate.db") as database:
        for name, path in database.execute("SELECT name, path FROM checkpoints WHERE path IS NOT NULL").fetchall():
            here = to / "checkpoints" / Path(path).name
            if not here.is_dir():
                raise SystemExit(f"{home} has no files of {name} under checkpoints/{here.name}; name another home")
            database.execute("UPDATE checkpoints SET path = ? WHERE name = ?", (str(here), name))
        database.execute("UPDATE users SET consent = 'train'")


def talk(gateway: str) -> None:
    """Hold the conversations."""
    with httpx.Client(base_url=gateway, timeout=240) as client:
        for title, question in TALKS.items():
            body = {"model": "ruminate", "messages": [{"role": "user", "content": question}]}
            reply = client.post("/v1/chat/completions", json=body | {"ruminate": {"origin": "chat"}}).raise_for_status()
            path = f"/api/conversations/{reply.headers['x-ruminate-conversation']}"
            client.patch(path, json={"title": title}).raise_for_status()


def forget(gateway: str) -> None:
    """Drop what the pictures of one look have asked, so that those of the next begin as it did."""
    with httpx.Client(base_url=gateway, timeout=60) as client:
        for one in client.get("/api/conversations").raise_for_status().json()["data"]:
            if one["title"] not in TALKS:
                client.delete(f"/api/conversations/{one['id']}").raise_for_status()


def pictures(
    browser: Any, url: str, gateway: Any, names: dict[str, str], out: Path, question: str, house: str = ""
) -> list[Path]:
    """Take those in `names` and put them under `out`."""
    written: list[Path] = []
    for look in LOOKS:
        wanted = {name.rsplit("-", 1)[0] for name in names if name.endswith(f"-{look.name}")}
        if not wanted:
            continue
        context = browser.new_context(color_scheme=look.scheme, locale="en-GB", reduced_motion="reduce")
        page = context.new_page()
        page.set_viewport_size({"width": look.width, "height": look.height})
        with tempfile.TemporaryDirectory() as folder:
            for file in take(Stage(page, url, gateway, question), look, Path(folder), wanted):
                written.append(out / f"{names[file.removesuffix('.png')]}.png")
                shutil.copy(Path(folder) / file, written[-1])
        context.close()
        if house:
            forget(house)
    return written


def main() -> int:
    """Take the pictures; the last line printed is JSON with each file's size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="home of a house that has published a round")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--ask", default=QUESTION, help="what is asked in the pictures of the chat")
    given = parser.parse_args()

    from playwright.sync_api import sync_playwright

    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder) / "home"
        copied(given.home, home)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with running(home) as house, the_page(Path(folder), house.gateway) as page:
            talk(house.gateway)
            written = pictures(browser, page.url, None, OF_A_HOUSE, given.out, given.ask, house.gateway)
        with demonstration() as (url, gateway):
            written += pictures(browser, url, gateway, OF_THE_DEMONSTRATION, given.out, QUESTION)
        browser.close()
    print(json.dumps({"bench": "pictures", "bytes": {one.name: one.stat().st_size for one in written}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
