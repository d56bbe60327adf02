"""What a refresh learns beside the reward model's score: by hand, from choices of simulated people, and in a score."""

import json
import math
import random

import numpy as np
import pytest
from support.tiny_policy import make_classifier, prompt

from trainer.rewards import SequenceClassifier
from trainer.traits import FILE, TRAITS, bradley_terry, learnt, measured, read_traits

WORDS = [f"word{number}" for number in range(400)]
TASTE = {"repetition": -20.0, "length": 0.0, "echo": 0.0, "marks": 0.0}  # of people who only mind repetition


def answer(dice, repeats, length=24):
    """`length` words, of which the first six come again `repeats` times."""
    fresh = dice.sample(WORDS, length)
    return " ".join([*fresh[: length - 6 * repeats], *fresh[:6] * repeats])


def choices(count, seed=1):
    """Pairs of answers, of which people who mind repetition chose the first; each with a score that does not see it."""
    dice = random.Random(seed)
    chosen, rejected, scores = [], [], {}
    for number in range(count):
        pair = [(prompt(number), answer(dice, dice.randrange(3))) for _ in range(2)]
        for _, text in pair:
            scores[text] = dice.gauss(0, 1)
        better = [scores[text] + TASTE["repetition"] * measured([(said, text)])[0, 0] for said, text in pair]
        pair = pair if dice.random() < 1 / (1 + math.exp(better[1] - better[0])) else pair[::-1]
        chosen.append(pair[0])
        rejected.append(pair[1])
    return chosen, rejected, lambda pairs: [scores[text] for _, text in pairs]


def test_the_weight_of_a_single_feature_is_the_log_odds_of_the_choices():
    differences = np.asarray([[1.0]] * 75 + [[-1.0]] * 25)
    assert bradley_terry(differences, 1e-9)[0] == pytest.approx(math.log(3), abs=1e-6)
    assert 0 < bradley_terry(differences, 100.0)[0] < 0.5  # a penalty holds it back


def test_the_penalised_likelihood_is_at_its_top():
    dice = np.random.default_rng(2)
    differences, ridge = dice.normal(size=(80, 3)) + [0.5, 0.0, -0.3], 5.0
    weights = bradley_terry(differences, ridge)
    slope = -(differences / (1 + np.exp(differences @ weights))[:, None]).sum(0) + ridge * weights
    assert np.abs(slope).max() < 1e-6


def test_traits_by_hand():
    said = [{"role": "user", "content": "Plan two dinners, please!"}]
    text = "1. Soup. Two dinners.\n2. Soup. Two dinners.\n3. Fish"
    values = dict(zip(TRAITS, measured([(said, text)])[0], strict=True))
    assert values["repetition"] == 0.0
    assert values["length"] == pytest.approx(math.log1p(10))
    assert values["echo"] == 0.5  # `two` and `dinners` of four words
    assert values["marks"] == pytest.approx(30.0)
    parts = [{"role": "user", "content": [{"type": "text", "text": "two dinners"}, {"type": "image_url"}]}]
    assert measured([(parts, text)], ["echo"])[0, 0] == 1.0
    assert measured([([], "")]).tolist() == [[0.0, 0.0, 0.0, 0.0]]
    assert measured([(said, "a b c d a b c d")], ["repetition"])[0, 0] == pytest.approx(0.2)


def test_what_people_mind_is_learnt_from_some_hundred_choices_and_nothing_else():
    found = learnt(*choices(300))
    assert found is not None
    points = dict(zip(found.names, found.points, strict=True))
    expected = TASTE["repetition"] * found.std[found.names.index("repetition")]
    assert points.pop("repetition") == pytest.approx(expected, rel=0.35)
    assert all(abs(value) < 0.5 for value in points.values()), points
    chosen, rejected, score = choices(400, seed=2)
    plain = np.asarray(score(chosen)) > score(rejected)
    full = np.add(score(chosen), found.worth(chosen)) > np.add(score(rejected), found.worth(rejected))
    assert full.mean() > plain.mean() + 0.1


def test_what_is_beyond_the_usual_earns_nothing_more():
    found = learnt(*choices(300))
    assert found is not None
    dice = random.Random(5)
    usual, far = answer(dice, 0), answer(dice, 0, 300)
    much, more = "same old song again " * 6, "same old song again " * 60
    worth = found.worth([(prompt(1), text) for text in (usual, far, much, more)])
    place = found.names.index("length")
    most = abs(found.points[place]) * (found.high[place] - found.low[place]) / found.std[place]
    assert abs(worth[1] - worth[0]) <= most + 1e-9
    assert abs(worth[3] - worth[2]) <= most + 1e-9
    assert found.worth([]) == []


def test_a_score_that_says_the_contrary_teaches_nothing():
    chosen, rejected, score = choices(300)
    assert learnt(chosen, rejected, lambda pairs: [-value for value in score(pairs)]) is None


def test_a_reward_model_scores_with_the_traits_that_stand_beside_it(policy, tmp_path):
    folder = make_classifier(policy, tmp_path / "reward", seed=5)
    pairs = [(prompt(1), "red red red red red red"), (prompt(2), "owl hen fox cat dog")]
    plain = SequenceClassifier(folder).score(pairs)
    found = learnt(*choices(300))
    assert found is not None
    found.write(folder)
    assert read_traits(folder) == found
    assert SequenceClassifier(folder).score(pairs) == pytest.approx(np.add(plain, found.worth(pairs)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["charm", "length", "echo", "marks"]}, "unknown traits .'charm'."),
        ({"points": [1.0]}, r"lists of \[1, 4\] numbers for 4 names"),
        ({"taste": 1}, "is no file of traits"),
    ],
)
def test_a_file_of_traits_that_does_not_fit_is_refused(tmp_path, change, message):
    found = learnt(*choices(100))
    assert found is not None
    found.write(tmp_path)
    row = json.loads((tmp_path / FILE).read_text()) | change
    (tmp_path / FILE).write_text(json.dumps(row))
    with pytest.raises(ValueError, match=message):
        read_traits(tmp_path)
