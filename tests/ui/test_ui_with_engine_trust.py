"""Feedback on the real model's answers, and what a person may say about their words: seen in the gateway's record."""

import re
from collections.abc import Callable
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect
from sqlalchemy import func, select
from support.real_page import ASK, Behind, Person
from support.waiting import wait_until

from db.schema import Conversation, Feedback, Generation, Message

SECOND = "Plan three dinners for two, no nuts."


@contextmanager
def settings(ann: Person):
    """The dialog of settings, closed at the end."""
    ann.page.click("#settings")
    yield ann.page.locator("dialog.settings")
    ann.page.keyboard.press("Escape")
    expect(ann.page.locator("dialog")).to_have_count(0)


def test_a_thumb_with_tags_and_words_is_recorded_and_can_be_taken_back(ann: Person) -> None:
    page = ann.page
    ann.ask()
    ann.answered()
    page.click("[data-do=bad]")
    page.click(".tag[data-tag=incomplete]")
    page.click(".tag[data-tag=style]")
    page.fill(".why input", "the date is missing")
    page.press(".why input", "Enter")
    expect(page.locator(".why")).to_have_text("Thank you, noted.")
    (made,) = ann.answers()
    wait_until(lambda: bool((ann.recorded()["feedback"] or [{"words": ""}])[0]["words"]), "the words were not recorded")
    (opinion,) = ann.recorded()["feedback"]
    assert (opinion["generation_id"], opinion["rating"]) == (made["id"], -1)
    assert (sorted(opinion["tags"]), opinion["words"]) == (["incomplete", "style"], "the date is missing")
    assert (opinion["shown"]["thoughts"], opinion["shown"]["blind"]) == ("collapsed", False)
    page.reload()
    thumb = page.locator("[data-do=bad]")
    expect(thumb).to_have_attribute("aria-pressed", "true")
    thumb.click()
    expect(thumb).to_have_attribute("aria-pressed", "false")
    wait_until(lambda: ann.recorded()["feedback"], "the thumb was not taken back", [])


@pytest.mark.parametrize("among", ["Two samples", "With another version"])
def test_two_answers_are_compared_blind_and_the_choice_is_recorded(behind: Behind, ann: Person, among: str) -> None:
    page = ann.page
    ann.compare(among)
    ann.ask()
    expect(page.locator(".choose")).to_be_visible()
    assert "ruminate-v" not in page.locator("#rows").inner_html()
    one, other = (page.locator(".side-answer").nth(index).bounding_box() for index in (0, 1))
    assert one is not None
    assert other is not None
    assert one["y"] == other["y"]
    texts = page.locator(".side-answer .md").all_inner_texts()
    page.reload()
    expect(page.locator(".choose")).to_be_visible()
    assert "ruminate-v" not in page.locator("#rows").inner_html()
    page.click("[data-choice=right]")
    expect(page.locator(".row.assistant .chosen")).to_be_visible()
    assert page.inner_text(".row.assistant .md") == texts[1]
    (choice,) = ann.recorded()["comparisons"]
    made = {one["id"]: one for one in ann.answers()}
    assert set(made) == {choice["left"], choice["right"]}
    assert words_of(made[choice["right"]]["content"]) == words_of(texts[1])
    assert choice["choice"] == "right"
    names = [made[choice[side]]["model"] for side in ("left", "right")]
    assert choice["shown"]["models"] == names
    assert choice["shown"]["blind"] is True
    assert choice["shown"]["layout"] == "beside"
    live = f"ruminate-{behind.published}"
    assert sorted(names) == ([live, live] if among == "Two samples" else ["ruminate-v0", live])
    toast = page.locator(".toast")
    expect(toast).to_have_text(
        f"Both were by {live}." if among == "Two samples" else f"You preferred {names[1]} to {names[0]}."
    )
    ann.compare("Off")
    ann.ask(SECOND)
    ann.answered(2)
    parents = {one["id"]: one["parent_id"] for one in ann.recorded()["messages"]}
    assert parents[ann.answers()[-1]["parent"]] == made[choice["right"]]["message"]  # it went on with the chosen one


