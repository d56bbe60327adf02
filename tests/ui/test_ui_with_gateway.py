"""The page in front of the real gateway and its database; only the engine is a stand-in. In a real Chromium."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from support.fake_chat_gateway import serving
from support.fake_engine import FakeEngine
from support.gateways import gateway_in_a_thread


@dataclass
class House:
    engine: FakeEngine
    page: Page

    def ask(self, text: str) -> None:
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")

    def answered(self, count: int) -> None:
        self.page.wait_for_function(
            "n => document.querySelectorAll('.row.assistant:not(.live)').length === n && !ruminate.answering()",
            arg=count,
        )


@asynccontextmanager
async def started(engine: FakeEngine) -> AsyncIterator[list[str]]:
    await engine.start()
    try:
        yield [engine.url]
    finally:
        await engine.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeEngine, str]]:
    engine = FakeEngine()
    with gateway_in_a_thread(tmp_path_factory.mktemp("home"), started(engine)) as running:
        yield engine, running.url


@pytest.fixture
def house(chromium: Browser, gateway: tuple[FakeEngine, str]) -> Iterator[House]:
    from ui.app import create_app
    from ui.settings import UiSettings

    engine, address = gateway
    engine.delay, engine.first_delay = 0.005, 0.0
    with serving(create_app(UiSettings(gateway=address))) as url:
        context = chromium.new_context(viewport={"width": 1200, "height": 800})
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(url)
        page.wait_for_function("() => window.ruminate?.me?.consent")
        yield House(engine, page)
        context.close()


def test_a_talk_with_branches_is_the_same_after_a_reload(house: House) -> None:
    page = house.page
    house.ask("first question")
    house.answered(1)
    expect(page.locator(".thought summary")).to_contain_text("3 tokens")
    expect(page.locator(".row.assistant .md")).to_contain_text("ruminate-v0-says5")
    expect(page.locator(".by")).to_have_text("ruminate-v0")
    house.ask("second question")
    house.answered(2)
    page.locator(".row.user").nth(1).hover()
    page.locator("[data-do=edit]").nth(1).click()
    page.fill(".editor textarea", "second, but better")
    page.press(".editor textarea", "Enter")
    house.answered(2)
    page.reload()
    house.answered(2)
    expect(page.locator(".row.user .bubble")).to_have_text(["first question", "second, but better"])
    expect(page.locator(".stepper")).to_have_text("2/2")
    page.click(".row.user [data-do=back]")
    expect(page.locator(".row.user .bubble")).to_have_text(["first question", "second question"])
    page.click("[data-thoughts=open]")
    expect(page.locator(".thought-text").first).to_have_text(
        "ruminate-v0-thinks0 ruminate-v0-thinks1 ruminate-v0-thinks2"
    )


def test_searching_finds_words_that_were_said_in_a_conversation(house: House) -> None:
    page = house.page
    house.ask("how long does a walrus sleep?")
    house.answered(1)
    item = page.locator(".item", has=page.locator("[aria-current]"))
    expect(item).to_have_count(1)
    item.hover()
    item.locator("button").click()
    page.click(".menu button:has-text('Rename')")
    page.fill("dialog input", "of animals")
    page.press("dialog input", "Enter")
    expect(item).to_have_text("of animals")
    page.click("#new")
    page.fill("#search", "WALRUS")
    expect(page.locator(".item")).to_have_count(1)
    expect(page.locator(".item a small")).to_have_text("how long does a walrus sleep?")
    page.press("#search", "Enter")
    expect(page.locator(".row.user .bubble")).to_have_text("how long does a walrus sleep?")
    page.fill("#search", "walruses")
    expect(page.locator("#conversations .quiet")).to_have_text("No conversation matches.")
    page.fill("#search", "Animals")
    expect(page.locator(".item")).to_have_text(["of animals"])
    page.fill("#search", "")
    expect(page.locator(".item a small")).to_have_count(0)


def test_a_rating_a_new_title_and_a_consent_are_kept(house: House) -> None:
    page = house.page
    house.ask("rate this")
    house.answered(1)
    page.click("[data-do=good]")
    page.fill(".why input", "short and right")
    page.press(".why input", "Enter")
    expect(page.locator(".why")).to_have_count(0)
    item = page.locator(".item", has=page.locator("[aria-current]"))
    item.hover()
    item.locator("button").click()
    page.click(".menu button:has-text('Rename')")
    page.fill("dialog input", "a good one")
    page.press("dialog input", "Enter")
    expect(item).to_have_text("a good one")
    page.click("#settings")
    page.check("dialog input[value=history]")
    expect(page.locator("#trust")).to_contain_text("they train nothing")
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator("[data-do=good]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#trust")).to_contain_text("they train nothing")
    page.click("#settings")
    page.check("dialog input[value=train]")
    expect(page.locator("#trust")).to_contain_text("used to train")


def test_an_answer_that_is_kept_is_asked_again_by_the_real_gateways_record(house: House) -> None:
    page = house.page
    house.ask("keep this one")
    house.answered(1)
    button = page.locator("[data-do=keep]")
    expect(page.locator(".item a[aria-current]")).to_have_text("keep this one")  # recorded, and not only served
    button.click()
    page.click("dialog .option:has-text('Never again')")
    page.click("dialog [value=yes]")
    expect(button).to_have_attribute("aria-label", "Kept: Never again")
    page.reload()
    expect(button).to_have_attribute("aria-label", "Kept: Never again")
    page.click("#tab-training")
    row = page.locator("tr", has=page.locator("[data-do=drop]"))
    expect(row).to_contain_text("ruminate-v0-says0")
    row.locator("a[href^='?c=']").click()
    expect(page.locator(".row.user .bubble")).to_have_text("keep this one")
    page.click("#settings")
    page.check("dialog input[value=history]")
    expect(page.locator("#trust")).to_contain_text("they train nothing")
    page.keyboard.press("Escape")
    button.click()
    page.click("dialog .option:has-text('This answer was good')")
    page.click("dialog [value=yes]")
    expect(page.locator(".toast", has_text="was written under another choice")).to_be_visible()
    page.click("#tab-training")
    expect(page.locator("#training")).to_contain_text("None yet. The eye under an answer keeps it")
    page.click("#settings")
    page.check("dialog input[value=train]")
    expect(page.locator("#trust")).to_contain_text("used to train")


def test_what_learnt_from_a_conversation_is_what_the_real_gateway_says(house: House) -> None:
    page = house.page
    house.ask("may it learn this?")
    house.answered(1)
    item = page.locator(".item", has=page.locator("[aria-current]"))
    expect(item).to_have_text("may it learn this?")
    item.locator("button").click()
    page.click(".menu button:has-text('What learnt')")
    expect(page.locator("dialog p")).to_have_text("No checkpoint yet. A later round may choose it.")
    page.keyboard.press("Escape")
    page.click("#settings")
    page.check("dialog input[value=history]")
    expect(page.locator(".toast")).to_have_text("Saved.")
    page.keyboard.press("Escape")
    item.locator("button").click()
    page.click(".menu button:has-text('What learnt')")
    expect(page.locator("dialog p")).to_have_text(
        "No checkpoint, and none will: nothing may learn from it, as you chose."
    )
    page.keyboard.press("Escape")
    page.click("#settings")
    page.check("dialog input[value=train]")
    expect(page.locator("#trust")).to_contain_text("used to train")


def test_a_comparison_in_a_new_conversation_is_recorded_by_the_real_gateway(house: House) -> None:
    page = house.page
    before = page.locator(".item").count()
    page.click("#options")
    page.click("[data-option=compare] label:has-text('Two samples')")
    page.keyboard.press("Escape")
    house.ask("which is better?")
    expect(page.locator(".choose")).to_be_visible()
    page.reload()
    expect(page.locator(".choose")).to_be_visible()
    page.click("[data-choice=left]")
    expect(page.locator(".toast")).to_have_text("Both were by ruminate-v0.")
    expect(page.locator(".row.assistant .chosen")).to_be_visible()
    expect(page.locator(".item")).to_have_count(before + 1)
    expect(page.locator(".item a[aria-current]")).to_have_text("which is better?")


def test_what_is_kept_nowhere_is_still_answered(house: House) -> None:
    page = house.page
    page.click("#settings")
    page.check("dialog input[value=none]")
    expect(page.locator("#trust")).to_contain_text("not kept")
    page.keyboard.press("Escape")
    before = page.locator(".item").count()
    house.ask("forget this")
    house.answered(1)
    house.ask("and this")
    house.answered(2)
    assert "c=" not in page.url
    assert page.locator(".item").count() == before
    page.click("#settings")
    page.check("dialog input[value=train]")
    expect(page.locator("#trust")).to_contain_text("used to train")


def test_stopping_frees_the_engine_and_the_record_has_what_was_said(house: House) -> None:
    page = house.page
    house.engine.delay = 0.4
    house.ask("a long one")
    expect(page.locator(".row.live .thought-text")).to_contain_text("thinks1")
    page.click("#stop")
    house.answered(1)
    expect(page.locator(".note")).to_contain_text("You stopped this before there was an answer.")
    page.wait_for_timeout(500)
    assert house.engine.running == 0
    house.engine.delay = 0.005
    page.reload()
    expect(page.locator(".note")).to_contain_text("cut off before it was complete")
    page.locator(".note").get_by_role("button", name="Try again").click()
    house.answered(1)
    expect(page.locator(".row.assistant .md")).to_contain_text("says5")
    expect(page.locator(".item a[aria-current]")).to_have_text("a long one")


def test_a_reload_amid_a_first_answer_finds_it_before_the_gateway_has_a_record(house: House) -> None:
    page = house.page
    before = page.locator(".item").count()
    house.engine.delay = 1.5
    house.ask("which animal sleeps longest?")
    expect(page.locator(".row.live .thought-text")).to_contain_text("thinks0")
    page.reload()
    expect(page.locator(".row.live .thought-text")).to_contain_text("thinks1")
    expect(page.locator(".row.user .bubble")).to_have_text("which animal sleeps longest?")
    house.engine.delay = 0.005
    house.answered(1)
    expect(page.locator(".row.assistant .md")).to_contain_text("says5")
    expect(page.locator(".item")).to_have_count(before + 1)
    page.reload()
    house.answered(1)
    expect(page.locator(".row.user .bubble")).to_have_text("which animal sleeps longest?")


def test_a_conversation_that_a_program_began_with_instructions_opens_and_goes_on(
    house: House, gateway: tuple[FakeEngine, str]
) -> None:
    page = house.page
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "name an animal"}]
    reply = httpx.post(f"{gateway[1]}/v1/chat/completions", json={"model": "ruminate", "messages": said})
    page.evaluate("name => ruminate.go({ c: name })", reply.headers["x-ruminate-conversation"])
    for count in (1, 2):
        house.answered(count)
        expect(page.locator(".row.aside summary")).to_contain_text("Instructions to the model")
        page.click(".row.aside summary")
        expect(page.locator(".row.aside pre")).to_have_text("Be brief.")
        if count == 1:
            house.ask("and another")
            house.answered(2)
            page.reload()
    expect(page.locator(".row.user .bubble")).to_have_text(["name an animal", "and another"])


def test_an_engine_that_dies_in_mid_answer_is_told_and_retried(house: House) -> None:
    page = house.page
    house.engine.die_after = 6
    house.ask("hello")
    expect(page.locator(".note.failed")).to_contain_text("The model went away in the middle of the answer. Try again.")
    house.engine.die_after = None
    page.click(".note button")
    house.answered(1)
    expect(page.locator(".row.assistant .md")).to_contain_text("says5")


def test_the_training_page_shows_the_house_and_asks_for_a_round(house: House) -> None:
    page = house.page
    page.click("#tab-training")
    expect(page.locator(".live-card h1")).to_have_text("v0")
    expect(page.locator("tr", has_text="base")).to_contain_text("live")
    page.click("#do-start")
    page.fill("dialog input", "to see it move")
    page.press("dialog input", "Enter")
    row = page.locator("tr", has_text="to see it move")
    expect(row).to_contain_text("waiting for a trainer")
    row.locator("a").first.click()
    page.click("[data-do=cancel]")
    page.click("dialog [value=yes]")
    expect(page.locator(".badge", has_text="stopped")).to_be_visible()
    page.click("text=Back to the overview")
    page.click("tr:has-text('base') a")
    expect(page.locator("h1", has_text="Checkpoint v0")).to_be_visible()


def test_the_gateways_docs_work_without_an_internet(house: House, gateway: tuple[FakeEngine, str]) -> None:
    url = gateway[1]
    asked: list[str] = []
    house.page.on("request", lambda request: asked.append(request.url))
    house.page.goto(f"{url}/docs")
    expect(house.page.locator(".opblock", has_text="/v1/chat/completions").first).to_be_visible()
    assert all(one.startswith((url, "data:", "blob:")) for one in asked), asked
