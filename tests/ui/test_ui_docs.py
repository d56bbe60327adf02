"""The gateway's page /docs in a browser: with a key under Authorize, what it tries out is answered."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from playwright.sync_api import Browser, Page, expect
from support.fake_engine import FakeEngine
from support.gateways import SERVICE_KEY, Running, gateway_in_a_thread

ME, PEOPLE = "#operations-me-get_me_api_me_get", "#operations-internal-people_internal_people_get"


@asynccontextmanager
async def an_engine() -> AsyncIterator[list[str]]:
    engine = FakeEngine()
    await engine.start()
    yield [engine.url]
    await engine.stop()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A house in which everybody needs a key."""
    home = tmp_path_factory.mktemp("docs") / "home"
    with gateway_in_a_thread(home, an_engine(), loopback_without_key=False) as house:
        yield house


def tried(page: Page, operation: str) -> str:
    """The status with which an operation is answered that is tried out."""
    block = page.locator(operation)
    if "is-open" not in (block.get_attribute("class") or ""):
        block.locator(".opblock-summary").click()
        block.get_by_role("button", name="Try it out").click()
    with page.expect_response(lambda answer: "/openapi.json" not in answer.url) as answer:
        block.get_by_role("button", name="Execute").click()
    return str(answer.value.status)


def test_a_key_under_authorize_is_sent_with_what_it_opens(chromium: Browser, keyed: Running) -> None:
    page = chromium.new_page()
    page.goto(f"{keyed.url}/docs")
    assert (tried(page, ME), tried(page, PEOPLE)) == ("401", "401")
    authorize(page, "x-api-key", (keyed.home / "admin.key").read_text(encoding="ascii").strip())
    assert (tried(page, ME), tried(page, PEOPLE)) == ("200", "401")
    expect(page.locator(f"{ME} .live-responses-table")).to_contain_text('"name": "admin"')
    authorize(page, "service", SERVICE_KEY)
    assert tried(page, PEOPLE) == "200"
    page.close()


def authorize(page: Page, scheme: str, key: str) -> None:
    page.locator(".auth-wrapper .btn.authorize").first.click()
    form = page.locator(".auth-container").filter(has=page.locator("h4", has_text=scheme)).first
    form.locator("input").fill(key)
    form.get_by_role("button", name="Apply credentials").click()
    page.locator(".modal-ux .btn-done").first.click()
