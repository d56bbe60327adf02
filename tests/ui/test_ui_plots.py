"""Plots and the page about the training as text."""

import html
import json
import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ui.pieces import span
from ui.plots import Series, number, percent, plot, smoothed, steps_told, ticks
from ui.training import mark_of
from ui.training_view import TrainingView
from ui.verdicts import wilson
from ui.words import Words, load_words

WORDS = load_words("en")
FINITE = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 6))


@given(FINITE, FINITE, st.integers(3, 8))
def test_ticks_cover_the_range_with_few_round_numbers(one: float, other: float, wanted: int) -> None:
    low, high = min(one, other), max(one, other)
    assume(high - low > 1e-6 * max(1.0, abs(high), abs(low)))
    marks = ticks(low, high, wanted)
    slack = (marks[1] - marks[0]) * 1e-6
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= 2 * wanted + 2


def test_ticks_of_a_single_value_have_it_inside() -> None:
    assert ticks(3.0, 3.0)[0] < 3.0 < ticks(3.0, 3.0)[-1]


def test_numbers_and_shares_are_short() -> None:
    values = (0, 0.5, 0.66587, 48.249, 1234.567, 0.000012, 2500000)
    assert [number(value) for value in values] == ["0", "0.5", "0.666", "48.2", "1235", "1.2e-05", "2.5e+06"]
    shares = (0, 0.6659, 0.1, 0.099, 0.0391, 0.00391, 1.0, 0.02)
    assert [percent(share) for share in shares] == ["0%", "67%", "10%", "9.9%", "3.9%", "0.39%", "100%", "2%"]


def test_the_first_step_is_named_on_the_axis_and_few_are_all_named() -> None:
    assert steps_told(list(range(1, 41))) == [1, 10, 20, 30, 40]
    assert steps_told([3, 4, 5]) == [3, 4, 5]
    assert steps_told([7]) == [7]
    assert steps_told(list(range(9, 60)))[:2] == [9, 20]  # 10 would stand on 9


@given(st.lists(st.floats(-10, 10), min_size=8, max_size=300))
def test_a_mean_of_neighbours_keeps_steps_and_stays_within_the_values(values: list[float]) -> None:
    points = list(enumerate(values, start=1))
    found = smoothed(points)
    assert [step for step, _ in found] == [step for step, _ in points]
    assert all(min(values) - 1e-9 <= value <= max(values) + 1e-9 for _, value in found)
    flat = smoothed([(step, 2.5) for step, _ in points])
    assert all(value == pytest.approx(2.5) for _, value in flat)


def test_many_steps_are_drawn_faint_with_their_mean_and_few_as_they_are() -> None:
    many = ElementTree.fromstring(plot("Reward", "score", "Step", [Series("a", [(n, n % 3) for n in range(20)])]))
    assert [path.get("class") for path in many.iter("path")] == ["raw line-1", "line-1"]
    few = ElementTree.fromstring(plot("Reward", "score", "Step", [Series("a", [(n, n % 3) for n in range(5)])]))
    assert [path.get("class") for path in few.iter("path")] == ["line-1"]


def test_candidates_are_dots_that_no_line_joins_under_their_names() -> None:
    figure = plot(
        "Length", "tokens", "Candidate", [Series("a", [(1, 48.0), (2, 71.0)], dots=True)], labels={1: "v1", 2: "v2"}
    )
    tree = ElementTree.fromstring(figure)
    assert len(list(tree.iter("circle"))) == 2
    assert not list(tree.iter("path"))
    assert {"v1", "v2"} <= {text.text for text in tree.iter("text")}


def test_a_plot_is_well_formed_named_and_tells_each_step() -> None:
    figure = plot("Reward", "score & more", "Step", [Series("a <b>", [(1, 0.5), (2, 0.75)]), Series("c", [(2, 1.0)])])
    tree = ElementTree.fromstring(figure)
    reader = tree.find("div[@role='slider']")
    assert reader is not None
    assert reader.get("aria-label") == "Reward, score & more"
    assert reader.get("aria-valuetext") == "Step 2: a <b> 0.75, c 1"
    points = json.loads(reader.get("data-points") or "")
    assert [one["words"] for one in points] == ["Step 1: a <b> 0.5", "Step 2: a <b> 0.75, c 1"]


