"""The page about the training before the real gateway: a published checkpoint, a round that runs, live changed."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from support.published_round import OWNER, SAMPLES, STEPS, add_steps
from support.real_page import Behind, Person
from support.waiting import wait_until

from db.queries import rounds


@pytest.fixture
def admin(people: Callable[..., Person]) -> Person:
    return people("admin")


def test_the_checkpoint_under_an_answer_leads_to_where_it_comes_from(behind: Behind, ann: Person) -> None:
    page = ann.page
    ann.ask()
    ann.answered()
    page.click(".by")
    expect(page.locator("h1", has_text=f"Checkpoint {behind.published}")).to_be_visible()
    assert page.url.endswith(f"?checkpoint={behind.published}")
    facts = page.locator(".facts")
    for words in ("live", "adapter", "Grew out ofv0", "GRPO", "recorded prompt"):
        expect(facts).to_contain_text(words)
    expect(facts.locator("a[href='?round=1']")).to_be_visible()
    rows = page.locator("table.samples:not(details *) tbody tr")  # not those of an alert
    expect(rows).to_have_count(len(SAMPLES))
    for row, sample in zip(rows.all(), SAMPLES, strict=True):
        expect(row.locator("td")).to_have_text(list(sample.values()))
    expect(page.locator("#training")).to_contain_text("Better than what was live: it won 61% of the comparisons.")
    expect(page.locator(".plots figure")).to_have_count(5)
    assert page.locator("#training button[data-do]").count() == 0  # who is no admin looks
    page.click(".facts a[href='?checkpoint=v0']")
    expect(facts).to_contain_text("No round: it is the base")
    page.go_back()
    page.go_back()
    expect(page.locator(".row.assistant .by")).to_be_visible()


def test_what_is_live_and_why_and_each_plot_of_its_round_is_told(behind: Behind, ann: Person) -> None:
    page = ann.page
    page.click("#tab-training")
    card = page.locator(".live-card")
    expect(card.locator("h1")).to_have_text(behind.published)
    expect(card).to_contain_text("live since")
    expect(card).to_contain_text("Why: ")
    expect(card).to_contain_text(re.compile(r"\d+ prompts? recorded, \d+ of them may be learnt from"))
    row = page.locator("tr", has=page.locator("a[href='?round=1']")).first
    expect(row).to_contain_text("published")
    made_live = page.locator("tr", has=page.locator("td[data-label=By]", has_text="round 1"))
    expect(made_live).to_contain_text("Better than what was live: it won 61% of the comparisons.")
    won = page.locator(".plots figure", has=page.locator("h3", has_text="Win rate"))
    expect(won.locator("tbody td").first).to_have_text(f"Round 1 ({behind.published}, published)")
    assert won.locator("line.span").count() == 2  # each judge's interval
    row.locator("a[href='?round=1']").click()
    titles = ["Reward", "Held-out score", "Distance from the reference", "Malformed answers", "Length"]
    plots = page.locator(".plots figure")
    expect(plots.locator("h3")).to_have_text(titles)
    figure = plots.nth(2)
    expect(figure).to_contain_text("KL, nats per token")
    expect(figure.locator("svg")).to_contain_text("Training step")
    figure.locator("svg").scroll_into_view_if_needed()
    box = figure.locator("svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 14, box["y"] + 60)
    expect(figure.locator("output")).to_have_text(re.compile(f"Training step {STEPS}: mean of the step 0\\.01"))


def test_a_round_is_asked_for_moves_while_one_looks_and_is_stopped(behind: Behind, admin: Person) -> None:
    page = admin.page
    page.click("#tab-training")
    page.click("#do-start")
    page.fill("dialog input", "to see it move")
    page.press("dialog input", "Enter")
    row = page.locator("tr", has_text="waiting for a trainer")
    expect(row).to_contain_text("to see it move")
    with behind.database.transaction() as session:  # as a trainer would
        claimed = rounds.claim_round(session, OWNER, 600)
        assert claimed is not None
        round_id = claimed.id
        assert (claimed.reason, claimed.requested_by) == ("to see it move", admin.name)
        rounds.save_progress(session, round_id, OWNER, "train", 2, total_steps=40, parent_id=0)
        add_steps(session, round_id, 2)
    row = page.locator("tr", has_text="running").first
    expect(row).to_contain_text("training, step 2 of 40")
    with behind.database.transaction() as session:
        rounds.save_progress(session, round_id, OWNER, "train", 3)
        add_steps(session, round_id, 3)
    expect(row).to_contain_text("training, step 3 of 40")
    expect(page.locator(".plots").first.locator("output + details tbody tr").last).to_contain_text("3")
    row.locator(f"a[href='?round={round_id}']").click()
    page.click(f"#do-cancel-{round_id}")
    page.fill("dialog input", "seen enough")
    page.press("dialog input", "Enter")
    expect(page.locator(".badge", has_text="stopped")).to_be_visible()
    expect(page.locator("#training")).to_contain_text(f"stopped by {admin.name}: seen enough")
    with behind.database.reading() as session:
        assert rounds.open_round(session) is None


def test_an_admin_rolls_back_and_promotes_with_a_reason_and_chats_follow(
    behind: Behind, admin: Person, ann: Person
) -> None:
    page, published = admin.page, behind.published
    before = len(admin.api.get("/api/deployments")["data"])
    page.click("#tab-training")
    page.click("#do-rollback-v0")
    page.fill("dialog input", "answers got shorter")
    page.press("dialog input", "Enter")
    expect(page.locator(".live-card h1")).to_have_text("v0")
    expect(page.locator(".live-card")).to_contain_text("Why: answers got shorter")
    expect(page.locator("#who")).to_have_text("Live: v0")
    ann.ask()
    ann.answered()
    expect(ann.page.locator(".by")).to_have_text("ruminate-v0")
    expect(ann.page.locator(".toast")).to_have_text("v0 is live now. It writes the next answers.")
    page.click(f"#do-promote-{published}")
    page.fill("dialog input", "it was the better one")
    page.press("dialog input", "Enter")
    expect(page.locator(".live-card h1")).to_have_text(published)
    expect(page.locator(".toast", has_text=f"{published} is live.")).to_be_visible()
    ann.ask("And once more?")
    ann.answered(2)
    expect(ann.page.locator(".by").last).to_have_text(f"ruminate-{published}")
    done = admin.api.get("/api/deployments")["data"]
    assert len(done) == before + 2
    told = [(one["live"], one["by"], one["reason"]) for one in done[:2]]
    assert told == [
        (published, admin.name, "it was the better one"),
        ("v0", admin.name, "answers got shorter"),
    ]


def test_who_is_no_admin_changes_nothing_of_it(behind: Behind, ann: Person) -> None:
    page = ann.page
    page.click("#tab-training")
    expect(page.locator(".live-card h1")).to_have_text(behind.published)
    assert page.locator("#training button[data-do]").count() == 0
    page.evaluate("ruminate.send('train', { do: 'rollback', reason: 'by a script' })")
    expect(page.locator(".toast")).to_have_text("Only an administrator may do this.")
    wait_until(lambda: ann.api.status()["live"]["name"], "a user changed what is live", behind.published)
