"""What the page's server may lose or refuse, and what is then still there. In a real Chromium."""

import re
import socket

import pytest
from playwright.sync_api import expect
from support.fake_chat_gateway import FakeGateway, Script, serving
from support.open_pages import pages_of


def test_a_message_goes_on_with_its_history_after_the_server_was_started_anew(shown) -> None:
    page = shown.page
    shown.ask("first")
    shown.answered()
    address = page.url
    shown.forget_pages()
    shown.ask("and then?")
    shown.answered(2)
    roles = [message["role"] for message in shown.gateway.asked[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert page.url == address
    assert page.locator(".row").count() == 4
    assert len(shown.gateway.conversations) == 1
    assert page.input_value("#message") == ""


def test_what_was_kept_nowhere_can_not_go_on_and_says_so(shown) -> None:
    page = shown.page
    shown.gateway.consent = "none"
    shown.ask("first")
    shown.answered()
    shown.forget_pages()
    shown.ask("and then?")
    expect(page.locator(".toast")).to_contain_text("kept nothing of this conversation")
    assert page.input_value("#message") == "and then?"
    assert page.locator(".row").count() == 2
    assert len(shown.gateway.asked) == 1


def test_a_branch_is_stepped_to_after_the_server_was_started_anew(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    shown.gateway.script = Script(response=["another answer"])
    page.click("[data-do=again]")
    shown.answered()
    expect(page.locator(".stepper")).to_have_text("2/2")
    shown.forget_pages()
    page.evaluate("document.querySelector('.row').dataset.before = ''")
    page.click("[data-do=back]")  # the conversation is read anew
    expect(page.locator("[data-before]")).to_have_count(0)
    page.click("[data-do=back]")
    expect(page.locator(".stepper")).to_have_text("1/2")


def test_a_refused_message_comes_back_with_its_files_and_can_be_tried_again(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(thought=[], response=["one", "done"], hold_at=(1,))
    shown.ask("one")
    page.wait_for_url(re.compile(r"\?c="))
    other = shown.context.new_page()
    other.goto(page.url)
    expect(other.locator("body.answering")).to_have_count(1)
    other.fill("#message", "two")
    other.set_input_files("#file-input", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"words"})
    expect(other.locator("#files li")).to_contain_text("a.txt")
    other.evaluate(
        """() => { const { files } = ruminate.files(); ruminate.draftSent();
        ruminate.ask({do: 'send', text: 'two', files, pictures: []}); }"""
    )
    expect(other.locator(".note.failed")).to_contain_text("being answered already")
    expect(other.locator("#message")).to_have_value("two")
    expect(other.locator("#files li")).to_contain_text("a.txt")
    shown.gateway.release()
    shown.answered()
    shown.gateway.script = Script(response=["second answer"])
    other.wait_for_timeout(300)
    other.click(".note.failed button")
    expect(other.locator(".row.assistant:not(.live) .md").last).to_have_text("second answer")
    assert shown.gateway.asked[-1]["messages"][-1]["content"] == "File: a.txt\n```\nwords\n```\n\ntwo"
    assert other.input_value("#message") == ""
    expect(other.locator("#files")).to_be_hidden()
    expect(other.locator(".refused")).to_have_count(0)


def test_a_message_that_meets_another_answer_when_it_is_sent_again_comes_back(shown) -> None:
    page = shown.page
    shown.ask("first")
    shown.answered()
    shown.forget_pages()
    other = shown.context.new_page()
    other.goto(page.url)
    expect(other.locator(".row.user")).to_have_count(1)
    shown.gateway.script = Script(thought=[], response=["w1 ", "w2 ", "w3"], hold_at=(2,))
    other.fill("#message", "from the other page")
    other.press("#message", "Enter")
    expect(other.locator(".row.live .md")).to_contain_text("w2")
    shown.ask("and then?")
    expect(page.locator(".row.live .md")).to_contain_text("w2")
    expect(page.locator(".toast")).to_contain_text("read anew meanwhile")
    expect(page.locator("#message")).to_have_value("and then?")
    shown.gateway.release()
    shown.answered(2)
    page.reload()
    expect(page.locator("#message")).to_have_value("and then?")
    assert len(shown.gateway.asked) == 2


def test_files_and_edits_that_are_not_sent_outlive_a_reload(shown) -> None:
    page = shown.page
    shown.ask("first")
    shown.answered()
    page.set_input_files("#file-input", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"words"})
    page.hover(".row.user")
    page.click("[data-do=edit]")
    page.fill(".editor textarea", "first, but")
    page.reload()
    expect(page.locator(".editor textarea")).to_have_value("first, but")
    expect(page.locator("#files li")).to_contain_text("a.txt")
    page.press(".editor textarea", "Enter")
    shown.answered()
    assert shown.gateway.asked[-1]["messages"][-1]["content"] == "first, but"
    page.reload()
    shown.answered()
    expect(page.locator(".editor")).to_have_count(0)


def test_deleting_ones_data_forgets_drafts_as_well(shown) -> None:
    page = shown.page
    page.fill("#message", "half a thought")
    page.click("#settings")
    page.click("dialog .danger-text")
    page.click("dialog.ask [value=yes]")
    expect(page.locator(".toast", has_text="Your data was deleted")).to_be_visible()
    expect(page.locator("#message")).to_have_value("")
    assert page.evaluate("Object.keys(sessionStorage).filter((name) => name.includes('draft'))") == []


def test_deleting_ones_data_leaves_no_conversations_id_in_the_browser(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    (talk,) = shown.gateway.conversations
    kept = "() => Object.values({ ...localStorage, ...sessionStorage }).join()"
    shown.gateway.script = Script(response=["another answer"])
    page.click("[data-do=again]")
    shown.answered()
    page.click("[data-do=back]")
    expect(page.locator(".stepper")).to_have_text("1/2")
    page.click("#settings")
    page.uncheck("dialog input[type=checkbox]")
    page.keyboard.press("Escape")
    assert page.evaluate(kept).count(talk) >= 2
    page.click("#settings")
    page.click("dialog .danger-text")
    page.click("dialog.ask [value=yes]")
    expect(page.locator(".toast", has_text="Your data was deleted")).to_be_visible()
    shown.ask("afterwards")  # remembers again what is remembered of conversations
    shown.answered()
    page.click("#think")
    assert talk not in page.evaluate(kept)


def test_a_page_that_begins_before_the_gateway_says_so_and_comes_to_life_with_it(chromium) -> None:
    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway()
    gateway.conversations["one"] = gateway._talk("one")
    gateway._message(gateway.conversations["one"], None, "user", "about soup")
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        address = kept.getsockname()
    with serving(create_app(UiSettings(gateway="http://{}:{}".format(*address)))) as url:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{url}/?c=one")
        bar = page.locator("#lost")
        expect(bar).to_contain_text("The model's server can't be reached. Trying again")
        assert str(address[1]) not in page.content()
        assert "Errno" not in page.content()
        page.fill("#message", "and then?")
        page.press("#message", "Enter")
        expect(page.locator(".toast")).to_contain_text("can't be reached")
        page.evaluate("window.same = true")
        with serving(gateway.app, address):
            expect(page.locator(".row.user .bubble")).to_have_text("about soup")
            expect(bar).to_be_hidden()
            expect(page.locator(".item")).to_have_count(1)
            expect(page.locator("#announcer")).to_have_text("The model's server is back.")
            assert page.evaluate("window.same")
            expect(page.locator("#message")).to_have_value("and then?")
            assert gateway.asked == []
            page.press("#message", "Enter")
            expect(page.locator(".row.user")).to_have_count(2)
            expect(page.locator("body.answering")).to_have_count(0)
            assert gateway.asked[-1]["messages"][0]["content"] == "about soup"
        context.close()


def test_a_closed_page_is_forgotten(chromium, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_IS_E2E_TEST", "1")  # Gradio then waits a second instead of an hour
    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway()
    with serving(gateway.app) as address:
        app = create_app(UiSettings(gateway=address))
        pages = pages_of(app)
        with serving(app) as url:
            context = chromium.new_context()
            page = context.new_page()
            page.goto(url)
            page.wait_for_function("() => window.ruminate?.me?.consent")
            assert any(one.state_data for one in pages.values())
            page.close()
            other = context.new_page()
            for _ in range(600):
                if not any(one.state_data for one in pages.values()):
                    break
                other.wait_for_timeout(50)
            assert not any(one.state_data for one in pages.values())
            context.close()


def test_a_key_that_holds_no_more_brings_the_sign_in_dialog_and_the_message_is_kept(chromium) -> None:
    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway(key="rk-old")
    with serving(gateway.app) as address, serving(create_app(UiSettings(gateway=address))) as url:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(url)
        signs_in(page, "rk-old")
        gateway.key = "rk-new"
        page.fill("#message", "hello?")
        page.press("#message", "Enter")
        expect(page.locator("dialog.signin")).to_be_visible()
        assert "API key" not in page.locator("#rows").inner_text()
        signs_in(page, "rk-new")
        expect(page.locator("#message")).to_have_value("hello?")
        context.close()


def test_who_signs_in_after_another_gets_nothing_of_theirs(chromium) -> None:
    """In a tab that stayed open, which hears of the other's signing out only by what the server says."""
    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway(key="rk-ann")
    with serving(gateway.app) as address, serving(create_app(UiSettings(gateway=address))) as url:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(url)
        signs_in(page, "rk-ann")
        page.fill("#message", "only Ann may read this")
        page.press("#message", "Enter")
        expect(page.locator(".row.assistant .by")).to_be_visible()
        left = context.new_page()
        left.add_init_script("addEventListener('storage', (event) => event.stopImmediatePropagation(), true)")
        left.goto(page.url)
        expect(left.locator(".row.user .bubble")).to_have_text("only Ann may read this")
        before = context.cookies()
        page.click("#settings")
        page.click("dialog button:has-text('Sign out')")
        expect(page.locator("dialog.signin")).to_be_visible()
        assert context.cookies()[0]["value"] != before[0]["value"]
        gateway.reset()
        gateway.key = "rk-ben"
        signs_in(page, "rk-ben")
        left.fill("#message", "what did we say?")
        left.press("#message", "Enter")
        expect(left.locator(".toast")).to_contain_text("does not exist, or it is not yours")
        assert gateway.asked == []
        assert "only Ann" not in left.locator("#rows").inner_text()
        context.close()


def signs_in(page, key: str) -> None:
    page.fill("dialog.signin input", key)
    page.click("dialog.signin .primary")
    page.wait_for_function("() => window.ruminate?.me?.consent && !document.querySelector('dialog')")


def test_on_a_phone_enter_is_a_new_line(chromium, served) -> None:
    served.gateway.reset()
    context = chromium.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(served.url)
    page.wait_for_function("() => window.ruminate?.me?.consent")
    page.fill("#message", "soup")
    page.press("#message", "Enter")
    page.type("#message", "or rice?")
    assert page.input_value("#message") == "soup\nor rice?"
    assert served.gateway.asked == []
    page.click("#send")
    expect(page.locator(".row.assistant .by")).to_be_visible()
    assert served.gateway.asked[0]["messages"][0]["content"] == "soup\nor rice?"
    context.close()
