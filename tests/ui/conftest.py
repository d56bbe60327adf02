"""A real Chromium on a real page: one browser for all tests, and for each a page that has nothing of another.

Most stand before the fake gateway (`shown`), whose answers a test can set; those of test_ui_with_engine_*.py before the
real one with the real engine (`behind`, `people`, `ann`).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright
from support import chromium as debians
from support.components import require_component
from support.engine import RealEngine
from support.fake_chat_gateway import FakeGateway, serving
from support.lent_page import Lender, LentPage
from support.open_pages import pages_of
from support.real_page import Behind, Person, people_of, running_page

PATIENCE_MS = 60_000  # two cores may be busy with other things; nothing waits this long otherwise


@dataclass
class Shown:
    """What a test works with: the gateway behind the page, the page's address and the browser's page."""

    gateway: FakeGateway
    url: str
    page: LentPage
    forget_pages: Callable[[], None] = lambda: None

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    def ask(self, text: str) -> None:
        """Write and send."""
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")

    def answered(self, count: int = 1) -> None:
        """Wait until `count` answers stand finished on the page."""
        self.page.wait_for_function(
            "n => document.querySelectorAll('.row.assistant:not(.live)').length === n"
            " && !document.body.classList.contains('answering')",
            arg=count,
        )

    def cancelled(self, count: int = 1) -> None:
        """Wait until the gateway has seen `count` streams close; on a busy machine that takes a while."""
        deadline = time.monotonic() + 5
        while self.gateway.cancelled < count:
            assert time.monotonic() < deadline, f"the gateway saw {self.gateway.cancelled} of {count} streams close"
            self.page.wait_for_timeout(50)
        assert self.gateway.cancelled == count

    def ready(self) -> None:
        """Wait until the page has its first values."""
        self.page.wait_for_function("() => window.ruminate?.me?.consent")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    require_component(Path(debians.PATH).exists(), f"Chromium ({debians.PATH})")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=debians.PATH, args=debians.FLAGS)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Served:
    """`forget_pages`: the page's server loses what it knows of open pages, as after a restart of its process."""

    gateway: FakeGateway
    url: str
    forget_pages: Callable[[], None]


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """One gateway and one page's server for all tests; each test gets a gateway made new (see `shown`)."""
    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway()
    with serving(gateway.app) as address:
        app = create_app(UiSettings(gateway=address))
        with serving(app) as url:
            yield Served(gateway, url, pages_of(app).clear)


@pytest.fixture(scope="session")
def lender(chromium: Browser, served: Served) -> Iterator[Lender]:
    found = Lender(chromium, served.url, PATIENCE_MS)
    yield found
    found.close()


@pytest.fixture
def shown(lender: Lender, served: Served) -> Iterator[Shown]:
    """A page that nobody has used, open and ready, the gateway's memory empty."""
    served.gateway.reset()
    page = lender.lend()
    page.goto(served.url)
    result = Shown(served.gateway, served.url, page, served.forget_pages)
    result.ready()
    yield result
    errors = [*page.errors]
    lender.give_back(page)
    assert not errors, f"the page's scripts failed: {errors}"


@pytest.fixture(scope="session")
def behind(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """The page with gateway, database and engine as people have them: one for all tests, a person for each."""
    if not real_engine.answers():
        real_engine.start()
    with running_page(real_engine, tmp_path_factory.mktemp("behind") / "home") as found:
        yield found


@pytest.fixture(scope="session")
def lender_behind(chromium: Browser, behind: Behind) -> Iterator[Lender]:
    found = Lender(chromium, behind.url, PATIENCE_MS)
    yield found
    found.close()


@pytest.fixture
def people(lender_behind: Lender, behind: Behind) -> Iterator[Callable[..., Person]]:
    """Makes people who are signed in: `people()`, `people("admin")`."""
    with people_of(behind, lender_behind) as make:
        yield make


@pytest.fixture
def ann(people: Callable[..., Person]) -> Person:
    """Somebody who has a key and has said nothing yet, on a page that is ready."""
    return people()