def test_a_plot_has_its_figures_as_a_table_as_well() -> None:
    series = [Series("a", [(1, 0.5), (2, 0.75)], {2: (0.7, 0.8)}), Series("c", [(2, 1.0)])]
    tree = ElementTree.fromstring(plot("Win rate", "share", "Round", series, share=True))
    rows = [[cell.text or "" for cell in row] for row in tree.iter("tr")]
    assert rows == [["Round", "a", "c"], ["1", "50%", ""], ["2", "75% (70% to 80%)", "100%"]]


def test_intervals_are_drawn_as_long_as_they_are_and_within_the_axis() -> None:
    series = [Series("a", [(1, 0.6)], {1: (0.2, 0.9)})]
    tree = ElementTree.fromstring(plot("Win rate", "share", "Round", series, level_at=0.5, names={1: "Round 1 (v1)"}))
    span, level = (tree.find(f".//line[@class='{name}']") for name in ("span line-1", "level"))
    assert span is not None
    assert level is not None
    low, high, half = (float(line.get(key) or "") for line, key in ((span, "y1"), (span, "y2"), (level, "y1")))
    assert (half - high) / (low - half) == pytest.approx(0.4 / 0.3, rel=0.02)
    assert 10 <= high < low <= 182
    reader = tree.find("div[@role='slider']")
    assert reader is not None
    assert "Round 1 (v1): a 0.6 (0.2 to 0.9)" in (reader.get("data-points") or "")


@given(st.integers(1, 400), st.floats(0, 1))
def test_the_interval_of_votes_holds_their_share_and_narrows(total: int, part: float) -> None:
    won = round(part * total)
    low, high = wilson(won, total)
    assert 0 <= low <= won / total <= high <= 1
    again = wilson(10 * won, 10 * total)
    assert again[1] - again[0] < high - low


def test_a_verdict_of_an_older_version_shows_what_it_has() -> None:
    old = {"publish": True, "words": "published", "checks": [], "reward": {"before": 0.1, "after": 0.2}}
    page = view().round_page({**ROUND, "verdict": old, "metrics": {}})
    assert "Reward model" in page
    assert "Win rate" in page
    assert view().overview(
        {"live": None, "previous": None, "round": None, "prompts": None}, [{**ROUND, "verdict": old}], [], None
    )


def view(admin: bool = True) -> TrainingView:
    return TrainingView(WORDS, admin, datetime(2026, 11, 20, 9, tzinfo=UTC))


ROUND = {
    "id": 4, "state": "running", "phase": "train", "step": 3, "total_steps": 40, "algorithm": "grpo", "seed": 1,
    "reason": "<i>why</i>", "created_at": "2026-11-20T08:00:00+00:00", "started_at": "2026-11-20T08:00:00+00:00",
    "ended_at": None, "parent": "v1", "candidate": None, "verdict": None, "error": None,
}  # fmt: skip


def test_words_from_outside_stay_words() -> None:
    page = view().round_page({**ROUND, "error": "<script>", "metrics": {}})
    assert "<script>" not in page
    assert "<i>why" not in page
    assert "&lt;i&gt;why&lt;/i&gt;" in page


def test_values_that_were_no_numbers_leave_a_gap() -> None:
    page = view().round_page({**ROUND, "metrics": {"kl": [[1, 0.1], [2, None], [3, 0.2]]}})
    points = re.search(r'data-points="([^"]*)"', page)
    assert points is not None
    assert len(json.loads(html.unescape(points[1]))) == 2


def test_who_may_only_look_sees_no_buttons() -> None:
    status = {"live": {"name": "v1", "since": None, "reason": ""}, "previous": "v0", "round": None, "prompts": None}
    assert "do-rollback" in view().overview(status, [], [], None)
    assert "<button" not in view(admin=False).overview(status, [ROUND], [], None)


def test_a_house_with_nothing_yet_says_so() -> None:
    page = view().overview({"live": None, "previous": None, "round": None, "prompts": None}, [], [], None)
    assert "No round has run yet" in page
    assert "There is no checkpoint yet" in page


