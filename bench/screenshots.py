"""Pictures of the page in each state, light, dark and on a phone: `make bench-screenshots`.

Without an address it shows a page in front of the tests' gateway, which writes a made-up conversation; with the address
of a running page the words are the model's.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
FLAGS += ["--disable-component-update", "--disable-sync"]

QUESTION = "Plan three dinners for two, no nuts."
THOUGHT = """The user wants three dinners for two people. The rule is: no nuts, so I leave out pesto and satay.
I should keep each dinner simple, name it, and give the main ingredients. Monday can be soup, Tuesday rice, and
Wednesday something from the oven. A table reads well; at the end one line about shopping."""
ANSWER = """Here are **three dinners for two**, without nuts:

| Day | Dinner | What you need |
|---|---|---|
| Monday | Leek and potato soup | 2 leeks, 3 potatoes, stock, cream |
| Tuesday | Lemon rice with peas | 150 g rice, peas, 1 lemon, parsley |
| Wednesday | Baked cod with tomatoes | 2 fillets, 400 g tomatoes, olives |

Buy the cod on Wednesday. The rest keeps:

1. Cook double the rice on Tuesday.
2. Freeze what is left of the soup.

Each takes about $t = 30$ minutes."""


@dataclass(frozen=True)
class Look:
    """How the page is looked at."""

    name: str
    width: int
    height: int
    scheme: Any  # "light" or "dark"


LOOKS = (Look("light", 1280, 800, "light"), Look("dark", 1280, 800, "dark"), Look("phone", 390, 800, "light"))


@contextlib.contextmanager
def demonstration() -> Iterator[str]:
    """A page in front of the tests' gateway; gives its address."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.fake_chat_gateway import FakeGateway, Script, serving

    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway()
    gateway.script = Script(thought=_pieces(THOUGHT.replace("\n", " ")), response=_pieces(ANSWER), pause=0.015)
    with serving(gateway.app) as address, serving(create_app(UiSettings(gateway=address))) as url:
        yield url


def _pieces(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")]


def take(page: Any, url: str, look: Look, out: Path) -> dict[str, int]:
    """All pictures of one look; their sizes in bytes."""
    sizes: dict[str, int] = {}

    def picture(state: str) -> None:
        file = out / f"{state}-{look.name}.png"
        page.screenshot(path=file)
        sizes[file.name] = file.stat().st_size

    for state, reach in STATES.items():
        reach(page, url)
        picture(state)
    return sizes


def _ready(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_function("() => window.ruminate?.me?.consent")


def _ask(page: Any) -> None:
    page.fill("#message", QUESTION)
    page.press("#message", "Enter")


def _welcome(page: Any, url: str) -> None:
    _ready(page, url)


def _thinking(page: Any, url: str) -> None:
    _ask(page)
    page.wait_for_function(
        "() => (document.querySelector('.thought-text')?.textContent.length ?? 0) > 20", timeout=60_000
    )


def _answered(page: Any, url: str) -> None:
    page.wait_for_selector(".row.assistant:not(.live) .by", timeout=120_000)
    page.wait_for_timeout(300)


def _settings(page: Any, url: str) -> None:
    page.click("#settings")


def _training(page: Any, url: str) -> None:
    page.keyboard.press("Escape")
    page.click("#tab-training")
    page.wait_for_selector(".live-card")
    page.wait_for_timeout(300)


def _plots(page: Any, url: str) -> None:
    if page.locator("svg.plot").count():
        page.locator(".plots").scroll_into_view_if_needed()
        page.evaluate("document.querySelector('.plots').scrollIntoView()")
        box = page.locator("svg.plot").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2)


def _checkpoint(page: Any, url: str) -> None:
    page.evaluate("document.querySelector('.training a[href*=checkpoint]').click()")
    page.wait_for_selector(".facts")


STATES: dict[str, Callable[[Any, str], None]] = {
    "welcome": _welcome,
    "thinking": _thinking,
    "answered": _answered,
    "settings": _settings,
    "training": _training,
    "plots": _plots,
    "checkpoint": _checkpoint,
}


def main() -> int:
    """Take the pictures; the last line printed is JSON with each file's size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="address of a running page; without it, a demonstration is started")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    from playwright.sync_api import sync_playwright

    sizes: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        url = given.url or stack.enter_context(demonstration())
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for look in LOOKS:
            context = browser.new_context(color_scheme=look.scheme, locale="en-GB")
            page = context.new_page()
            page.set_viewport_size({"width": look.width, "height": look.height})
            sizes |= take(page, url, look, given.out)
        browser.close()
    print(json.dumps({"bench": "screenshots", "bytes": sizes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
