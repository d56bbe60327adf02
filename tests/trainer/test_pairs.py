"""Which two samples of a group make a pair, and what becomes of a pair whose prompt is withdrawn."""

from types import SimpleNamespace

import pytest

from thinking.format import THINK
from trainer.files import read_json, write_json
from trainer.pairs import Pair, Pairs, best_and_worst
from trainer.rewards import Graded

WELL, CUT = THINK.parse("<think>\na\n</think>\n\nb", True), THINK.parse("<think>\na", False)


def group(*rewards):
    """None: malformed, with the reward that it would have earned below all others."""
    return [Graded(CUT, -9.0) if reward is None else Graded(WELL, reward) for reward in rewards]


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ((0.1, 0.9, -0.5, 0.3), (1, 2)),
        ((0.1, None, 0.9, -0.5, 0.3), (2, 3)),  # what is malformed is never the worst
        ((0.9, 0.1, None, 0.5), None),  # three are too few
        ((0.5, 0.5, 0.5, 0.5), None),  # nothing to prefer
        ((0.9, 0.9, 0.1, 0.1), (0, 2)),  # the first of equals
        ((None, None, None, None), None),
    ],
)
def test_the_best_against_the_worst_with_at_least_four_valid(rewards, expected):
    assert best_and_worst(group(*rewards), min_valid=4) == expected


@pytest.fixture
def pairs(tmp_path):
    allowed = {"m1", "m2"}
    ledger = SimpleNamespace(still_trainable=lambda ids: allowed & set(ids))
    made = Pairs(SimpleNamespace(folder=tmp_path, ledger=ledger))
    made.all = [Pair([1], [2], [3], 1.0, "m1"), Pair([4], [5], [6], 1.0, "m2"), Pair([7], [8], [9], 1.0, None)]
    file = tmp_path / "00000.json"
    write_json(file, {"pairs": [vars(pair) for pair in made.all], "figures": {}})
    made._parts = [file]
    return made, allowed, file


def test_a_withdrawn_pair_is_replaced_at_the_next_step_and_its_words_leave_the_disk(pairs):
    made, allowed, file = pairs
    assert made.allowed([0, 1, 2]) == made.all
    allowed.remove("m1")
    assert [pair.message_id for pair in made.allowed([1, 2])] == ["m2", None]
    assert [one["prompt_ids"] for one in read_json(file)["pairs"]] == [[], [4], [7]]
    assert all(pair.message_id != "m1" for pair in made.allowed([0, 1, 2]))


def test_with_everything_withdrawn_nothing_is_trained_on(pairs):
    made, allowed, _ = pairs
    made.all = made.all[:2]
    allowed.clear()
    with pytest.raises(ValueError, match="withdrawn for every pair"):
        made.allowed([0])
