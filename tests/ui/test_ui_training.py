"""The page about the training, in a real Chromium."""

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect
from support.fake_chat_gateway import FakeGateway, serving


@pytest.fixture
def training(shown):
    shown.page.click("#tab-training")
    expect(shown.page.locator(".live-card")).to_be_visible()
    return shown


def test_what_is_live_since_when_and_why(training) -> None:
    card = training.page.locator(".live-card")
    expect(card.locator("h1")).to_have_text("v2")
    expect(card).to_contain_text("live since")
    expect(card).to_contain_text("round 1 was better")
    expect(card).to_contain_text("214 prompts recorded, 198 of them")


def test_a_running_round_moves_while_one_looks(training) -> None:
    row = training.page.locator("tr", has_text="running")
    expect(row).to_contain_text("training, step 17 of 40")
    training.gateway.rounds[1]["step"] = 18
    expect(row).to_contain_text("training, step 18 of 40")


def test_plots_have_axes_units_and_tell_their_values_on_hover(training) -> None:
    page = training.page
    figure = page.locator(".plots figure", has_text="Distance from the reference")
    expect(figure).to_contain_text("KL, nats per token")
    expect(figure.locator("svg")).to_contain_text("Training step")
    assert figure.locator("line.grid").count() >= 3
    figure.locator("svg").scroll_into_view_if_needed()
    box, card = figure.locator("svg").bounding_box(), figure.bounding_box()
    assert box is not None
    assert card is not None
    page.mouse.move(box["x"] + box["width"] - 14, box["y"] + 60)
    expect(figure.locator("output")).to_have_text(re.compile(r"Training step 17: mean of the step 0\.01\d+"))
    assert page.locator(".plots").first.locator("figure").count() == 5
    after = figure.bounding_box()
    assert after is not None
    assert after["height"] == card["height"]


def test_plots_are_read_by_keyboard_and_by_touch_and_as_a_table(training) -> None:
    page = training.page
    figure = page.locator(".plots figure", has_text="Distance from the reference")
    reader = figure.locator(".reader")
    reader.focus()
    page.keyboard.press("ArrowLeft")
    expect(reader).to_have_attribute("aria-valuetext", re.compile("Training step 16: "))
    expect(figure.locator("output")).to_have_text(re.compile("Training step 16: "))
    page.keyboard.press("Home")
    expect(reader).to_have_attribute("aria-valuenow", "0")
    expect(figure.locator("output")).to_have_text(re.compile("Training step 1: "))
    figure.locator("summary").click()
    rows = figure.locator("tbody tr")
    expect(rows).to_have_count(16)  # one step had no number
    expect(rows.last.locator("td").first).to_have_text("17")
    figure.locator("svg").scroll_into_view_if_needed()
    box = figure.locator("svg").bounding_box()
    assert box is not None
    touch = {"pointerType": "touch", "bubbles": True, "clientX": box["x"] + box["width"] - 14, "clientY": box["y"] + 60}
    figure.locator("svg").dispatch_event("pointerdown", touch)
    expect(figure.locator("output")).to_have_text(re.compile("Training step 17: "))


def test_while_a_round_runs_only_what_changed_is_drawn_anew(training) -> None:
    page = training.page
    training.gateway.rounds[1]["started_at"] = datetime.now(UTC).isoformat()  # else it has run for hours
    page.reload()
    figure = page.locator(".plots figure", has=page.locator("h3", has_text="Win rate"))
    figure.locator("svg").scroll_into_view_if_needed()
    figure.locator("svg").hover()
    expect(figure.locator("output")).to_have_text(re.compile("Round 1"))
    page.evaluate(
        """() => { window.kept = [...document.querySelectorAll('#training .table-wrap, #training figure')];
        window.took = document.querySelector('[data-took]');
        window.before = window.took.textContent; kept[0].firstElementChild.style.width = '3000px';
        kept[0].scrollLeft = 40; }"""
    )
    page.wait_for_function("() => window.took.textContent !== window.before")  # the browser counts by itself
    begun = training.gateway.seen.count("/api/status")
    page.evaluate("ruminate.showTraining()")  # asks for the whole now, and then for half a minute only whether it moved
    while training.gateway.seen.count("/api/status") < begun + 2:
        page.wait_for_timeout(100)
    asked = len(training.gateway.seen)
    page.wait_for_timeout(4500)
    assert set(training.gateway.seen[asked:]) == {"/api/status"}  # nothing changed: nothing else is asked for
    training.gateway.rounds[1]["step"] = 18
    expect(page.locator("tr", has_text="running")).to_contain_text("training, step 18 of 40")
    expect(page.locator(".plots").first.locator("output + details tbody tr").last).to_contain_text("18")
    assert page.evaluate("kept.every((node) => node.isConnected) && window.took.isConnected")
    assert page.evaluate("kept[0].scrollLeft") == 40
    expect(figure.locator("output")).to_have_text(re.compile("Round 1"))
    expect(figure.locator(".at")).to_have_attribute("visibility", "visible")