def words_of(text: str) -> list[str]:
    """Without the marks of lists, which a browser draws."""
    return re.sub(r"^(\d+\.|-) ", "", text, flags=re.MULTILINE).split()


def test_the_first_use_says_what_is_recorded_and_a_change_holds_for_earlier_turns_too(ann: Person) -> None:
    page = ann.page
    words = "Your messages are kept on this server and used to train the next version."
    expect(page.locator("#trust-welcome")).to_contain_text(words)
    expect(page.locator("#trust")).to_contain_text(words)
    ann.ask()
    ann.answered()
    assert [made["consent"] for made in ann.answers()] == ["train"]
    with settings(ann) as dialog:
        dialog.locator("input[value=history]").check()
        expect(page.locator("#trust")).to_contain_text("they train nothing")
    assert ann.api.get("/api/me/consent")["consent"] == "history"
    ann.ask(SECOND)
    ann.answered(2)
    assert [made["consent"] for made in ann.answers()] == ["history", "history"]
    with settings(ann) as dialog:
        dialog.locator("input[value=none]").check()
        expect(page.locator("#trust")).to_contain_text("not kept")
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    ann.ask("forget this")
    ann.answered()
    assert "c=" not in page.url
    assert len(ann.api.get("/api/conversations")["data"]) == 1


def test_one_conversation_is_kept_out_of_training_and_let_in_again(ann: Person) -> None:
    page = ann.page
    before = trainable(ann)
    with settings(ann) as dialog:
        dialog.locator("input[type=checkbox]").uncheck()
    ann.ask()
    ann.answered()
    wait_until(lambda: ann.recorded()["consent"], "the conversation's own consent was not recorded", "history")
    assert [made["consent"] for made in ann.answers()] == ["history"]
    expect(page.locator("#trust")).to_contain_text("they train nothing")
    assert trainable(ann) == before
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator("#trust")).to_contain_text("used to train")
    ann.ask(f"Plan a dinner for {ann.name}.")  # one history counts once, whoever asked
    ann.answered()
    assert [made["consent"] for made in ann.answers()] == ["train"]
    assert ann.recorded()["consent"] is None
    wait_until(lambda: trainable(ann), "what may be learnt from is not counted", before + 1)
    with settings(ann) as dialog:
        dialog.locator("input[type=checkbox]").uncheck()
    wait_until(lambda: trainable(ann), "what was taken out is learnt from", before)


def trainable(ann: Person) -> int:
    return int(ann.api.status()["prompts"]["trainable"])


def test_delete_my_data_leaves_nothing_and_the_checkpoints_page_says_so(
    behind: Behind, people: Callable[..., Person]
) -> None:
    admin, teacher = people("admin"), people(key=behind.teacher_key)
    page = teacher.page
    admin.page.goto(f"{behind.url}/?checkpoint={behind.published}")
    facts = admin.page.locator(".facts")
    expect(facts).to_contain_text("1 recorded prompt and 2 of the base mix")
    teacher.ask()
    teacher.answered()
    page.click("[data-do=good]")
    expect(page.locator(".item")).to_have_count(2)
    with page.expect_download() as download:
        page.click("#settings")
        page.click("dialog button:has-text('Download my data')")
    assert ASK in download.value.path().read_text()
    page.click("dialog .danger-text")
    page.click("dialog.ask [value=yes]")
    expect(page.locator(".toast")).to_have_text("Your data was deleted.")
    expect(page.locator(".item")).to_have_count(0)
    expect(page.locator("#welcome")).to_be_visible()
    mine = behind.user_id("teacher")
    with behind.database.reading() as session:
        for table in (Generation, Feedback):
            assert session.scalar(select(func.count()).select_from(table).where(table.user_id == mine)) == 0, table
        talks = session.scalars(select(Conversation).where(Conversation.user_id == mine)).all()
        left = session.scalars(select(Message).where(Message.conversation_id.in_([talk.id for talk in talks]))).all()
    assert [talk.title for talk in talks if talk.deleted_at is not None] == [None, None]  # that they were, and no word
    assert left == []
    admin.page.reload()
    expect(facts).to_contain_text("1 recorded prompt and 2 of the base mix (1 forgotten since)")
