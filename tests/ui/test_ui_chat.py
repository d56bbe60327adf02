"""Chatting on the page, in a real Chromium: the stream, the thought, stopping, branches, errors."""

import re

from playwright.sync_api import expect
from support.fake_chat_gateway import Script


def test_a_thought_runs_with_a_clock_and_closes_when_the_response_begins(shown) -> None:
    shown.gateway.script = Script(pause=0.05, thought=[f"word{n} " for n in range(30)], hold_at=(30,))
    shown.ask("Plan three dinners for two, no nuts.")
    page = shown.page
    thought = page.locator(".row.live details.thought")
    expect(thought).to_have_attribute("open", "")
    expect(thought.locator("summary")).to_contain_text(re.compile(r"Thinking · [1-9]"))
    expect(thought.locator(".thought-text")).to_contain_text("word29")
    shown.gateway.release()
    shown.answered()
    expect(page.locator(".thought summary")).to_have_text(re.compile(r"^Thought for \d\.?\d? s, 30 tokens$"))
    assert page.locator(".thought").get_attribute("open") is None
    expect(page.locator(".row.assistant .md")).to_contain_text("a plan")
    assert page.locator(".row.assistant .md ol li").count() == 2
    expect(page.locator(".by")).to_have_text("ruminate-v2")


def test_what_was_asked_shows_at_once_and_the_answer_comes_piece_by_piece(shown) -> None:
    shown.gateway.script = Script(thought=[], response=[f"w{n} " for n in range(60)], pause=0.02, first_pause=0.5)
    shown.ask("hello")
    expect(shown.page.locator(".row.user .bubble")).to_have_text("hello")
    expect(shown.page.locator(".row.live")).to_contain_text("w5 ")
    assert "w59" not in shown.page.inner_text(".row.live")
    shown.answered()
    expect(shown.page.locator(".row.assistant .md")).to_contain_text("w59")


def test_frames_touch_only_the_last_message(shown) -> None:
    for number in range(3):
        shown.ask(f"question {number}")
        shown.answered(number + 1)
    shown.gateway.script = Script(thought=[f"t{n} " for n in range(20)], response=[f"w{n} " for n in range(40)])
    shown.page.evaluate(
        """() => {
          window.touched = 0; window.frames_seen = 0;
          const old = [...document.querySelectorAll('#rows > .row')];
          new MutationObserver((records) => { window.touched += records.filter(
            (r) => old.some((row) => row.contains(r.target))).length; }).observe(
            document.querySelector('#rows'), {subtree: true, childList: true, characterData: true, attributes: true});
          new MutationObserver(() => { window.frames_seen += 1; }).observe(
            document.querySelector('#rows'), {subtree: true, childList: true, characterData: true});
        }"""
    )
    shown.ask("question 3")
    shown.answered(4)
    assert shown.page.evaluate("window.touched") == 0
    assert shown.page.evaluate("window.frames_seen") > 5


