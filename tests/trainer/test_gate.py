"""The gate: its figures against ones computed by hand, and that it tells better from merely rewarded."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from support.tiny_policy import prompt

from thinking.format import THINK
from trainer.gate import Answers, Evidence, Sides, decide, measure
from trainer.habits import Habits, habits, repetition
from trainer.intervals import at_equal_length, interval, paired, pairings
from trainer.regressions import Regressions
from trainer.round_config import RoundConfig
from ui.pieces import Pieces
from ui.verdicts import Verdicts
from ui.words import load_words

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
            scores = [common + gain + dice.normal(0, 0.7) for gain in (first, second)]
            text = " ".join(f"{score:+012.6f}" for score in scores)  # all of one length
            well = dice.random() >= malformed
            row.append(THINK.parse(THINK.render("plan", text), finished=well))
        outputs.append(row)
    return Answers(outputs, 10.0, tokens)


def verdict(first, second, *, seed=0, config=CONFIG, **changed):
    dice = np.random.default_rng(seed)
    live, candidate = answers(dice, 0, 0), answers(dice, first, second, **changed)
    return decide(measure(CONVERSATIONS, live, candidate, Lookup(0), Lookup(1), config), config)


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


QUIET = Habits(malformed=0.01, empty_thoughts=0.0, repetition=0.02, thought_tokens=60, response_tokens=80)


def evidence(gain=1.0, longer=0.0, price=0.0, candidate=QUIET, kl=0.05):
    """40 prompts x 4 answers of unlike lengths, and two judges who pay `price` for each unit of length."""
    dice = np.random.default_rng(0)
    sides = []
    for own, more in ((0.0, 0.0), (gain, longer)):
        lengths = dice.normal(4, 0.3, (40, 4)) + more
        sides.append((lengths, [dice.normal(own, 1, (40, 4)) + price * lengths for _ in range(2)]))
    (old, before), (new, after) = sides
    return Evidence(Sides(before[0], after[0]), Sides(before[1], after[1]), Sides(old, new), QUIET, candidate, kl)


def test_one_that_meets_every_check_is_published():
    found = decide(evidence(), CONFIG)
    assert found.publish
    assert not failed(found)


@pytest.mark.parametrize(
    ("habit", "check"),
    [
        ({"malformed": 0.031}, "malformed"),
        ({"empty_thoughts": 0.021}, "empty_thoughts"),
        ({"repetition": 0.051}, "repetition"),
        ({"response_tokens": 121}, "length"),
        ({"response_tokens": 53}, "length"),
    ],
)
def test_a_bad_habit_beyond_its_bound_stops_a_better_one_and_is_named(habit, check):
    found = decide(evidence(candidate=replace(QUIET, **habit)), CONFIG)
    assert failed(found) == {check}
    assert found.words.startswith("rejected: ")
    assert "allowed" in found.words
    name = next(iter(habit))
    assert found.figures[name] == {"live": getattr(QUIET, name), "candidate": habit[name]}


def test_one_that_strayed_far_from_live_does_not_pass():
    found = decide(evidence(kl=0.081), CONFIG)
    assert failed(found) == {"kl"}
    assert "0.081 nats per token away from live (allowed: 0.08)" in found.words


def test_a_gain_that_is_all_length_does_not_pass_and_one_beside_it_does():
    longer = decide(evidence(gain=0.0, longer=0.3, price=4.0), CONFIG)
    assert failed(longer) == {"equal_length"}
    assert longer.figures["judge"]["low"] > 0
    assert decide(evidence(gain=1.0, longer=0.3, price=4.0), CONFIG).publish


@pytest.mark.parametrize("outcomes", ["margins", "wins"])
def test_what_each_check_found_can_be_said_by_the_page_from_its_figures(outcomes):
    found = replace(evidence(kl=0.03), regressions=Regressions(["a"], [4], [3], 4))
    told = json.loads(json.dumps(decide(found, CONFIG.model_copy(update={"gate_outcomes": outcomes})).as_json()))
    assert len(told["checks"]) == 11
    without = [{**check, "words": "in the gate's words"} for check in told["checks"]]
    page = Verdicts(Pieces(load_words("en"), False, datetime.now(UTC))).one({**told, "checks": without})
    assert "in the gate" not in page
    assert "of 1 answer 75% hold, with live 100%" in page
    assert "0.030 nats per token on its own answers (allowed: 0.08)" in page


def test_wins_count_alike_whatever_their_margin():
    """One prompt of eight is won by a mile and the others are lost by a hair: margins see a gain, wins a loss."""
    sides = Sides(np.zeros((8, 2)), np.array([[800.0, 800.0]] + [[-0.1, -0.1]] * 7))
    lengths = Sides(np.zeros((8, 2)), np.zeros((8, 2)))
    found = Evidence(sides, sides, lengths, QUIET, QUIET)
    by_margin = decide(found, CONFIG).figures["judge"]
    by_wins = decide(found, CONFIG.model_copy(update={"gate_outcomes": "wins"})).figures["judge"]
    assert by_margin["difference"] == pytest.approx((800 - 0.7) / 8)
    assert by_wins["difference"] == pytest.approx(1 / 8 - 0.5)
    assert by_margin["win_rate"] == by_wins["win_rate"] == 1 / 8


def test_the_price_of_length_by_hand():
    """In both prompts an answer of length 1 more scores 2 more, and the second side's answers are 1 longer."""
    old_lengths, new_lengths = np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([[1.0, 2.0], [2.0, 3.0]])
    before, after = 2 * old_lengths, 2 * new_lengths + 0.5
    gaps = pairings(old_lengths, new_lengths)
    found = paired(before, after, 0.95, seed=1, gaps=gaps)
    assert (found.difference, found.controlled) == (2.5, 0.5)
    assert (found.controlled_low, found.controlled_high) == (0.5, 0.5)


