"""DPO on what people chose between: which choices make pairs, how many, and what a withdrawal does to them."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from support.tiny_policy import prompt

from db.queries import feedback, turns, users
from db.values import Completion, Preference, Turn
from thinking.format import THINK
from trainer.files import read_json
from trainer.loop import PUBLISHED, REJECTED, claim, work_on
from trainer.pairs import Pair, Pairs
from trainer.people_pairs import pair_of, people_pairs
from trainer.policy import eos_ids, load_tokenizer, prompt_ids
from trainer.prompts import Prompt
from trainer.rewards import Reader
from trainer.round_config import RoundConfig
from trainer.work import TrainingPrompts


def told(message_id, chosen="Blue.", rejected="Red.", thought="plan", other="plan a"):
    return Preference(message_id, [{"role": "user", "content": "x"}], chosen, rejected, thought, other)


@pytest.fixture
def reader(policy):
    tokenizer = load_tokenizer(policy, "chatml")
    return Reader(tokenizer, THINK, eos_ids(tokenizer, policy))


def test_a_persons_choice_is_a_pair_as_it_was_said(reader):
    config = RoundConfig(algorithm="dpo", max_completion_tokens=64)
    pair = pair_of(told("m1"), prompt(1), reader, config)
    read = [reader.read(ids, True) for ids in (pair.chosen_ids, pair.rejected_ids)]
    assert [(one.reasoning, one.response) for one in read] == [("plan", "Blue."), ("plan a", "Red.")]
    assert all(one.well_formed for one in read)
    assert pair.prompt_ids == prompt_ids(reader.tokenizer, prompt(1))
    assert (pair.source, pair.message_id) == ("people", "m1")


def test_why_a_choice_makes_no_pair(reader):
    def why(one, **config):
        found = pair_of(one, prompt(1), reader, RoundConfig(**({"max_completion_tokens": 64} | config)))
        return found if isinstance(found, str) else found.source

    assert why(told("m", other="")) == "without_thought"
    assert why(told("m", chosen="a </think> b")) == "malformed"
    assert why(told("m", chosen="blue " * 99)) == "too_long"
    mails = told("m", chosen="mail a@b.org", rejected="mail c@d.org")
    assert why(mails, personal_data="drop") == "personal"
    assert why(mails) == "alike"  # with both addresses taken out
    assert why(mails, personal_data="keep") == "people"


def people_work(tmp_path, reader, said, allowed, **config):
    ledger = SimpleNamespace(preferences=lambda: said, still_trainable=lambda ids: allowed & set(ids))
    config = RoundConfig(algorithm="dpo", max_completion_tokens=64, **config)
    return SimpleNamespace(round_id=1, folder=tmp_path, ledger=ledger, reader=reader, config=config)


def test_people_have_their_share_of_the_pairs_and_each_pair_says_whose_it_is(tmp_path, reader):
    train = [(0, Prompt(prompt(1), "recorded", "m1")), (1, Prompt(prompt(2), "recorded", "m2")),
             (2, Prompt(prompt(3), "mix"))]  # fmt: skip
    said = [told("m1"), told("m1", rejected="Gold."), told("m2"), told("m9")]  # m9: curation left it out
    work = people_work(tmp_path, reader, said, {"m1", "m2"}, dpo_people=0.5)
    made = Pairs(work)
    made._folder.mkdir()
    made.all = [Pair([1], [2], [3], 1.0, None)] * 2
    figures = made._people(TrainingPrompts(train, []), people_pairs)
    assert [pair.source for pair in made.all] == ["samples"] * 2 + ["people"] * 2  # half of all, and no more
    assert (figures["people_pairs"], figures["people_beyond_share"], figures["people_share"]) == (2.0, 1.0, 0.5)
    again = Pairs(people_work(tmp_path, reader, [], {"m1", "m2"}, dpo_people=0.5))  # after a restart: as chosen once
    again._people(TrainingPrompts(train, []), people_pairs)
    assert again.all == made.all[2:]


def test_a_persons_words_leave_the_disk_when_they_withdraw(tmp_path, reader):
    allowed = {"m1"}
    made = Pairs(people_work(tmp_path, reader, [told("m1")], allowed, dpo_people=0.9))
    made._folder.mkdir()
    made.all = [Pair([1], [2], [3], 1.0, None)]
    made._people(TrainingPrompts([(0, Prompt(prompt(1), "recorded", "m1"))], []), people_pairs)
    allowed.clear()
    assert [pair.message_id for pair in made.allowed([1])] == [None]
    (kept,) = read_json(tmp_path / "pairs" / "people.json")["pairs"]
    assert kept["prompt_ids"] == kept["chosen_ids"] == kept["rejected_ids"] == []


def test_trl_trains_on_what_people_chose(site):
    """A round of DPO with rows of the real record: some prompts of a person, each with a choice between two answers."""
    with site.database.transaction() as session:
        ann = users.ensure_user(session, "ann", consent="train").id
        for number in range(40, 48):
            for side, words in (("a", "red red red red"), ("b", "gold hen")):
                name, now = f"{number}-{side}", datetime.now(UTC)
                turn = Turn(name, f"g-{name}", ann, prompt(number), 0, "ruminate-v0", now, consent="train")
                turns.record_turn(session, turn, Completion(name, "plan fox", words, "complete", now))
            feedback.compare(session, ann, f"g-{number}-a", f"g-{number}-b", "left", {})
    round_id = site.request(algorithm="dpo", steps=2, dpo_min_valid=2, dpo_people=0.5, heldout_share=0.0)
    house = site.open()
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
    figures = site.metrics(round_id)
    assert figures["people_pairs"][0][1] > 0
    assert 0 < figures["people_share"][0][1] <= 0.5
    assert {step for step, _ in figures["loss"]} == {1, 2}