def test_the_switch_for_thoughts_works_on_old_answers_and_is_remembered(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    thought = page.locator("details.thought")
    page.click("[data-thoughts=open]")
    expect(thought.locator(".thought-text")).to_contain_text("step 12 of the plan")
    page.click("[data-thoughts=off]")
    expect(thought).to_be_hidden()
    page.reload()
    expect(page.locator(".row.assistant .md")).to_contain_text("a plan")
    expect(page.locator("details.thought")).to_be_hidden()
    page.click("[data-thoughts=collapsed]")
    expect(page.locator("details.thought")).to_be_visible()
    assert page.locator("details.thought").get_attribute("open") is None


def test_stop_ends_the_answer_and_keeps_what_was_written(shown) -> None:
    shown.gateway.script = Script(thought=["thinking "], response=[f"w{n} " for n in range(500)], pause=0.02)
    shown.ask("a long one")
    expect(shown.page.locator(".row.live .md")).to_contain_text("w3")
    shown.page.click("#stop")
    shown.answered()
    expect(shown.page.locator(".note")).to_have_text("You stopped this answer.")
    expect(shown.page.locator(".row.assistant .md")).to_contain_text("w3")
    shown.cancelled()


def test_escape_stops_an_answer_that_is_silent(shown) -> None:
    shown.gateway.script = Script(first_pause=30)
    shown.ask("hello?")
    shown.page.wait_for_timeout(300)
    shown.page.keyboard.press("Escape")
    shown.answered()
    expect(shown.page.locator(".note")).to_have_text("You stopped this before there was an answer. Try again")


def test_answering_again_is_a_branch_one_can_step_through(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    shown.gateway.script = Script(response=["another answer"])
    page.click("[data-do=again]")
    shown.answered()
    expect(page.locator(".row.assistant .md")).to_have_text("another answer")
    expect(page.locator(".stepper")).to_have_text("2/2")
    page.click("[data-do=back]")
    expect(page.locator(".row.assistant .md")).to_contain_text("a plan")
    expect(page.locator(".stepper")).to_have_text("1/2")
    assert [len(asked["messages"]) for asked in shown.gateway.asked] == [1, 1]


def test_an_edited_message_is_sent_again_as_a_branch(shown) -> None:
    page = shown.page
    shown.ask("first")
    shown.answered()
    shown.ask("second")
    shown.answered(2)
    page.locator(".row.user").first.hover()
    page.locator("[data-do=edit]").first.click()
    page.fill(".editor textarea", "first, but better")
    page.press(".editor textarea", "Enter")
    shown.answered(1)
    expect(page.locator(".row.user .bubble")).to_have_text("first, but better")
    assert shown.gateway.asked[-1]["messages"] == [{"role": "user", "content": "first, but better"}]
    page.click(".row.user [data-do=back]")
    shown.answered(2)
    expect(page.locator(".row.user .bubble").nth(1)).to_have_text("second")


def test_a_follow_up_sends_the_path_on_the_page_without_thoughts(shown) -> None:
    shown.ask("first")
    shown.answered()
    shown.ask("and then?")
    shown.answered(2)
    asked = shown.gateway.asked[-1]
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    assert "step 1 of the plan" not in asked["messages"][1]["content"]
    assert asked["ruminate"]["conversation_id"] in shown.page.url


def test_an_error_is_a_sentence_with_a_retry_that_works(shown) -> None:
    shown.gateway.script = Script(refuse=(503, "no engine is ready; it is starting"))
    shown.ask("hello")
    note = shown.page.locator(".note.failed")
    expect(note).to_contain_text("No engine is ready; it is starting.")
    shown.gateway.script = Script()
    note.locator("button").click()
    shown.answered()
    expect(shown.page.locator(".row.assistant .md")).to_contain_text("a plan")
    assert shown.page.locator(".row").count() == 2


def test_an_answer_that_breaks_off_keeps_its_text_and_says_so(shown) -> None:
    shown.gateway.script = Script(thought=[], break_after=2)
    shown.ask("hello")
    expect(shown.page.locator(".note.failed")).to_contain_text("The engine went away in mid-answer; try again.")
    expect(shown.page.locator(".row.assistant .md")).to_contain_text("a plan")


def test_a_thought_that_ate_the_whole_length_says_so(shown) -> None:
    page = shown.page
    shown.gateway.script = Script(response=[], finish="length")
    shown.ask("hello")
    shown.answered()
    note = page.locator(".note")
    expect(note).to_contain_text("The thought used up the whole length limit")
    expect(page.locator("#announcer")).to_contain_text("The thought used up the whole length limit")
    shown.gateway.script = Script(response=["soup"])
    shown.ask("and then?")
    shown.answered(2)
    asked = [(one["role"], one["content"]) for one in shown.gateway.asked[-1]["messages"]]
    assert asked == [("user", "hello"), ("assistant", ""), ("user", "and then?")]
    page.reload()
    shown.answered(2)
    expect(page.locator(".row.user .bubble")).to_have_text(["hello", "and then?"])
    note.first.locator("[data-do=unthought]").click()
    shown.answered()
    expect(page.locator(".row.assistant .md")).to_have_text("soup")
    assert shown.gateway.asked[-1]["chat_template_kwargs"] == {"enable_thinking": False}
    assert [one["content"] for one in shown.gateway.asked[-1]["messages"]] == ["hello"]
    expect(page.locator("#think")).to_have_attribute("aria-pressed", "true")


def test_think_first_off_asks_for_no_thought(shown) -> None:
    shown.page.click("#think")
    shown.ask("quick")
    shown.answered()
    assert shown.gateway.asked[-1]["chat_template_kwargs"] == {"enable_thinking": False}
    expect(shown.page.locator("details.thought")).to_be_hidden()


def test_code_is_highlighted_formulas_are_drawn_and_html_stays_text(shown) -> None:
    answer = (
        "```python\ndef f():\n    return 1\n```\n\n$$\\frac{1}{2}$$\n\n"
        '<img src=x onerror="window.hacked=1">\n\n$\\text{<img src=x onerror=window.hacked=1>}$ '
        "[x](javascript:alert(1))"
    )
    shown.gateway.script = Script(response=[answer[at : at + 7] for at in range(0, len(answer), 7)])
    shown.ask("code, please")
    shown.answered()
    page = shown.page
    expect(page.locator(".code pre .k").first).to_have_text("def")
    assert page.locator(".formula math mfrac").count() == 1
    assert page.locator(".md img").count() == 0
    assert page.locator(".md a").count() == 0
    assert page.evaluate("window.hacked") is None
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-do=copy-code]")
    assert page.evaluate("navigator.clipboard.readText()") == "def f():\n    return 1\n"
    page.click(".row.assistant [data-do=copy]")
    assert page.evaluate("navigator.clipboard.readText()") == answer


def test_a_rating_reaches_the_gateway_with_tags_words_and_what_was_shown(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    page.click(".thought summary")
    page.click("[data-do=bad]")
    page.click(".tag[data-tag=incomplete]")
    page.fill(".why input", "the third dinner is missing")
    page.press(".why input", "Enter")
    expect(page.locator(".why")).to_have_text("Thank you, noted.")
    expect(page.locator(".why")).to_have_count(0)  # it goes a moment later, when the gateway has the words as well
    opinion = shown.gateway.feedback[0]
    assert (opinion["rating"], opinion["tags"]) == (-1, ["incomplete"])
    assert opinion["words"] == "the third dinner is missing"
    width = page.viewport_size["width"]
    assert opinion["shown"] == {"thoughts": "collapsed", "opened": True, "width": width, "blind": False}
    page.reload()
    expect(page.locator("[data-do=bad]")).to_have_attribute("aria-pressed", "true")


def test_a_thumb_that_is_pressed_again_is_taken_back(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    thumb = page.locator("[data-do=bad]")
    thumb.click()
    expect(page.locator(".why")).to_be_visible()
    thumb.click()
    expect(page.locator(".why")).to_have_count(0)
    expect(thumb).to_have_attribute("aria-pressed", "false")
    page.click("[data-do=good]")
    expect(page.locator(".why")).to_contain_text("Helpful")
    page.click("[data-do=good]")
    page.reload()
    expect(page.locator("[data-do=good]")).to_have_attribute("aria-pressed", "false")
    assert shown.gateway.feedback == []
    assert [call[0] for call in shown.gateway.calls if "feedback" in call[1]] == ["POST", "DELETE", "POST", "DELETE"]
