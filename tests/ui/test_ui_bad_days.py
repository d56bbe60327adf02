"""What goes wrong around a chat: messages that are lost, turns that cross, refusals, keys mistyped, other tabs."""

import itertools
import threading
from types import SimpleNamespace

import httpx
import pytest
from playwright.sync_api import expect
from support.fake_chat_gateway import FakeGateway, Script, serving
from support.open_pages import loses_one

from ui.gate import Gate

PASTE = """(kinds) => { const data = new DataTransfer();
  for (const kind of kinds) {
    if (kind.startsWith('image/')) data.items.add(new File(['x'], 'image.png', {type: kind}));
    else data.setData(kind, 'a\\tb');
  }
  const event = new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true});
  document.querySelector('#message').dispatchEvent(event);
  return event.defaultPrevented; }"""
FOLDER = """() => { const folder = new File([], 'photos-2026'), data = new DataTransfer();
  folder.text = () => Promise.reject(new DOMException('a folder', 'NotFoundError'));
  const event = new DragEvent('drop', {bubbles: true, cancelable: true});
  const files = [folder, new File(['# Soup'], 'soup.md')];
  Object.defineProperty(event, 'dataTransfer', {value: {types: ['Files'], files}});
  document.querySelector('#view-chat').dispatchEvent(event); }"""


def test_a_message_that_was_lost_on_its_way_is_asked_after_and_sent_again(shown) -> None:
    page = shown.page
    shown.ask("about soup")
    shown.answered()
    page.evaluate("ruminate.patience = 300")
    loses_one(page)
    shown.ask("and then?")
    shown.answered(2)
    expect(page.locator(".row.user .bubble")).to_have_text(["about soup", "and then?"])
    expect(page.locator("#message")).to_have_value("")
    assert len(shown.gateway.asked) == 2


def test_a_lost_message_that_was_stopped_is_not_sent_again(shown) -> None:
    page = shown.page
    page.evaluate("ruminate.patience = 2000")
    loses_one(page)
    shown.ask("hello")
    expect(page.locator("body.answering")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("body.answering")).to_have_count(0)
    expect(page.locator("#message")).to_have_value("hello")
    assert shown.gateway.asked == []


def test_a_slow_answer_that_was_heard_of_is_not_asked_after(shown) -> None:
    page = shown.page
    page.evaluate("ruminate.patience = 1000")
    shown.gateway.script = Script(first_pause=3)
    shown.ask("hello")
    shown.answered()
    assert len(shown.gateway.asked) == 1
    expect(page.locator(".toast")).to_have_count(0)


def test_a_message_whose_page_has_turned_meanwhile_goes_to_no_other_conversation(
    shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = shown.page
    shown.ask("about soup")
    shown.answered()
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    shown.ask("about rice")
    shown.answered()
    known, asked, rivals = threading.Event(), threading.Event(), Gate.rivals

    def late(gate: Gate) -> tuple[str, list[str]]:
        asked.set()
        assert known.wait(60)
        return rivals(gate)

    monkeypatch.setattr(Gate, "rivals", late)
    page.click("#options")
    page.check("input[name=compare][value=previous]", force=True)
    shown.ask("only for the rice")
    while not asked.is_set():
        page.wait_for_timeout(20)
    page.click(".item:has-text('about soup') a")
    expect(page.locator(".row.user .bubble")).to_have_text(["about soup"])
    known.set()
    shown.ask("and then?")
    shown.answered(2)
    assert "only for the rice" not in str(shown.gateway.asked)
    page.click(".item:has-text('about rice') a")
    expect(page.locator("#message")).to_have_value("only for the rice")


def test_a_network_that_goes_says_nothing_of_a_server_that_is_there(shown) -> None:
    page = shown.page
    shown.gateway.consent = "none"  # such a conversation is in no record to come back to
    shown.gateway.script = Script(thought=[], response=[f"w{n} " for n in range(40)], pause=0.1)
    shown.ask("hello")
    expect(page.locator(".row.live .md")).to_contain_text("w2 ")
    page.evaluate("dispatchEvent(new Event('offline'))")
    expect(page.locator("#lost")).to_be_hidden()
    shown.answered()
    expect(page.locator(".row.assistant .md")).to_contain_text("w39")
    expect(page.locator(".note.failed")).to_have_count(0)


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [
        (["text/plain", "text/html", "image/png"], False),  # a spreadsheet's cells
        (["text/html", "image/png"], True),  # a picture of a web page
        (["text/plain", "image/png"], True),  # a file, with its name, of a file manager
    ],
)
def test_what_is_pasted_with_a_picture_of_itself_stays_words(shown, kinds: list[str], taken: bool) -> None:
    assert shown.page.evaluate(PASTE, kinds) is taken
    expect(shown.page.locator(".toast", has_text="is a picture")).to_have_count(1 if taken else 0)


def test_a_folder_is_refused_and_the_files_beside_it_are_taken(shown) -> None:
    shown.page.evaluate(FOLDER)
    expect(shown.page.locator("#files li")).to_have_text(["soup.md"])
    expect(shown.page.locator(".toast")).to_contain_text("photos-2026 is not a text file")