def test_on_a_phone_each_row_is_a_card(training) -> None:
    page = training.page
    page.set_viewport_size({"width": 390, "height": 800})
    row = page.locator("tr", has_text="running")
    expect(row.locator("td[data-label=Took]")).to_be_visible()
    assert row.evaluate("row => row.getBoundingClientRect().right") <= 390
    labels = row.evaluate("row => [...row.cells].map((one) => getComputedStyle(one, '::before').content)")
    assert labels[:2] == ['"Round"', '"State"']
    assert row.locator(".progress").bounding_box()["width"] > 150
    scale = "text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a"
    assert page.locator(".plot text").first.evaluate(scale) > 10
    assert page.evaluate("document.querySelector('#training').scrollWidth") <= 390
    page.goto(f"{training.url}/?round=1")
    expect(page.locator(".facts")).to_be_visible()
    assert page.locator("td:empty").count() > 0
    expect(page.locator("td:empty:visible")).to_have_count(0)  # a name with nothing behind it


def test_an_admin_rolls_back_with_a_reason(training) -> None:
    page = training.page
    page.click("#do-rollback-v1")
    page.fill("dialog input", "answers got shorter")
    page.press("dialog input", "Enter")
    expect(page.locator(".live-card h1")).to_have_text("v1")
    expect(page.locator(".toast")).to_have_text("v1 is live.")
    wish = {"checkpoint": "previous", "reason": "answers got shorter", "expected_live": "v2"}
    assert ("POST", "/api/deployments", wish) in training.gateway.calls


def test_what_an_address_says_is_never_what_a_button_asks_for(training) -> None:
    page = training.page
    page.evaluate("ruminate.go({ view: 'training', do: 'promote', name: 'v0', reason: 'so says a link', id: '1' })")
    page.click("#do-rollback-v1")
    page.fill("dialog input", "answers got shorter")
    page.press("dialog input", "Enter")
    expect(page.locator(".toast")).to_have_text("v1 is live.")
    wish = {"checkpoint": "previous", "reason": "answers got shorter", "expected_live": "v2"}
    assert ("POST", "/api/deployments", wish) in training.gateway.calls


@pytest.mark.parametrize("button", ["#do-promote-v0", "#do-rollback-v1"])
def test_nothing_goes_live_without_a_reason(training, button: str) -> None:
    page = training.page
    page.click(button)
    page.fill("dialog input", "   ")
    page.press("dialog input", "Enter")
    trouble = page.locator("dialog .failed")
    expect(trouble).to_have_text("Say in a few words why; it is kept beside what was live.")
    expect(page.locator("dialog input")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("dialog input")).to_be_focused()
    page.fill("dialog input", "")
    page.click("dialog [value=yes]")
    expect(page.locator("dialog")).to_be_visible()
    assert training.gateway.calls == []
    page.keyboard.type("to compare")
    expect(trouble).to_have_text("")
    page.click("dialog [value=yes]")
    expect(page.locator(".toast")).to_contain_text("is live.")
    assert [wish["reason"] for _, path, wish in training.gateway.calls if path == "/api/deployments"] == ["to compare"]


