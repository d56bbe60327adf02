"""Plots and the page about the training as text."""

import html
import json
import re
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ui.plots import Series, number, plot, ticks
from ui.training_view import TrainingView, span
from ui.verdicts import wilson
from ui.words import load_words

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


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0, 0.5, 1234.567, 0.000012, 2500000)] == [
        "0",
        "0.5",
        "1235",
        "1.2e-05",
        "2.5e+06",
    ]


def test_a_plot_is_well_formed_named_and_tells_each_step() -> None:
    figure = plot("Reward", "score & more", "Step", [Series("a <b>", [(1, 0.5), (2, 0.75)]), Series("c", [(2, 1.0)])])
    tree = ElementTree.fromstring(figure)
    svg = tree.find("svg")
    assert svg is not None
    assert svg.get("role") == "img"
    assert "a <b> 0.75" in (svg.get("aria-label") or "")
    points = json.loads(svg.get("data-points") or "")
    assert [one["words"] for one in points] == ["Step 1: a <b> 0.5", "Step 2: a <b> 0.75, c 1"]


def test_intervals_are_drawn_as_long_as_they_are_and_within_the_axis() -> None:
    series = [Series("a", [(1, 0.6)], {1: (0.2, 0.9)})]
    tree = ElementTree.fromstring(plot("Win rate", "share", "Round", series, level_at=0.5, names={1: "Round 1 (v1)"}))
    span, level = (tree.find(f".//line[@class='{name}']") for name in ("span line-1", "level"))
    assert span is not None
    assert level is not None
    low, high, half = (float(line.get(key) or "") for line, key in ((span, "y1"), (span, "y2"), (level, "y1")))
    assert (half - high) / (low - half) == pytest.approx(0.4 / 0.3, rel=0.02)
    assert 10 <= high < low <= 182
    assert "Round 1 (v1): a 0.6 (0.2 to 0.9)" in (tree.find("svg").get("data-points") or "")  # type: ignore[union-attr]


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


def test_spans_read_as_people_say_them() -> None:
    assert [span(seconds, WORDS) for seconds in (4, 75, 3700)] == ["4 s", "1 min 15 s", "1 h 2 min"]
