"""The conversation as a tree, and its exports."""

import json

from ui.exports import as_json, as_markdown
from ui.tree import Conversation, Row
from ui.words import load_words


def talk() -> tuple[Conversation, dict[str, Row]]:
    conversation = Conversation(title="soup")
    rows = {"q": Row("user", "soup?", None)}
    rows["a"] = Row("assistant", "leek", rows["q"].id, thought="which\nsoup", model="ruminate-v1")
    rows["b"] = Row("assistant", "pea", rows["q"].id, model="ruminate-v2")
    rows["q2"] = Row("user", "more", rows["a"].id)
    for name in ("q", "a", "q2"):
        conversation.add(rows[name])
    conversation.add(rows["b"])
    return conversation, rows


def test_a_new_branch_takes_the_place_of_what_stood_there() -> None:
    conversation, rows = talk()
    assert [row.text for row in conversation.shown()] == ["soup?", "pea"]
    assert [view["branch"] for view in conversation.view()] == [[1, 1], [2, 2]]


def test_stepping_back_shows_all_that_follows_there() -> None:
    conversation, rows = talk()
    assert conversation.step(rows["b"].id, -1) == 1
    assert [row.text for row in conversation.shown()] == ["soup?", "leek", "more"]
    assert conversation.step(rows["a"].id, -1) == 1  # there is none before it: it stays
    assert conversation.shown()[1] is rows["a"]


def test_messages_are_the_path_without_thoughts_and_an_answer_without_words_is_an_empty_one() -> None:
    conversation, rows = talk()
    failed = Row("assistant", "", rows["q2"].id, error="no engine")
    conversation.add(failed)
    again = Row("user", "please", failed.id)
    conversation.add(again)
    assert [m["content"] for m in conversation.messages(again.id)] == ["soup?", "leek", "more", "", "please"]
    assert [m["role"] for m in conversation.messages(again.id)] == ["user", "assistant"] * 2 + ["user"]
    assert "which" not in str(conversation.messages(again.id))


def test_a_loaded_conversation_shows_its_newest_branch() -> None:
    _, rows = talk()
    loaded = Conversation([rows["q"], rows["a"], rows["q2"], rows["b"]], id="c1")
    assert [row.text for row in loaded.shown()] == ["soup?", "pea"]


def test_a_question_without_an_answer_gets_a_place_to_ask_again() -> None:
    conversation, rows = talk()
    conversation.drop(rows["b"])
    conversation.close_gap()
    conversation.close_gap()
    assert [(row.role, row.ending) for row in conversation.shown()] == [
        ("user", "complete"),
        ("assistant", "interrupted"),
    ]


def test_dropping_a_failed_answer_leaves_its_question() -> None:
    conversation, rows = talk()
    conversation.drop(rows["b"])
    assert [row.text for row in conversation.shown()] == ["soup?"]


def test_an_export_for_people_and_one_for_programs() -> None:
    conversation, rows = talk()
    conversation.step(rows["b"].id, -1)
    words = load_words("en")
    text = as_markdown(conversation, words)
    assert text.startswith("# soup\n\n## You said\n\nsoup?\n\n## ruminate-v1\n\n> which\n> soup\n\nleek")
    whole = json.loads(as_json(conversation))
    assert {one["text"] for one in whole["messages"]} == {"soup?", "leek", "pea", "more"}


def test_a_branch_is_found_again_by_its_answer_or_its_row() -> None:
    conversation, rows = talk()
    rows["a"].generation = "gen-a"
    conversation.follow("gen-a")
    assert [row.text for row in conversation.shown()] == ["soup?", "leek", "more"]
    conversation.follow(rows["b"].id)
    assert [row.text for row in conversation.shown()] == ["soup?", "pea"]
    conversation.follow("")
    conversation.follow("of another conversation")
    assert [row.text for row in conversation.shown()] == ["soup?", "pea"]