def test_who_gives_no_reason_can_leave_it_at_that(training) -> None:
    page = training.page
    page.click("#do-promote-v0")
    page.press("dialog input", "Enter")
    page.click("dialog [value=no]")
    expect(page.locator("dialog")).to_have_count(0)
    assert training.gateway.calls == []


def test_an_admin_promotes_a_checkpoint_but_no_rejected_one(training) -> None:
    page = training.page
    assert page.locator("#do-promote-v3").count() == 0
    page.click("#do-promote-v0")
    page.fill("dialog input", "to begin anew")
    page.click("dialog [value=yes]")
    expect(page.locator(".live-card h1")).to_have_text("v0")


def test_a_round_is_stopped_and_another_started(training) -> None:
    page = training.page
    page.click("a[href='?round=2']")
    page.click("#do-cancel-2")
    page.fill("dialog input", "a wrong seed")
    page.press("dialog input", "Enter")
    expect(page.locator(".badge", has_text="stopped")).to_be_visible()
    expect(page.locator("#training")).to_contain_text("stopped by local: a wrong seed")
    page.click("text=Back to the overview")
    page.click("#do-start")
    page.fill("dialog input", "a new week")
    page.press("dialog input", "Enter")
    expect(page.locator("tr", has_text="waiting for a trainer")).to_contain_text("a new week")
    assert training.gateway.rounds[-1]["state"] == "requested"
    training.gateway.rounds[-1]["algorithm"] = ""  # until a trainer takes it, by whose setting it goes
    page.click("a[href='?round=3']")
    expect(page.locator(".facts")).to_contain_text("Algorithm–")


def test_a_round_tells_what_began_it_and_how_often_its_answers_refuse(training) -> None:
    page = training.page
    page.goto(f"{training.url}/?round=1")
    expect(page.locator(".facts")).to_contain_text("enough new prompts")
    row = page.locator("tr", has_text="Refusals")
    expect(row.locator("td")).to_have_text(["Refusals", "2%", "5.2%", "", ""])


def test_the_checkpoint_under_an_answer_leads_to_its_page(shown) -> None:
    page = shown.page
    shown.ask("hello")
    shown.answered()
    page.click(".by")
    expect(page.locator("h1", has_text="Checkpoint v2")).to_be_visible()
    assert page.url.endswith("?checkpoint=v2")
    expect(page.locator(".facts")).to_contain_text("52 recorded prompts and 204 of the base mix")
    expect(page.locator("#training")).to_contain_text("Better than what was live: it won 61% of the comparisons.")
    page.go_back()
    expect(page.locator(".row.user .bubble")).to_have_text("hello")


