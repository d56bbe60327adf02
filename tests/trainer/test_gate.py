"""The gate: its interval against figures computed by hand, and that it tells better from merely rewarded."""

import numpy as np
import pytest
from support.tiny_policy import prompt

from thinking.format import THINK
from trainer.gate import Answers, judge
from trainer.intervals import interval, paired
from trainer.settings import RoundConfig

CONFIG = RoundConfig(gate_prompts=40, gate_samples=4)
CONVERSATIONS = [prompt(number) for number in range(40)]


class Lookup:
    """Scores a response by the number written in its `place`-th word."""

    def __init__(self, place):
        self.place = place

    def score(self, pairs):
        return [float(response.split()[self.place]) for _, response in pairs]


def answers(dice, first, second, *, malformed=0.0, tokens=50.0):
    """Responses that carry a score for each judge, drawn around `first` and `second` with deviation 1."""
    outputs = []
    for _ in CONVERSATIONS:
        level = dice.normal(0, 1)  # some prompts are easier; both sides feel it
        row = []
        for _ in range(CONFIG.gate_samples):
            common = level + dice.normal(0, 0.7)
            text = f"{common + first + dice.normal(0, 0.7):.6f} {common + second + dice.normal(0, 0.7):.6f}"
            well = dice.random() >= malformed
            row.append(THINK.parse(THINK.render("plan", text), finished=well))
        outputs.append(row)
    return Answers(outputs, 10.0, tokens)


def verdict(first, second, *, seed=0, config=CONFIG, **changed):
    dice = np.random.default_rng(seed)
    live, candidate = answers(dice, 0, 0), answers(dice, first, second, **changed)
    return judge(CONVERSATIONS, live, candidate, Lookup(0), Lookup(1), config)


def failed(found):
    return {check.name for check in found.checks if not check.passed}


def test_a_truly_better_candidate_passes():
    found = verdict(1.0, 0.8)
    assert found.publish
    assert found.words.startswith("published: the second judge says +0.")


def test_one_that_only_pleases_the_reward_model_does_not():
    found = verdict(2.0, 0.0)
    assert not found.publish
    assert {"judge", "transfer"} <= failed(found)


def test_one_that_won_much_reward_and_a_little_of_the_judge_does_not():
    found = verdict(2.5, 0.6)
    assert failed(found) == {"transfer"}
    assert "needed: 50%" in found.words


def test_one_that_is_no_different_does_not():
    assert not verdict(0.0, 0.0).publish


def test_one_that_is_better_but_breaks_its_format_does_not():
    found = verdict(1.5, 1.5, malformed=0.1)
    assert "malformed" in failed(found)


@pytest.mark.parametrize("tokens", [20.0, 120.0])
def test_one_whose_answers_grew_or_shrank_does_not(tokens):
    assert failed(verdict(1.0, 1.0, tokens=tokens)) == {"length"}


def test_malformed_answers_count_as_worse_than_any_well_formed_one():
    good, bad = verdict(0.5, 0.5, seed=3), verdict(0.5, 0.5, seed=3, malformed=0.3)
    assert bad.figures["judge"]["difference"] < good.figures["judge"]["difference"]


def test_chance_alone_rarely_promotes():
    """40 candidates that are the same as what is live: at 95 % per judge, and both must agree."""
    assert sum(verdict(0.0, 0.0, seed=seed).publish for seed in range(40)) <= 2


def test_the_verdict_is_plain_data():
    found = verdict(1.0, 0.8).as_json()
    assert found["prompts"] == 40
    assert found["judge"]["low"] < found["judge"]["difference"] < found["judge"]["high"]
    assert {check["name"] for check in found["checks"]} == {"reward", "judge", "transfer", "malformed", "length"}


def test_paired_differences_by_hand():
    before, after = np.array([[1.0, 3.0], [4.0, 4.0]]), np.array([[3.0, 3.0], [4.0, 4.0]])
    found = paired(before, after, 0.95, seed=1)
    assert (found.before, found.after, found.difference) == (3.0, 3.5, 0.5)
    assert found.win_rate == 0.75  # one won, one tie
    assert found.effect == pytest.approx(0.5 / np.sqrt((4 + 0 + 1 + 1) / 4))
    assert (found.low, found.high) == (0.0, 1.0)  # two prompts: a resample is all one, all the other, or both


def test_the_interval_has_the_width_of_the_mean_it_is_of():
    differences = np.random.default_rng(2).normal(0.3, 2.0, 400)
    low, high = interval(differences, 0.95, seed=1)
    error = differences.std() / np.sqrt(400)
    assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.25 * error)
    assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.25 * error)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    dice = np.random.default_rng(5)
    covered = sum(low <= 0 <= high for low, high in (interval(dice.normal(0, 1, 60), 0.9, s) for s in range(200)))
    assert 165 <= covered <= 195


def test_unlike_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(4, 2\)"):
        paired(np.zeros((3, 2)), np.zeros((4, 2)), 0.95, 1)
