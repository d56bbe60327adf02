"""Which checkpoints learnt from a conversation, asked on the page: in words for every state, and in a real Chromium."""

from typing import Any

import pytest
from playwright.sync_api import expect

from ui.learnt import in_words
from ui.words import load_words


def found(own: str = "", grown: str = "", **more: Any) -> dict[str, Any]:
    """As the gateway tells it; `own` and `grown` name checkpoints, whose round has the same number."""
    learnt = [
        {"name": name, "state": "published", "round": int(name[1:]), "directly": directly}
        for names, directly in ((own, True), (grown, False))
        for name in names.split()
    ]
    prompts = {"trained": len(own), "heldout": 0, "left": 0}
    return {"learnt": learnt, "open_round": None, "prompts": prompts, "may_train": True} | more


@pytest.mark.parametrize(
    ("told", "sentences"),
    [
        (found(), ["No checkpoint yet. A later round may choose it."]),
        (found(prompts={"heldout": 0, "left": 2}), ["No checkpoint so far. Rounds have looked at it and left it out"]),
        (found(prompts={"heldout": 1, "left": 2}), ["No checkpoint. It is held out for good"]),
        (found(prompts={"heldout": 1, "left": 0}, may_train=False), ["No checkpoint, and none will"]),
        (found(open_round=4), ["Round 4, which is open, has chosen it"]),
        (found("v1"), ["These checkpoints were trained on it"]),
        (found("v1", "v2 v3"), ["These checkpoints were trained on it", "These grew out of them"]),
        (found("v1", may_train=False), ["These checkpoints were trained on it", "Later rounds leave it out"]),
    ],
)
def test_every_state_has_its_words(told: dict[str, Any], sentences: list[str]) -> None:
    parts = in_words(load_words("en"), told, "v9")
    assert len(parts) == len(sentences)
    for part, begins in zip(parts, sentences, strict=True):
        assert part["words"].startswith(begins)


def test_each_checkpoint_is_told_with_its_round_and_where_it_stands() -> None:
    told = found("v1", "v2")
    told["learnt"][0] |= {"state": "rejected"}
    own, grown = in_words(load_words("en"), told, "v2")
    assert own["checkpoints"] == [{"name": "v1", "words": "Round 1, rejected by the gate"}]
    assert grown["checkpoints"] == [{"name": "v2", "words": "Round 2, live"}]
    assert in_words(load_words("en"), found("v1") | {"learnt": [told["learnt"][0] | {"state": "of-tomorrow"}]}, "")


def test_a_conversations_menu_tells_what_learnt_from_it_and_leads_there(shown) -> None:
    page = shown.page
    shown.gateway.learnt = found("v1", "v2")
    shown.ask("hello")
    shown.answered()
    button = page.locator(".item button")
    button.focus()
    page.keyboard.press("Enter")
    page.click(".menu button:has-text('What learnt from this conversation')")
    dialog = page.locator("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("What learnt from this conversation")
    expect(dialog.locator("li")).to_have_text(["v1 (Round 1, published)", "v2 (Round 2, live)"])
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    page.click(".menu button:has-text('What learnt from this conversation')")
    dialog.locator("a", has_text="v1").click()
    expect(page.locator("#training h1")).to_have_text("Checkpoint v1")
    expect(dialog).to_have_count(0)
    assert [path for path in shown.gateway.seen if path.endswith("/lineage")]