def test_with_one_sample_the_price_of_length_is_taken_between_prompts():
    gaps = np.array([[[0.0]], [[1.0]], [[2.0]]])
    assert at_equal_length(3 * gaps + 1, gaps).tolist() == [1.0, 1.0, 1.0]


def test_an_answer_without_a_length_changes_no_price():
    gaps = np.array([[[0.0, 1.0], [1.0, np.nan]], [[0.0, 1.0], [-1.0, 0.0]]])
    outcomes = np.where(np.isnan(gaps), -100.0, 2 * np.nan_to_num(gaps))
    slope_free = at_equal_length(outcomes, gaps)
    assert slope_free[1] == pytest.approx(0.0)  # its mean gap is 0, and so is its mean outcome
    assert slope_free[0] == pytest.approx((0 + 2 + 2 - 100) / 4 - 2 * 2 / 3)


def test_habits_by_hand():
    outputs = [
        THINK.parse(THINK.render("plan", "a b c d a b c d"), finished=True),
        THINK.parse(THINK.render("", "a b"), finished=True),
        THINK.parse(THINK.render("plan", "a"), finished=False),
        THINK.parse("no thought", finished=True),
        THINK.parse("<think>\nstray </think> and <think> more", finished=True),
    ]
    found = habits(outputs, 1.0, 2.0)
    assert repetition("a b c d a b c d") == pytest.approx(1 / 5)  # of five windows the last one is the first again
    assert repetition("a b c") == 0.0
    assert found == Habits(
        malformed=0.6, empty_thoughts=0.4, repetition=pytest.approx(1 / 10), thought_tokens=1.0, response_tokens=2.0
    )


def test_a_simulated_gate_is_fair():
    """The simulation's own draws: an equal candidate wins half of the pairings, a better one as many as it says."""
    from bench.gate_simulation import draw

    dice = np.random.default_rng(3)
    for kind, expected in (("same", 0.5), ("better", 0.55)):
        found = draw(dice, kind, 4000, 4)
        won = paired(found.judge.live, found.judge.candidate, 0.95, 1).win_rate
        assert won == pytest.approx(expected, abs=0.01)


def test_the_defaults_err_as_rarely_as_promised(monkeypatch):
    """300 drawn candidates of each kind through the gate's own decision, as in docs/trust.md, which has 1,000. Fewer
    resamples than a round's, for the time that it takes."""
    from bench.gate_simulation import simulate
    from trainer import intervals

    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    intervals._shares.cache_clear()
    (found,) = simulate([RoundConfig()], 300, seed=1, kinds=["same", "longer", "better"])
    intervals._shares.cache_clear()
    published, stopped = found["published"], found["better_stopped_by"]
    assert published["same"] < 0.05
    assert 0.01 < published["longer"] < 0.05
    assert 0.8 < published["better"] < 0.87  # more than that is a gate that has become laxer, as by 90 % intervals
    assert set(stopped) == {"reward", "judge", "equal_length", "transfer"}, "a check without noise stops good ones"
    assert stopped["transfer"] < 0.05


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
    names = ["reward", "judge", "equal_length", "transfer", "malformed", "empty_thoughts", "repetition", "refusals"]
    assert [check["name"] for check in found["checks"]] == [*names, "length"]
    assert found["kl"] is None


def test_paired_differences_by_hand():
    before, after = np.array([[1.0, 3.0], [4.0, 4.0]]), np.array([[3.0, 3.0], [4.0, 4.0]])
    found = paired(before, after, 0.95, seed=1)
    assert (found.before, found.after, found.difference) == (3.0, 3.5, 0.5)
    assert found.win_rate == 0.625  # of one prompt's pairings two won and two tied, of the other's all tied
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
