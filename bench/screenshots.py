"""Pictures of the page in each state, light, dark and on a phone: `make bench-screenshots`.

Those of the README and the docs come from a real house: bench/pictures.py. Without an address it shows a page in front
of the tests' gateway, which writes a made-up conversation; with the address of a running page the words are the
model's, and only the states that any house has are taken (bench/scenes.py).
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scenes import ANSWER, PLAIN, SCRIPTED, Stage

ROOT = Path(__file__).parents[1]
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
FLAGS += ["--disable-component-update", "--disable-sync"]
SETTLED_MS = 250  # after a state is reached: fonts, the last frame, a plot's line


@dataclass(frozen=True)
class Look:
    """How the page is looked at."""

    name: str
    width: int
    height: int
    scheme: Any  # "light" or "dark"


LOOKS = (Look("light", 1280, 800, "light"), Look("dark", 1280, 800, "dark"), Look("phone", 390, 800, "light"))


@contextlib.contextmanager
def demonstration() -> Iterator[tuple[str, Any]]:
    """A page in front of the tests' gateway; gives its address and that gateway."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.fake_chat_gateway import FakeGateway, serving

    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway()
    with serving(gateway.app) as address, serving(create_app(UiSettings(gateway=address))) as url:
        yield url, gateway


def take(stage: Stage, look: Look, out: Path, wanted: set[str]) -> dict[str, int]:
    """All pictures of one look; their sizes in bytes. Moving things stand still."""
    sizes: dict[str, int] = {}
    if stage.gateway is not None:
        stage.gateway.reset()
        stage.says(ANSWER)
    scenes = PLAIN | (SCRIPTED if stage.gateway is not None else {})
    for state, reach in scenes.items():
        reach(stage)
        if wanted and state not in wanted:
            continue
        stage.page.wait_for_timeout(SETTLED_MS)
        file = out / f"{state}-{look.name}.png"
        stage.page.screenshot(path=file, animations="disabled")
        sizes[file.name] = file.stat().st_size
    return sizes


def main() -> int:
    """Take the pictures; the last line printed is JSON with each file's size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="address of a running page; without it, a demonstration is started")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", nargs="*", default=[], help="states to take a picture of; without it, all")
    parser.add_argument("--look", choices=[look.name for look in LOOKS], help="one look; without it, all")
    given = parser.parse_args()
    unknown = set(given.only) - PLAIN.keys() - SCRIPTED.keys()
    if unknown:
        parser.error(f"there is no state {', '.join(sorted(unknown))}; there are: {', '.join(PLAIN | SCRIPTED)}")
    given.out.mkdir(parents=True, exist_ok=True)

    from playwright.sync_api import sync_playwright

    sizes: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        url, gateway = (given.url, None) if given.url else stack.enter_context(demonstration())
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for look in LOOKS:
            if given.look not in (None, look.name):
                continue
            context = browser.new_context(color_scheme=look.scheme, locale="en-GB", reduced_motion="reduce")
            page = context.new_page()
            page.set_viewport_size({"width": look.width, "height": look.height})
            sizes |= take(Stage(page, url, gateway), look, given.out, set(given.only))
            context.close()
        browser.close()
    print(json.dumps({"bench": "screenshots", "bytes": sizes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
