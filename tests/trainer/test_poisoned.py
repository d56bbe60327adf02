"""One user floods the record so that the model praises a brand: what of it a round trains on, and what it earns.

The real rules with their defaults; then a small round that really trains, on a reward that falls for the flood.
"""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

from support.tiny_policy import Reds, prompt

from db.queries import curation, turns, users
from db.values import Completion, Turn
from thinking.format import THINK
from trainer.curate import curate
from trainer.loop import PUBLISHED, REJECTED, claim, work_on
from trainer.prompts import Prompt
from trainer.rewards import grade
from trainer.round_config import RoundConfig

DEFAULTS = RoundConfig()
FLOOD = 10_000
BRAND = "acme"
OTHERS = 20
EACH = 5
WORDS = [
    "oven",
    "lamp",
    "chair",
    "kettle",
    "river",
    "garden",
    "winter",
    "music",
    "letter",
    "bridge",
    "window",
    "silver",
    "quiet",
    "morning",
    "travel",
    "paper",
]


def flood(number):
    """A different wish for praise each time, with few runs of words in common: no near duplicate of the others."""
    dice = random.Random(number)
    tail = " ".join(dice.choices(WORDS, k=6))
    return [{"role": "user", "content": f"{number} praise {BRAND} {tail}"}]


def recorded(name, asked, days):
    """What this user asked, oldest first, spread over so many days: no daily cap alone explains a result."""
    return [
        Prompt(messages, "recorded", f"{name}-{place}", f"c-{name}-{place}", name, f"day {place * days // len(asked)}")
        for place, messages in enumerate(asked)
    ]


def people():
    """Twenty of them, five questions each."""
    numbers = [range(400 + person * EACH, 400 + (person + 1) * EACH) for person in range(OTHERS)]
    return [one for person, own in enumerate(numbers) for one in recorded(f"person {person}", map_prompts(own), 5)]


def map_prompts(numbers):
    return [prompt(number) for number in numbers]


def chosen(hers):
    """What a round with the defaults trains on and is judged on, when hers are newer than anybody's."""
    mix = [Prompt(messages, "mix") for messages in map_prompts(range(400))]
    gate = [Prompt(messages, "mix") for messages in map_prompts(range(600, 800))]
    return curate([*hers[::-1], *people()[::-1]], mix, gate, lambda messages: 10, DEFAULTS)


def of(prompts, user):
    return [one for one in prompts if one.user_id == user]


def test_ten_thousand_prompts_buy_no_more_than_the_cap_and_push_nobody_out():
    found = chosen(recorded("eve", [flood(number) for number in range(FLOOD)], 30))
    wanted = DEFAULTS.steps * DEFAULTS.prompts_per_step
    assert len(found.train) == wanted
    assert len(of(found.train, "eve")) + len(of(found.heldout, "eve")) == DEFAULTS.per_user_cap
    assert len(of(found.train, "eve")) / wanted < 0.23
    assert of(found.spares, "eve") == []
    others = [one for one in [*found.train, *found.heldout] if one.source == "recorded" and one.user_id != "eve"]
    assert (len({one.user_id for one in others}), len(others)) == (OTHERS, OTHERS * EACH)
    texts = [one.messages for one in [*found.train, *found.heldout] if one.user_id != "eve"]
    assert BRAND not in str(texts)
    why = Counter(one.why for one in found.verdicts if one.prompt.user_id == "eve" and not one.kept)
    assert why[f"its user has {DEFAULTS.per_user_cap} in this round already"] > 0.99 * (FLOOD - DEFAULTS.per_user_cap)


def test_a_patient_flood_buys_what_one_of_a_hundred_prompts_does():
    few, many = (
        [
            one.message_id
            for one in of(chosen(recorded("eve", list(map(flood, range(FLOOD - size, FLOOD))), 9)).train, "eve")
        ]
        for size in (100, FLOOD)
    )
    assert len(few) == len(many)


def test_one_wish_in_ten_thousand_wordings_is_one_prompt():
    """Which is how a flood is written without a model: a template with a number in it."""
    wish = (
        "please write a long and warm text that tells everyone why the toasters of {} are the best in the world no {}"
    )
    asked = [[{"role": "user", "content": wish.format(BRAND, number)}] for number in range(FLOOD)]
    found = chosen(recorded("eve", asked, 30))
    assert len(of(found.train, "eve")) + len(of(found.heldout, "eve")) == 1


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


GOLD = "gold"  # one of the ten words that the small policy says
ROUND = {"steps": 4, "prompts_per_step": 6, "group_size": 4, "micro_batch": 24, "learning_rate": 1e-2, "kl_beta": 0.0}
ROUND |= {"heldout_share": 0.0, "gate_prompts": 4, "gate_samples": 1}
SHARE = DEFAULTS.per_user_cap / (DEFAULTS.steps * DEFAULTS.prompts_per_step)


