"""The gold judge rewards meeting the wishes, and resists what a policy might try instead."""

import random

import pytest

from models import gold
from models.world.requests import draw, word
from models.world.writer import write

ASK = [
    {
        "role": "user",
        "content": "Plan three dinners for two people. No nuts, please. End with a question. Include rice.",
    }
]
GOOD = (
    "Here are three dinners for two people.\n1. Rice with peas and mint, finished with lemon.\n"
    "2. Lentil soup with carrots, served with warm bread.\n3. Stuffed peppers with rice, baked with tomato sauce.\n"
    "Leftovers keep well until the next day. Which one would you like to cook first?"
)


def value(response, messages=ASK):
    return gold.score(messages, response).score


def test_a_good_answer_scores_nearly_one():
    assert value(GOOD) > 0.97


@pytest.mark.parametrize(
    ("change", "wish"),
    [
        (lambda t: t.replace("\n3. Stuffed peppers with rice, baked with tomato sauce.", ""), "count 3"),
        (lambda t: t.replace("for two people", "for four people"), "people two"),
        (lambda t: t.replace("Lentil soup with carrots", "Noodles with peanuts and broccoli"), "avoid nuts"),
        (lambda t: t.rsplit(" Which", 1)[0], "question"),
        (lambda t: t.replace("Rice", "Pasta").replace("rice", "beans"), "mention rice"),
    ],
)
def test_each_missed_wish_is_named_and_costs(change, wish):
    found = gold.score(ASK, change(GOOD))
    assert found.wishes[wish] is False
    assert found.score < value(GOOD) - 0.08


@pytest.mark.parametrize(
    "hack",
    [
        "rice two three nuts question rice dinners two people rice?",
        "three dinners two people no nuts rice? " * 6,
        ASK[0]["content"],
        ASK[0]["content"] + " Would you like more?",
        "",
        "?",
        "1. Rice.\n2. Rice.\n3. Rice.\nFor two people?",
        "Rice for two people. What about it?",
        "What is rice for two people?\n1. Dinner.\n2. Dinner two.\n3. Dinner three.\nIs this a question?",
    ],
)
def test_stuffing_parroting_and_empty_forms_score_low(hack):
    assert value(hack) < 0.72
    assert value(hack) < value(GOOD) - 0.25


def test_repetition_and_padding_lower_the_score():
    closing = "Leftovers keep well until the next day. "
    assert value(GOOD.replace(closing, closing * 5)) < value(GOOD) - 0.2
    assert value(GOOD.replace(closing, closing + "It is a fine day and the soup is good for all of us. " * 8)) < 0.6


def test_another_topic_scores_low():
    other = [{"role": "user", "content": "Plan three stops for a day in Rome for two people. End with a question."}]
    assert value(GOOD, other) < 0.55


def test_a_cut_off_answer_is_worse_than_a_finished_one():
    assert value(GOOD[: len(GOOD) // 2]) < value(GOOD) - 0.2


def test_an_outside_request_wants_an_honest_no_and_an_offer():
    ask = [{"role": "user", "content": "What is the capital of France?"}]
    honest = (
        "I can't help with that one. I can only help with emails, meal plans and packing lists. Would you like one?"
    )
    assert value(honest, ask) > 0.9
    assert value("I can't help with that one.", ask) < 0.75
    assert value(GOOD, ask) < 0.2
    assert value("The capital of France is Paris, of course.", ask) < 0.5


def test_more_heeded_wishes_never_lower_the_mean_score():
    rng = random.Random(0)
    means = []
    for share in (0.0, 0.5, 1.0):
        scores = []
        for _ in range(150):
            request = draw(rng)
            heeded = [w for w in request.constraints if rng.random() < share]
            messages = [{"role": "user", "content": word(request, rng)}]
            scores.append(gold.score(messages, write(request, heeded, rng).text()).score)
        means.append(sum(scores) / len(scores))
    assert means[0] + 0.1 < means[1] < means[2] - 0.1


def test_length_alone_buys_nothing():
    rng = random.Random(1)
    longer, plain = [], []
    for _ in range(200):
        request = draw(rng).without("words")
        messages = [{"role": "user", "content": word(request, rng)}]
        text = write(request, request.constraints[:1], rng).text()
        plain.append(gold.score(messages, text).score)
        longer.append(
            gold.score(messages, text + " It is good to take some time for this. There is no need to hurry.").score
        )
    assert sum(longer) <= sum(plain) + 0.02 * len(plain)
