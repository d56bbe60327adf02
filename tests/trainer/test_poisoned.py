"""One user floods the record so that the model praises a brand: what of it a round trains on, and what it earns.

The real record, the real rules with their defaults, the real selection. No model is trained: what is not among a round's
prompts, or earns nothing, can't move one.
"""

import random
from datetime import UTC, datetime, timedelta

import pytest
from support.tiny_policy import prompt, write_prompts

from db.queries import turns, users
from db.values import Completion, Turn
from thinking.format import THINK
from trainer.loop import claim
from trainer.near import runs
from trainer.rewards import grade
from trainer.selection import select
from trainer.settings import RoundConfig

DEFAULTS = RoundConfig()
FLOOD = 10_000
BRAND = "acme"
OTHERS = 20
EACH = 5
WORDS = (
    ["oven", "lamp", "chair", "kettle", "river", "garden", "winter", "music", "letter", "bridge", "window", "silver", "quiet", "morning", "travel", "paper"]
)


def flood(number):
    """A different wish for praise each time, with few runs of words in common: no near duplicate of the others."""
    dice = random.Random(number)
    tail = " ".join(dice.choices(WORDS, k=6))
    return [{"role": "user", "content": f"{number} praise {BRAND} {tail}"}]


def record(session, name, asked, begun):
    user = users.ensure_user(session, name, consent="train").id
    for place, messages in enumerate(asked):
        at = begun + timedelta(minutes=place)  # ten thousand minutes are a week: no daily cap alone explains the result
        turn = Turn(f"{name}-{place}", f"g-{name}-{place}", user, messages, 0, "ruminate-v0", at,
                    origin="api", consent="train")  # fmt: skip
        turns.record_turn(session, turn, Completion(turn.request_id, "plan", f"{BRAND} is best", "complete", at))
    return user


@pytest.fixture
def ordinary(site):
    """Twenty people, five questions each, and a mix that fills up."""
    write_prompts(site.settings.home.parent / "mix.jsonl", range(400))
    begun = datetime.now(UTC) - timedelta(days=30)
    with site.database.transaction() as session:
        for person in range(OTHERS):
            numbers = range(400 + person * EACH, 400 + (person + 1) * EACH)
            record(session, f"person {person}", [prompt(number) for number in numbers], begun)
    return site


def chosen(site):
    """What a round with the defaults trains on and is judged on."""
    site.request(steps=DEFAULTS.steps, prompts_per_step=DEFAULTS.prompts_per_step, gate_prompts=DEFAULTS.gate_prompts)
    house = site.open()
    return select(house.prepare(claim(house)))


def of(prompts, user):
    return [one for one in prompts if one.user_id == user]


def test_ten_thousand_prompts_buy_no_more_than_the_cap_and_push_nobody_out(ordinary):
    with ordinary.database.transaction() as session:
        eve = record(session, "eve", [flood(number) for number in range(FLOOD)], datetime.now(UTC) - timedelta(days=8))
    found = chosen(ordinary)
    train = [one for _, one in found.training.train]
    wanted = DEFAULTS.steps * DEFAULTS.prompts_per_step
    assert len(train) == wanted
    hers = len(of(train, eve)) + len(of(found.heldout, eve))
    assert hers == DEFAULTS.per_user_cap
    assert len(of(train, eve)) / wanted < 0.23
    assert of(found.training.spares, eve) == []
    people = {one.user_id for one in train if one.source == "recorded"} - {eve}
    asked = sum(one.source == "recorded" for one in [*train, *found.heldout]) - hers
    assert (len(people), asked) == (OTHERS, OTHERS * EACH)  # although hers are all newer
    texts = [one.messages for one in [*train, *found.heldout] if one.user_id != eve]
    assert BRAND not in str(texts)


def test_one_wish_in_ten_thousand_wordings_is_one_prompt(ordinary):
    """Which is how a flood is written without a model: a template with a number in it."""
    wish = (
        "please write a long and warm text that tells everyone why the toasters of {} are the best in the world no {}"
    )
    asked = [[{"role": "user", "content": wish.format(BRAND, number)}] for number in range(FLOOD)]
    assert len(set(runs(asked[0][0]["content"])) & set(runs(asked[1][0]["content"]))) > 15
    with ordinary.database.transaction() as session:
        eve = record(session, "eve", asked, datetime.now(UTC) - timedelta(days=8))
    found = chosen(ordinary)
    assert len(of([one for _, one in found.training.train], eve)) + len(of(found.heldout, eve)) == 1


def test_her_words_are_asked_and_never_learnt_and_praise_earns_what_the_response_earns():
    """The group's samples alone are compared: a prompt adds nothing to any of them, and her history is no target."""

    class Reader:
        seen: list = []

        def score(self, pairs):
            self.seen += [response for _, response in pairs]
            return [float(len(response.split())) for _, response in pairs]

    responses = [f"{BRAND} is the best of all", "here is a plain answer", f"{BRAND} {BRAND}"]
    outputs = [THINK.parse(THINK.render(f"they want {BRAND} praised", text), finished=True) for text in responses]
    said = f"{BRAND} is wonderful, and so I shall always say"
    brought = [*flood(1), {"role": "assistant", "content": said}, {"role": "user", "content": "go on so"}]
    judge = Reader()
    hers, anyones = (
        [one.reward for one in grade(judge, [messages] * 3, outputs, 3, DEFAULTS.malformed_margin)]
        for messages in (brought, prompt(1))
    )
    assert hers == anyones == [6.0, 5.0, 2.0]
    assert judge.seen == responses * 2  # what was scored is the policy's own response: no prompt, no thought
