"""Chatting with the real model through the real gateway, in a real Chromium: nothing is made up but the pace.

What the page shows is held against the gateway's record. The model's words differ from time to time, so what is
asserted is what every answer has.
"""

import re

import pytest
from playwright.sync_api import expect
from support.real_page import ASK, Behind, Person

SECOND = "Plan three dinners for two, no nuts."
HELD = "0123456789abcdef0123456789abcdef"
TITLE = re.compile(r"^Thought for (\d+(\.\d)?) s, (\d+) tokens?$")
WATCH = """() => { window.touched = 0; window.frames = [];
  const old = [...document.querySelectorAll('#rows > .row')];
  const all = {subtree: true, childList: true, characterData: true, attributes: true};
  const grows = ({ target }) => (target.closest ? target : target.parentElement)?.closest('.row.live .md');
  new MutationObserver((records) => {
    window.touched += records.filter((one) => old.some((row) => row.contains(one.target))).length;
    if (records.some(grows)) window.frames.push(performance.now());
  }).observe(document.querySelector('#rows'), all); }"""
SAID = """A table, code and a formula:

| a | b |
|---|---|
| 1 | 2 |

```python
def f():
    return 1
```

$$\\frac{1}{2}$$"""


@pytest.fixture
def clipboard(ann: Person) -> Person:
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return ann


