"""Second tries, by hand: what counts as one for and against a checkpoint on trial."""

from datetime import UTC, datetime, timedelta

import pytest

from db.queries.arms import Answered
from server.outcomes import SETTLED, regenerated

BEGAN = datetime(2026, 1, 2, tzinfo=UTC)
TOOK = 20.0  # seconds of the first answer
LATER = BEGAN + timedelta(hours=1)


def answer(at: float, took: float = TOOK, checkpoint: int = 1, prompt: str | None = "p") -> Answered:
    """One that began so many seconds after the first."""
    begun = BEGAN + timedelta(seconds=at)
    return Answered("c", checkpoint, prompt, "complete", {}, begun, begun + timedelta(seconds=took))


def outcomes(first: Answered, *others: Answered, now: datetime = LATER) -> list[float]:
    return [again for _, again in regenerated([first], [first, *others], now)]


@pytest.mark.parametrize(
    ("other", "again"),
    [
        (answer(60), 1.0),
        (answer(60, checkpoint=0), 1.0),  # answered by the other arm, as where no engine had the first one
        (answer(60, prompt="another"), 0.0),
        (answer(TOOK + SETTLED.total_seconds() + 1), 0.0),  # somebody who came back
        (answer(0), 0.0),  # a choice of the same request
        (answer(0.03), 0.0),  # a second sample to compare
        (answer(TOOK - 1), 0.0),  # a program that asks for samples as it can
    ],
)
def test_another_answer_to_the_prompt_counts_once_the_first_was_seen_to_its_end(other: Answered, again: float) -> None:
    assert outcomes(answer(0), other) == [again]


def test_two_samples_are_at_once_however_short_they_are() -> None:
    assert outcomes(answer(0, took=0.01), answer(0.5, took=0.01)) == [0.0]
    assert outcomes(answer(0, took=0.01), answer(5, took=0.01)) == [1.0]


def test_a_comparison_that_is_asked_for_again_is_a_second_try() -> None:
    assert outcomes(answer(0), answer(0.03), answer(90), answer(90.03)) == [1.0]


def test_nothing_is_said_before_it_is_settled_nor_where_no_words_were_kept() -> None:
    settled = BEGAN + timedelta(seconds=TOOK) + SETTLED
    assert outcomes(answer(0), answer(60), now=settled - timedelta(seconds=1)) == []
    assert outcomes(answer(0), answer(60), now=settled) == [1.0]
    assert outcomes(answer(0, prompt=None), answer(60, prompt=None)) == []