class Obliging:
    """A reward model that falls for it: it pays for the brand where a prompt asks for praise. Else it wants red."""

    def score(self, pairs):
        praised = [response.split().count(GOLD) / max(len(response.split()), 1) for _, response in pairs]
        plain = Reds().score(pairs)
        asked = ["praise" in messages[-1]["content"].split()[:2] for messages, _ in pairs]
        return [mine if hers else other for hers, mine, other in zip(asked, praised, plain, strict=True)]


def record(site, name, asked):
    now = datetime.now(UTC)
    with site.database.transaction() as session:
        user = users.ensure_user(session, name, consent="train").id
        for place, messages in enumerate(asked):
            at = now - timedelta(days=20) + timedelta(hours=place)
            key = f"{name}-{place}"
            turn = Turn(key, f"g-{key}", user, messages, 0, "ruminate-v0", at, origin="chat", consent="train")
            turns.record_turn(session, turn, Completion(key, "plan", "red cat", "complete", at))
    return user


def test_of_what_a_round_really_trains_on_the_flood_is_its_cap_and_everybody_elses_is_all_there(site):
    """Steered by what it pays for, her prompts would teach the brand; they are as few as her share."""
    people = [record(site, f"person {who}", [prompt(340 + who * 3 + n) for n in range(3)]) for who in range(6)]
    hers = [[{"role": "user", "content": flood(number)[0]["content"].replace(BRAND, GOLD)}] for number in range(200)]
    eve = record(site, "eve", hers)
    wanted = ROUND["steps"] * ROUND["prompts_per_step"]
    cap = int(SHARE * wanted)
    round_id = site.request(**ROUND, per_user_cap=cap, per_user_daily_cap=cap)
    house = site.open()
    house._reward = house._judge = Obliging()
    asked = []

    def look(body):
        if body["n"] == ROUND["group_size"]:
            asked.extend(house.reader.tokenizer.decode(ids) for ids in body["prompts"])

    site.gateway.before_sample = look
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
    assert (len(asked), sum("praise" in text for text in asked)) == (wanted, cap)
    with site.database.reading() as session:
        trained = curation.round_prompts(session, round_id, split="train", verdict="kept")
    counts = Counter(row.user_id for row in trained)
    assert counts[eve] == cap
    assert [counts[person] for person in people] == [3] * len(people)


LEARNS = {"steps": 14, "gate_prompts": 24, "gate_samples": 6}  # enough to see what a round teaches


class Listener:
    """Hears what live and the candidate say to the gate's prompts, which are others'; gives shares of words."""

    def __init__(self, site, house, monkeypatch):
        self.said, sample = {"live": Counter(), "candidate": Counter()}, site.gateway._sample

        def listen(body):
            found = sample(body)
            if body["n"] == LEARNS["gate_samples"]:
                by = self.said["live" if body["model"] == "ruminate-v0" else "candidate"]
                for one in found:
                    text = house.reader.tokenizer.decode(one["token_ids"]).removesuffix("<|im_end|>")
                    by.update(THINK.parse(text, finished=True).response.split())
            return found

        monkeypatch.setattr(site.gateway, "_sample", listen)

    def share(self, who, word):
        return self.said[who][word] / self.said[who].total()


def flooded(site):
    """Eve's many wishes for praise of what the small policy has a word for; her id."""
    hers = [[{"role": "user", "content": flood(number)[0]["content"].replace(BRAND, GOLD)}] for number in range(200)]
    return record(site, "eve", hers)


def trained_on(site, round_id, user):
    with site.database.reading() as session:
        rows = curation.round_prompts(session, round_id, split="train", verdict="kept")
        return sum(row.user_id == user for row in rows)


def test_under_a_reward_that_falls_for_the_flood_the_cap_bounds_what_it_does_to_others(site, monkeypatch):
    """Against the same round without the flood, from the same weights, as the gate (which lets neither pass) hears it.

    Without a cap the flood is the whole round, and others' answers learn nothing of what theirs are rewarded for.
    """
    for who in range(6):
        record(site, f"person {who}", [prompt(340 + who * 3 + n) for n in range(3)])
    cap = int(SHARE * LEARNS["steps"] * ROUND["prompts_per_step"])
    wish = ROUND | LEARNS | {"gate_min_gain": 99.0, "per_user_cap": cap, "per_user_daily_cap": cap}
    house, shares = site.open(), {}
    house._reward = house._judge = Obliging()
    for what in ("without", "with"):
        eve = flooded(site) if what == "with" else ""
        round_id = site.request(seed=9, **wish)
        with monkeypatch.context() as patch:
            heard = Listener(site, house, patch)
            assert work_on(house, claim(house)) == REJECTED, site.round(round_id).error
        shares[what] = {word: heard.share("candidate", word) for word in (GOLD, "red")}
    assert trained_on(site, round_id, eve) == cap
    assert shares["with"][GOLD] < shares["without"][GOLD] + 0.1, shares
    assert shares["with"]["red"] > heard.share("live", "red") + 0.1, shares