def test_a_thought_is_written_under_a_running_clock_and_closed_when_the_response_begins(
    behind: Behind, clipboard: Person
) -> None:
    ann, page = clipboard, clipboard.page
    behind.slowly(0.3)
    ann.ask()
    expect(page.locator(".row.user .bubble")).to_have_text(ASK)
    thought = page.locator(".row.live details.thought")
    expect(thought).to_have_attribute("open", "")
    expect(thought.locator("summary")).to_contain_text(re.compile(r"^Thinking · [1-9]"))
    early = len(thought.locator(".thought-text").inner_text())
    page.wait_for_function(
        "n => document.querySelector('.row.live .thought-text').textContent.length > n + 5", arg=early
    )
    behind.slowly()
    expect(page.locator(".row.live .md")).not_to_be_empty()
    expect(thought.locator("summary")).to_have_text(re.compile(r"^Thought for \d"))
    expect(thought).not_to_have_attribute("open", "")
    behind.fast()
    ann.answered()
    (made,) = ann.answers()
    told = TITLE.match(page.inner_text(".thought summary"))
    assert told
    assert int(told[3]) == made["reasoning_tokens"] > 3
    assert made["ending"] == "complete"
    assert float(told[1]) >= 1
    page.click(".thought summary")
    assert page.locator(".thought-text").text_content() == made["reasoning"]
    expect(page.locator(".by")).to_have_text(made["model"])
    assert made["model"] == f"ruminate-{behind.published}"
    page.click(".row.assistant [data-do=copy]")
    expect(page.locator("#announcer")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == made["content"]


def test_frames_come_thirty_a_second_at_most_and_touch_the_last_message_alone(behind: Behind, ann: Person) -> None:
    page = ann.page
    ann.ask()
    ann.answered()
    page.evaluate(WATCH)
    behind.valve.pause = 0.02
    ann.ask(SECOND)
    ann.answered(2)
    touched, frames = page.evaluate("[window.touched, window.frames]")
    assert touched == 0
    assert len(frames) > 5
    assert (len(frames) - 1) / ((frames[-1] - frames[0]) / 1000) <= 30


def test_the_switch_for_thoughts_works_on_old_answers_and_is_remembered(ann: Person) -> None:
    page = ann.page
    ann.ask()
    ann.answered()
    ann.ask(SECOND)
    ann.answered(2)
    thoughts = page.locator("details.thought")
    recorded = [made["reasoning"] for made in ann.answers()]
    for thought in thoughts.all():
        expect(thought).not_to_have_attribute("open", "")
    page.click("[data-thoughts=open]")
    expect(page.locator(".thought-text")).to_have_count(2)
    for thought, words in zip(page.locator(".thought-text").all(), recorded, strict=True):
        expect(thought).to_be_visible()
        assert thought.text_content() == words
    page.reload()
    ann.answered(2)
    expect(page.locator(".thought-text").first).to_be_visible()
    for summary, made in zip(page.locator(".thought summary").all(), ann.answers(), strict=True):
        told = TITLE.match(summary.inner_text())  # a reload knows the time and the tokens from the record
        assert told
        assert int(told[3]) == made["reasoning_tokens"]
    page.click("[data-thoughts=off]")
    for thought in thoughts.all():
        expect(thought).to_be_hidden()
    page.reload()
    ann.answered(2)
    expect(thoughts.first).to_be_hidden()
    page.click("[data-thoughts=collapsed]")
    expect(thoughts.first).to_be_visible()
    expect(thoughts.first).not_to_have_attribute("open", "")


def test_thinking_and_effort_are_a_conversations_own(people, ann: Person) -> None:
    page = ann.page
    page.click("#options")
    page.click("[data-option=effort] label:has-text('High')")
    page.keyboard.press("Escape")
    ann.ask()
    ann.answered()
    page.click("#think")
    ann.ask(SECOND)
    ann.answered(2)
    first, second = ann.answers()
    assert (first["thinks"], first["effort"]) == (True, "high")
    assert first["reasoning"]
    assert not second["thinks"]
    assert not second["reasoning"]
    expect(page.locator("details.thought").nth(1)).to_be_hidden()
    page.reload()
    ann.answered(2)
    expect(page.locator("#think")).to_have_attribute("aria-pressed", "false")
    elsewhere = people(key=ann.key)  # another browser goes by how the last answer was asked for
    elsewhere.page.goto(page.url)
    elsewhere.answered(2)
    expect(elsewhere.page.locator("#think")).to_have_attribute("aria-pressed", "false")
    elsewhere.page.click("#new")
    expect(elsewhere.page.locator("#think")).to_have_attribute("aria-pressed", "true")


def test_stop_frees_the_engine_and_what_was_written_stays(behind: Behind, ann: Person) -> None:
    page = ann.page
    behind.slowly()
    ann.ask()
    expect(page.locator(".row.live .md")).not_to_be_empty()
    page.click("#stop")
    ann.answered()
    expect(page.locator(".note")).to_have_text("You stopped this answer.")
    behind.fast()
    behind.engine_is_idle()
    shown = page.inner_text(".row.assistant .md")
    page.reload()
    ann.answered()
    (made,) = ann.answers()
    assert made["ending"] == "interrupted"
    assert shown
    assert made["content"].startswith(shown.split("\n")[0])
    expect(page.locator(".note")).to_contain_text("cut off before it was complete")
    page.click(".note button")
    ann.answered()
    expect(page.locator(".stepper")).to_have_text("2/2")
    assert ann.answers()[-1]["ending"] == "complete"


def test_another_answer_and_an_edit_are_branches_that_one_steps_through(ann: Person) -> None:
    page = ann.page
    answer = page.locator(".row.assistant .md")
    ann.ask()
    ann.answered()
    first = answer.inner_text()
    page.click("[data-do=again]")
    ann.answered()
    expect(page.locator(".stepper")).to_have_text("2/2")
    second = answer.inner_text()
    page.click("[data-do=back]")
    expect(page.locator(".stepper")).to_have_text("1/2")
    assert answer.inner_text() == first
    page.reload()
    ann.answered()
    expect(page.locator(".stepper")).to_have_text("1/2")  # the branch that was stepped to
    page.hover(".row.user")
    page.click("[data-do=edit]")
    page.fill(".editor textarea", SECOND)
    page.press(".editor textarea", "Enter")
    ann.answered()
    expect(page.locator(".row.user .bubble")).to_have_text(SECOND)
    page.click(".row.user [data-do=back]")
    expect(page.locator(".row.user .bubble")).to_have_text(ASK)
    messages = ann.recorded()["messages"]
    questions = {one["id"]: one["content"] for one in messages if one["role"] == "user"}
    assert sorted(questions.values()) == sorted([ASK, SECOND])
    assert [one["parent_id"] for one in messages if one["role"] == "user"] == [None, None]
    assert [questions[made["parent"]] for made in ann.answers()] == [ASK, ASK, SECOND]
    assert {first, second} >= {page.locator(".row.assistant .md").inner_text()}


def test_code_tables_and_formulas_of_a_conversation_are_drawn(behind: Behind, clipboard: Person) -> None:
    """The embedded model writes none: another client has held the first turn, and the model goes on from there."""
    ann, page = clipboard, clipboard.page
    history = [{"role": "user", "content": "Show me."}, {"role": "assistant", "content": SAID}]
    body = {"model": "ruminate", "messages": [*history, {"role": "user", "content": ASK}]}
    body["ruminate"] = {"conversation_id": HELD, "origin": "chat"}
    ann.api.call("POST", "/v1/chat/completions", body)
    page.goto(f"{ann.url}/?c={HELD}")
    ann.answered(2)
    first = page.locator(".row.assistant").first
    expect(first.locator(".code pre .k").first).to_have_text("def")
    expect(first.locator("table td")).to_have_text(["1", "2"])
    assert first.locator("math mfrac").count() == 1
    first.locator("[data-do=copy-code]").click()
    assert page.evaluate("navigator.clipboard.readText()") == "def f():\n    return 1\n"


def test_files_go_along_and_a_picture_is_refused_where_the_model_reads_text(ann: Person) -> None:
    page = ann.page
    page.set_input_files("#file-input", {"name": "a.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n"})
    expect(page.locator(".toast")).to_have_text("a.png is a picture; this server's models read text only.")
    page.set_input_files("#file-input", {"name": "soup.txt", "mimeType": "text/plain", "buffer": b"leeks, cream"})
    ann.ask("Plan a dinner with this.")
    ann.answered()
    expect(page.locator(".row.user .file summary")).to_contain_text("soup.txt")
    said = ann.recorded()["messages"][0]["content"]
    assert said.startswith("File: soup.txt\n```\nleeks, cream")
    assert said.endswith("Plan a dinner with this.")


def test_what_goes_wrong_is_told_in_a_sentence_and_tried_again(behind: Behind, ann: Person) -> None:
    page = ann.page
    behind.slowly()
    ann.ask()
    expect(page.locator(".row.live .thought-text")).not_to_be_empty()
    behind.valve.cut = True
    note = page.locator(".note.failed")
    expect(note).to_contain_text("The model went away in the middle of the answer. Try again.")
    behind.fast()
    note.get_by_role("button", name="Try again").click()
    expect(page.locator(".row.assistant .by")).to_be_visible()
    ann.answered()
    assert page.locator(".row").count() == 2
    assert [made["ending"] for made in ann.answers()][-1] == "complete"
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    ann.ask("soup " * 1500)
    expect(note).to_contain_text("This is more than the model can read at once.")
    expect(note.locator("button")).to_have_text("Try again")