def test_win_rates_have_their_intervals_from_round_to_round(training) -> None:
    page = training.page
    figure = page.locator(".plots figure", has=page.locator("h3", has_text="Win rate"))
    expect(figure).to_contain_text("share of pairings won, with interval")
    assert figure.locator("line.span").count() == 2
    assert figure.locator("line.level").count() == 1
    figure.locator("svg").scroll_into_view_if_needed()
    box = figure.locator("svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    words = "Round 1 (v1, published): Reward model 67% (63% to 70%), Second judge 61% (57% to 65%)"
    expect(figure.locator("output")).to_have_text(words)
    titles = page.locator(".plots").nth(1).locator("h3")
    scores = ["Second judge's score", "Reward model's score"]
    rest = ["Length", "Malformed answers", "Distance from what was live"]
    expect(titles).to_have_text(["Win rate", "Gain", *scores, *rest])
    judge = page.locator(".plots figure", has=page.locator("h3", has_text="Second judge's score"))
    expect(judge.locator("tbody td")).to_have_text(["Round 1 (v1, published)", "0.07", "0.382"])


def test_what_people_chose_and_what_was_live_are_told(training) -> None:
    expect(training.page.locator(".votes")).to_contain_text(
        "ruminate-v2 was preferred to ruminate-v1 in 7 of 10 comparisons (40% to 89%); 2 were about the same."
    )
    row = training.page.locator("tr", has_text="round 1 was better").last
    expect(row).to_contain_text("round 1")
    expect(row.locator("a")).to_have_text("v2")


def test_a_checkpoints_page_tells_where_it_comes_from(shown) -> None:
    page = shown.page
    page.goto(f"{shown.url}/?checkpoint=v2")
    facts = page.locator(".facts")
    expect(facts).to_contain_text("Grew out ofv1 ← v0")  # not of itself
    expect(facts).to_contain_text("adapter")
    expect(facts).to_contain_text("52 recorded prompts and 204 of the base mix (3 forgotten since)")
    row = page.locator("tr", has_text="Second judge").first
    expect(row).to_contain_text("+0.312 (+0.201 to +0.423)")
    expect(row).to_contain_text("61% (57% to 65%)")
    expect(page.locator("tr", has_text="Tokens of the response").first).to_contain_text("71")
    expect(page.locator("#training")).to_contain_text("192 held-out prompts, 4 answers each; intervals of 95%.")
    expect(page.locator("tr", has_text="Name a soup.")).to_contain_text("Leek and potato soup.")
    headings = page.locator("#training h2")
    expect(headings.first).to_have_text("Before and after")
    expect(page.locator(".plots figure")).to_have_count(5)  # its round, step by step
    page.click("#changed summary")
    expect(page.locator("#changed tr", has_text="learning_rate")).to_contain_text("0.002")
    page.wait_for_timeout(2500)  # the page asks again every two seconds
    expect(page.locator("#changed")).to_have_attribute("open", "")
    page.click("a[href='?checkpoint=v0']")
    expect(page.locator(".facts")).to_contain_text("No round: it is the base")


def test_a_refusal_of_the_gateway_is_told_in_its_words(training) -> None:
    page = training.page
    training.gateway.rounds[1]["state"] = "failed"
    page.wait_for_selector("#do-start")
    training.gateway.rounds[1]["state"] = "running"
    page.click("#do-start")
    page.press("dialog input", "Enter")
    expect(page.locator(".toast")).to_contain_text("Round 2 is still open; wait for it or stop it.")


def test_whoever_chats_is_told_when_another_checkpoint_has_gone_live(shown) -> None:
    page = shown.page
    shown.gateway.previous = None
    page.reload()
    shown.ready()
    before = page.locator("[data-option=compare] input[value=previous]")
    expect(before).to_be_disabled()
    shown.ask("hello")
    shown.answered()
    expect(page.locator("#who")).to_have_text("Live: v2")
    shown.gateway.live, shown.gateway.previous = "v3", "v2"
    shown.ask("and now?")
    shown.answered(2)
    expect(page.locator(".toast")).to_have_text("v3 is live now. It writes the next answers.")
    expect(page.locator("#who")).to_have_text("Live: v3")
    expect(page.locator(".by").last).to_have_text("ruminate-v3")
    expect(before).to_be_enabled()
    shown.ask("and once more?")
    shown.answered(3)
    expect(page.locator(".item")).to_have_count(1)
    expect(page.locator(".toast")).to_have_count(1)


def test_who_promotes_sees_it_in_the_side_bar_and_is_told_once(training) -> None:
    page = training.page
    page.click("#do-promote-v0")
    page.fill("dialog input", "to begin anew")
    page.click("dialog [value=yes]")
    expect(page.locator("#who")).to_have_text("Live: v0")
    expect(page.locator(".toast")).to_have_text("v0 is live.")


def test_a_key_that_holds_no_more_is_asked_for_here_too(chromium) -> None:
    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway()
    with serving(gateway.app) as address, serving(create_app(UiSettings(gateway=address))) as url:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{url}/?view=training")
        expect(page.locator(".live-card h1")).to_contain_text("v2")
        gateway.key = "rk-new"
        expect(page.locator("dialog.signin")).to_be_visible()
        context.close()


def test_who_watches_the_training_is_told_when_the_server_is_gone(training) -> None:
    page = training.page
    page.evaluate("window.before = true")
    training.context.route("**/*", lambda route: route.abort())
    expect(page.locator("#lost")).to_be_visible()
    training.context.unroute("**/*")
    page.wait_for_function("() => !window.before && window.ruminate?.me?.consent")
    expect(page.locator(".live-card h1")).to_contain_text("v2")