@pytest.mark.parametrize("key", ["rk–0123", "кл-0123", "rk-\u200b0123"])
def test_a_key_that_no_header_can_carry_is_refused_in_a_sentence(served, key: str) -> None:
    reply = httpx.post(f"{served.url}/signin", json={"key": key})
    assert (reply.status_code, reply.json()) == (401, {"error": "The server does not accept this key."})


def test_signing_in_or_out_without_a_server_is_told_and_loses_nothing(chromium) -> None:
    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway(key="rk-ann")
    with serving(gateway.app) as address, serving(create_app(UiSettings(gateway=address))) as url:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(url)
        page.route("**/signin", lambda route: route.abort())
        page.fill("dialog.signin input", "rk-ann")
        page.click("dialog.signin .primary")
        expect(page.locator("dialog.signin .failed")).to_contain_text("can't be reached")
        page.unroute("**/signin")
        page.route("**/signin", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
        page.locator("dialog.signin .failed").evaluate("node => { node.textContent = ''; }")
        page.click("dialog.signin .primary")
        expect(page.locator("dialog.signin .failed")).to_contain_text("can't be reached")
        page.unroute("**/signin")
        page.click("dialog.signin .primary")
        page.wait_for_function("() => window.ruminate?.me?.consent && !document.querySelector('dialog')")
        page.fill("#message", "half a thought")
        page.route("**/signout", lambda route: route.abort())
        page.click("#settings")
        page.click("dialog button:has-text('Sign out')")
        expect(page.locator("dialog[open] .toast")).to_contain_text("can't be reached")
        expect(page.locator("#message")).to_have_value("half a thought")
        page.unroute("**/signout")
        page.click("dialog button:has-text('Sign out')")
        expect(page.locator("dialog.signin")).to_be_visible()
        expect(page.locator("#message")).to_have_value("")
        context.close()


def test_a_thumb_that_the_gateway_refused_does_not_stand_as_given(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    page.click("[data-do=good]")
    expect(page.locator(".why")).to_be_visible()
    while not shown.gateway.feedback:
        page.wait_for_timeout(20)
    shown.gateway.before_it = (503, "<h1>Busy</h1>")
    page.click("[data-do=bad]")
    expect(page.locator(".toast")).to_contain_text("could not do this")
    expect(page.locator("[data-do=bad]")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("[data-do=good]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".why")).to_have_count(0)


def test_a_consent_that_the_gateway_refused_does_not_stand_as_given(shown) -> None:
    page = shown.page
    page.click("#settings")
    shown.gateway.before_it = (503, "<h1>Busy</h1>")
    page.click("[name=consent][value=none]")
    expect(page.locator("dialog[open] .toast")).to_contain_text("could not do this")
    expect(page.locator("[name=consent][value=train]")).to_be_checked()
    shown.gateway.before_it = None
    page.check("[name=consent][value=history]")
    expect(page.locator("dialog[open] .toast", has_text="Saved")).to_be_visible()
    expect(page.locator("[name=consent][value=history]")).to_be_checked()
    page.keyboard.press("Escape")
    page.click("#options")
    page.check("input[name=compare][value=samples]", force=True)
    shown.ask("hello")
    expect(page.locator(".choose")).to_be_visible()
    shown.ask("and then?")
    expect(page.locator(".toast:visible", has_text="Choose one")).to_be_visible()  # the dialog took none away


def test_what_other_tabs_remember_is_not_written_over(shown) -> None:
    """Each tab has its own copy; an opt-out that the record does not show yet must outlive another tab's."""
    page = shown.page
    other = shown.context.new_page()
    other.goto(shown.url)
    other.wait_for_function("() => window.ruminate?.me?.consent")
    page.evaluate("ruminate.remember('opt-outs', JSON.stringify({one: 'history'}))")
    page.evaluate("ruminate.remember('branches', JSON.stringify({one: 'tip'}))")
    page.evaluate("ruminate.remember('options', JSON.stringify({one: {think: false, effort: '', compare: ''}}))")
    other.fill("#message", "hello")
    other.press("#message", "Enter")
    expect(other.locator(".row.assistant .by")).to_be_visible()
    other.evaluate("ruminate.branchChosen()")
    other.click("#think")
    for name in ("opt-outs", "branches", "options"):
        assert "one" in page.evaluate("name => JSON.parse(ruminate.recall(name, '{}'))", name), name


def test_a_download_comes_also_where_the_servers_machine_was_started_anew(
    shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = shown.page
    clock = itertools.count(10**6, -1)  # what it counts since its start is less than before
    monkeypatch.setattr("ui.tab.time", SimpleNamespace(monotonic_ns=lambda: next(clock)))
    shown.ask("hello")
    shown.answered()
    for _ in range(2):
        page.hover(".item")
        page.click(".item .icon-button")
        with page.expect_download() as found:
            page.click(".menu button:has-text('Export JSON')")
        assert found.value.suggested_filename.endswith(".json")