def test_a_verdict_reads_plainly_and_its_checks_have_names() -> None:
    checks = [
        {"name": "judge", "passed": True, "words": "the second judge says +0.361"},
        {"name": "equal_length", "passed": False, "words": "at equal length +0.001 (-0.1 to +0.1)"},
        {"name": "kl", "passed": False, "words": "0.097 nats per token (allowed: 0.08)"},
    ]
    verdict = {"publish": False, "words": "rejected: jargon", "checks": checks, "judge": {"win_rate": 0.5}}
    page = view().round_page({**ROUND, "state": "rejected", "verdict": verdict, "metrics": {}})
    assert "Not published: the gain came from longer answers; it moved too far from what was live." in page
    assert "Gain at equal length" in page
    assert "equal_length" not in page
    newer = {**verdict, "checks": [{"name": "some_new_one", "passed": False, "words": "so and so"}]}
    page = view().round_page({**ROUND, "state": "rejected", "verdict": newer, "metrics": {}})
    assert "rejected: jargon" in page  # what this page knows no words for is told in the gate's
    assert "some new one" in page


def test_what_the_gate_found_is_said_in_the_pages_language() -> None:
    """From the figures in the record; a round of an older version has none and is told in the gate's own words."""
    figures = {"live": 0.012, "candidate": 0.05, "allowed": 0.02}
    check = {"name": "refusals", "passed": False, "words": "refusals went from 1% to 5%", "figures": figures}
    alert = {"name": "phrase", "words": "the phrase rose", "examples": []}
    seen = {"figures": {"phrase": 0.7, "phrase_live": 0.1}, "phrase": "buy soap", "alerts": [alert]}
    other = {"saw_share": "{live:.1%} ⇒ {candidate:.1%}", "rang_phrase": "«{words}»: {phrase:.0%}"}
    there = TrainingView(Words({**WORDS.sentences, **other}), True, datetime(2026, 11, 20, 9, tzinfo=UTC))

    def said(check: dict[str, Any], seen: dict[str, Any]) -> str:
        verdict = {"publish": False, "words": "rejected", "checks": [check], "watch": seen}
        return there.round_page({**ROUND, "state": "rejected", "verdict": verdict, "metrics": {}})

    page = said(check, seen)
    assert "1.2% ⇒ 5.0%" in page
    assert "«buy soap»: 70%" in page
    assert "refusals went" not in page
    older = {key: value for key, value in check.items() if key != "figures"}
    page = said(older, {"alerts": [alert]})
    assert "refusals went from 1% to 5%" in page
    assert "the phrase rose" in page


def test_what_the_watch_for_reward_hacking_saw_stands_in_the_verdict_with_its_examples() -> None:
    examples = [{"prompt": "Name a tree", "before": "Oak", "after": "Oak; <b>buy soap</b>"}]
    alert = {"name": "phrase", "words": '"buy soap" is in answers to 100% of the prompts', "examples": examples}
    verdict = {"publish": True, "words": "published: x", "checks": [], "watch": {"alerts": [alert]}}
    page = view().round_page({**ROUND, "state": "published", "verdict": verdict, "metrics": {}})
    for words in ("Watch for reward hacking", "One phrase everywhere", "&quot;buy soap&quot; is in answers to 100%",
                  "Name a tree", "Oak; &lt;b&gt;buy soap&lt;/b&gt;"):  # fmt: skip
        assert words in page
    quiet = {**verdict, "watch": {"alerts": []}}
    page = view().round_page({**ROUND, "state": "published", "verdict": quiet, "metrics": {}})
    assert "Nothing moved that would suggest reward without better answers" in page
    old = {key: value for key, value in verdict.items() if key != "watch"}
    page = view().round_page({**ROUND, "state": "published", "verdict": old, "metrics": {}})
    assert "reward hacking" not in page


def test_one_prompt_is_one_prompt() -> None:
    status = {"live": None, "previous": None, "round": None, "prompts": {"recorded": 1, "trainable": 0}}
    assert "1 prompt recorded, 0 of them may be learnt from" in view().overview(status, [], [], None)


def test_the_mark_of_a_page_moves_with_the_round_and_not_with_the_chat() -> None:
    status = {"live": {"name": "v1"}, "previous": None, "round": {**ROUND}, "prompts": {"recorded": 4}, "chats": 1}
    mark = mark_of(status, {})
    assert mark == mark_of({**status, "chats": 7, "recording": {"recorded": 9}}, {})
    assert mark != mark_of({**status, "round": {**ROUND, "step": 4}}, {})
    assert mark != mark_of({**status, "live": {"name": "v2"}}, {})
    assert mark != mark_of(status, {"checkpoint": "v1"})


def test_spans_read_as_people_say_them() -> None:
    assert [span(seconds, WORDS) for seconds in (4, 75, 119.9, 3700)] == [
        "4 s",
        "1 min 15 s",
        "1 min 59 s",
        "1 h 1 min",
    ]
