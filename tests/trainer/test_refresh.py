"""The reward model learns what people preferred: which pairs, mixed how, accepted when, and which one a round uses."""

import fcntl
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.tiny_policy import make_classifier, prompt

from db.base import weights_hash
from db.errors import DatabaseUnavailable
from db.queries import checkpoints, feedback, forget, turns, users
from db.queries.preferences import trainable_preferences
from db.values import Completion, Turn
from trainer.files import read_json, write_json
from trainer.house import House
from trainer.prompts import is_heldout
from trainer.refresh import LEAST_TRAITS, add_traits, current, due, in_words, ordered, refresh, taught, unlearnt
from trainer.refresh_pairs import Pair, mixed, preferred, read_pairs, recent
from trainer.settings import BadSetting
from trainer.traits import read_traits

NOW = datetime.now(UTC)


def answered(session, user, name, asked, response, consent="train"):
    turn = Turn(name, f"g-{name}", user, asked, 0, "ruminate-v0", NOW, origin="chat", consent=consent)
    turns.record_turn(session, turn, Completion(name, "plan", response, "complete", NOW))
    return f"g-{name}"


def choose(session, user, number, good="red red red red", bad="owl hen fox", consent="train"):
    """The user asked `prompt(number)`, got two answers, and chose the good one, which stands on either side."""
    sides = [
        answered(session, user, f"{number}-{side}", prompt(number), words, consent)
        for side, words in (("a", good), ("b", bad))
    ]
    left, right, choice = (*sides, "left") if number % 2 else (*reversed(sides), "right")
    feedback.compare(session, user, left, right, choice, {})


def test_choices_and_thumbs_make_pairs_and_ties_make_none(site):
    with site.database.transaction() as session:
        ann = users.ensure_user(session, "ann", consent="train").id
        choose(session, ann, 1)
        choose(session, ann, 2)
        tied = [answered(session, ann, f"t{side}", prompt(3), f"cat {side}") for side in "ab"]
        feedback.compare(session, ann, *tied, "tie", {})
        rated = [answered(session, ann, f"r{at}", prompt(4), f"dog {at}") for at in range(3)]
        for one, rating in zip(rated, (1, -1, -1), strict=True):
            feedback.give_feedback(session, one, ann, rating)
    with site.database.reading() as session:
        found = trainable_preferences(session)
    told = {(one.messages[-1]["content"], one.chosen, one.rejected) for one in found}
    liked = {(prompt(4)[0]["content"], "dog 0", f"dog {at}") for at in (1, 2)}
    chosen = {(prompt(n)[0]["content"], "red red red red", "owl hen fox") for n in (1, 2)}
    assert told == liked | chosen


@pytest.mark.parametrize("how", ["a turn without consent", "a user who withdrew"])
def test_what_may_not_be_trained_on_makes_no_pair(site, how):
    with site.database.transaction() as session:
        ann = users.ensure_user(session, "ann", consent="train").id
        choose(session, ann, 1, consent="history" if how == "a turn without consent" else "train")
        if how == "a user who withdrew":
            users.set_consent(session, ann, "history")
    assert preferred(site.database) == []


def test_a_reward_model_learns_from_conversations_as_rounds_have_them(site, settings):
    """An API's clients send content in parts, and thoughts back in their history."""
    parts = [
        {"role": "user", "content": [{"type": "text", "text": "name"}, {"type": "text", "text": "a colour"}]},
        {"role": "assistant", "content": "<think>a secret plan</think>red"},
        {"role": "user", "content": [{"type": "text", "text": "another"}]},
    ]
    picture = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}, parts[0]["content"][0]]}
    ]
    with site.database.transaction() as session:
        ann = users.ensure_user(session, "ann", consent="train").id
        for at, asked in enumerate((parts, picture)):
            sides = [
                answered(session, ann, f"p{at}-{side}", asked, words) for side, words in (("a", "blue"), ("b", "x"))
            ]
            feedback.compare(session, ann, *sides, "left", {})
    found = {pair.pictures: pair.messages for pair in preferred(site.database)}
    assert found[False] == [
        {"role": "user", "content": "name\na colour"},
        {"role": "assistant", "content": "red"},
        {"role": "user", "content": "another"},
    ]
    record_choices(site, range(130, 190))
    record = refresh(settings, site.database)
    assert len(record["pairs"]) == 62  # of which the one with a picture teaches nothing
    assert record["trained_on"]["recorded"] + record["held_out"]["recorded"] == 61


def test_all_new_pairs_are_mixed_with_as_many_kept_ones():
    new = [Pair(prompt(n), "a", "b", f"m{n}") for n in range(5)]
    kept = [Pair(prompt(n), "c", "d") for n in range(100, 140)]
    found = mixed(new, kept, seed=1)
    assert sum(pair in new for pair in found) == 5
    assert len(found) == 10
    assert found == mixed(new, kept, seed=1) != mixed(new, kept, seed=2)
    assert len(mixed(new, kept[:2], seed=1)) == 7


def test_the_newest_are_learnt_from_and_of_one_user_not_too_many():
    said = [Pair(prompt(n), "a", "b", f"m{n}", "ann" if n % 2 else f"user {n}") for n in range(20)]
    assert recent(said, most=6, most_of_one=2) == [said[n] for n in (12, 14, 16, 17, 18, 19)]
    assert recent(said, most=100, most_of_one=100) == said


def test_one_user_alone_makes_no_reward_model(site, settings):
    record_choices(site, range(130, 210))
    record = refresh(settings.model_copy(update={"refresh_per_user": 20}), site.database)
    assert record["trained_on"]["recorded"] + record["held_out"]["recorded"] == 20
    assert record["traits"] is None
    assert len(record["pairs"]) == 80  # all are known, so that they make no other refresh due


def test_what_is_ordered_rightly_by_hand():
    pairs = [
        Pair(prompt(n), chosen, rejected) for n, (chosen, rejected) in enumerate([("aa", "b"), ("a", "bb"), ("a", "b")])
    ]
    lengths = ordered(lambda given: [len(said) for _, said in given], pairs)
    assert lengths == [True, False, False]  # equal is not right


@pytest.mark.parametrize(
    ("lost", "won", "surely"), [(0, 0, False), (4, 0, False), (5, 0, True), (6, 1, False), (7, 1, True), (1, 9, False)]
)
def test_pairs_are_unlearnt_where_more_are_lost_than_chance_loses(lost, won, surely):
    first = [True] * lost + [False] * won + [True, False] * 50
    after = [False] * lost + [True] * won + [True, False] * 50
    assert unlearnt(first, after) is surely


@pytest.fixture
def settings(site, policy, tmp_path):
    kept = tmp_path / "kept.jsonl"
    rows = [{"messages": prompt(n), "chosen": "red red red red", "rejected": "owl hen fox"} for n in range(120)]
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "reward_model": str(make_classifier(policy, tmp_path / "reward", seed=5)),
        "refresh_pairs": str(kept),
        "refresh_rate": 2e-3,
        "refresh_after": 30,
        "heldout_share": 0.3,
    }
    return site.settings.model_copy(update=changes)


def test_the_networks_weights_change_only_where_that_is_surely_better(site, settings):
    record_choices(site, range(130, 210), good="cat owl", bad="owl cat")  # no trait tells these apart
    record = refresh(settings, site.database)
    assert record["weights_trained"]
    second = refresh(settings.model_copy(update={"refresh_rate": 1e-9}), site.database)
    assert not second["weights_trained"]
    assert "weights stay as they were" in in_words(second)


def test_few_choices_of_people_tell_nothing_of_traits_however_many_pairs_are_kept(policy, tmp_path):
    model = make_classifier(policy, tmp_path / "reward", seed=5)
    said = [Pair(prompt(n), "red red red red", "owl hen fox", f"m{n}") for n in range(LEAST_TRAITS - 1)]
    assert add_traits(model, [*said, *(Pair(prompt(n), "a b", "c") for n in range(100))]) is None
    assert read_traits(model) is None


def record_choices(site, numbers, **words):
    with site.database.transaction() as session:
        ann = users.ensure_user(session, "ann", consent="train").id
        for number in numbers:
            choose(session, ann, number, **words)


def test_a_copy_that_learnt_is_accepted_and_the_one_before_stays(site, settings):
    record_choices(site, range(130, 210))
    assert due(settings, site.database)
    killed = settings.home / "rewards" / ".refresh-k1ll3d"  # of one that was killed while it trained
    (killed / "0001" / "model").mkdir(parents=True)
    with (settings.home / "rewards" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="is being refreshed by another process"):
            refresh(settings, site.database)
        assert killed.exists()
    record = refresh(settings, site.database)
    assert record["accepted"], record
    assert record["of_weights"] == weights_hash(Path(settings.reward_model))
    assert not killed.exists()
    assert all(one["after"] >= max(one["before"], 0.9) for one in record["accuracy"].values()), record
    model = settings.home / "rewards" / "0001" / "model"
    traits = read_traits(model)
    assert traits is not None
    assert record["traits"] == dict(zip(traits.names, traits.points, strict=True))
    assert "points for a standard deviation: repetition" in in_words(record)
    held = [number for number in range(130, 210) if is_heldout(prompt(number), 0.3)]
    assert traits.pairs == record["trained_on"]["pairs"]
    assert record["held_out"]["recorded"] == len(held)
    assert record["trained_on"]["recorded"] == 80 - len(held) == len(record["messages"])
    assert current(settings, site.database) == str(settings.home.absolute() / "rewards" / "0001" / "model")
    assert current(settings.model_copy(update={"reward_model": "another"}), site.database) == "another"
    assert not due(settings, site.database)

    house = House(settings.model_copy(update={"refresh_after": 0}))
    assert house._newest_reward() == current(settings, site.database)
    house.close()


def test_a_copy_that_reads_held_out_pairs_worse_is_put_away(site, settings):
    record_choices(site, range(130, 210))
    refresh(settings, site.database)
    with site.database.transaction() as session:  # people who want the opposite, of whom nothing is held out
        bob = users.ensure_user(session, "bob", consent="train").id
        for number in (n for n in range(210, 400) if not is_heldout(prompt(n), 0.3)):
            choose(session, bob, number, good="owl hen fox", bad="red red red red")
    record = refresh(settings.model_copy(update={"refresh_rate": 1e-2}), site.database)
    assert not record["accepted"], record
    assert current(settings, site.database).endswith("0001/model")
    assert not (settings.home / "rewards" / "0002" / "model").exists()


def test_too_few_pairs_and_a_file_of_models_are_refused(site, settings, tmp_path):
    with pytest.raises(ValueError, match="0 pairs to train on and 0 held out"):
        refresh(settings.model_copy(update={"refresh_pairs": ""}), site.database)
    with pytest.raises(BadSetting, match="only a single sequence classifier can be refreshed"):
        refresh(settings.model_copy(update={"reward_model": "two.toml"}), site.database)
    wrong = tmp_path / "wrong.jsonl"
    answers = {"chosen": "a", "rejected": "b"}
    for row in (
        {"messages": []}, answers | {"messages": "x"}, answers | {"messages": []},
        answers | {"messages": prompt(1), "rejected": 1},
    ):  # fmt: skip
        wrong.write_text(json.dumps(row) + "\n")
        with pytest.raises(ValueError, match=r"wrong.jsonl, line 1: expected `messages`, `chosen` and `rejected`"):
            read_pairs(str(wrong))


def refreshed(settings, number, messages, before=None, **more):
    """As if a refresh had been accepted that learnt from preferences on these messages."""
    folder = settings.home.absolute() / "rewards" / f"{number:04d}"
    (folder / "model").mkdir(parents=True)
    record = {"of": settings.reward_model, "from": before or settings.reward_model, "accepted": True, "pairs": []}
    write_json(folder / "record.json", record | {"messages": messages} | more)
    return str(folder / "model")


@pytest.mark.parametrize("how", ["deleted", "withdrawn"])
def test_a_model_that_learnt_from_what_was_forgotten_is_used_no_more_and_its_checkpoints_are_named(site, settings, how):
    from trainer.house import House

    asked = {}
    with site.database.transaction() as session:
        for name, number in (("ann", 1), ("bob", 2)):
            asked[name] = users.ensure_user(session, name, consent="train").id
            choose(session, asked[name], number)
    pairs = {pair.messages[-1]["content"]: pair.message_id for pair in preferred(site.database)}
    bobs, anns = (pairs[prompt(number)[0]["content"]] for number in (2, 1))
    first = refreshed(settings, 1, [bobs])
    second = refreshed(settings, 2, [anns], first)
    third = refreshed(settings, 3, [bobs], second)
    assert current(settings, site.database) == third
    settings = settings.model_copy(update={"refresh_after": 0})
    site.request()
    house = House(settings)
    site.begin(house)
    house.close()
    with site.database.transaction() as session:
        made = checkpoints.reserve_checkpoint(session, 0, 1).name
        if how == "deleted":
            forget.delete_user(session, asked["ann"])
        else:
            users.set_consent(session, asked["ann"], "history")
    assert current(settings, site.database) == first
    with site.database.reading() as session:
        assert [one.name for one in forget.checkpoints_that_learnt_from(session, user_id=asked["ann"])] == [made]


def test_who_taught_a_model_is_known_in_a_home_that_was_moved(settings):
    refreshed(settings, 1, ["m1"])
    second = refreshed(settings, 2, ["m2"], "/elsewhere/rewards/0001/model")
    assert taught(settings, second) == {"m1", "m2"}
    third = refreshed(settings, 3, ["m3"], "/elsewhere/rewards/0003/model")  # of another house, whose number it has
    assert taught(settings, third) == {"m3"}


def test_a_refreshed_model_is_used_wherever_the_one_that_it_comes_from_stands_now(site, settings, policy, tmp_path):
    first, other = Path(settings.reward_model), make_classifier(policy, tmp_path / "other", seed=6)
    made = refreshed(settings, 1, [], of_weights=weights_hash(first))
    moved = settings.model_copy(update={"reward_model": str(tmp_path / "another clone" / "reward")})
    shutil.move(first, moved.reward_model)
    assert current(moved, site.database) == made
    another = settings.model_copy(update={"reward_model": str(other)})
    assert current(another, site.database) == str(other)
    shutil.move(other, first)  # at the place of the first one stands another, as in a new version
    assert current(settings, site.database) == settings.reward_model
    (settings.home / "rewards" / "0001" / "record.json").unlink()
    before = refreshed(settings, 2, [])  # of before the weights were written down
    assert current(settings, site.database) == before
    assert current(moved, site.database) == moved.reward_model


def test_a_round_that_is_resumed_in_a_home_that_was_moved_finds_the_reward_model_of_its_plan(site, settings, policy):
    round_id = site.request()
    house = House(settings)
    plan = site.begin(house).folder / "plan.json"
    house.close()
    write_json(plan, read_json(plan) | {"reward": "/elsewhere/rewards/0001/model"})
    model = refreshed(settings, 1, [])
    make_classifier(policy, Path(model), seed=7)
    site.let_lapse(round_id)
    house = House(settings)
    site.begin(house)
    assert len(house.reward.score([(prompt(1), "red")])) == 1
    house.close()


def test_a_round_uses_the_reward_model_of_its_plan_also_when_it_is_resumed(site, settings):

    round_id = site.request()
    house = House(settings)
    work = site.begin(house)
    assert read_json(work.folder / "plan.json")["reward"] == settings.reward_model
    accepted = settings.home.absolute() / "rewards" / "0001"
    refreshed(settings, 1, [])
    assert current(settings, site.database) == str(accepted / "model")
    house.reward.score([(prompt(1), "red")])  # the plan's: the folder of the newer one is empty
    house.close()
    assert site.round(round_id).state == "running"


@pytest.mark.parametrize("error", [OSError(28, "no space left on device"), RuntimeError("CUDA out of memory")])
def test_a_refresh_that_fails_in_whatever_way_costs_no_round(site, monkeypatch, caplog, error):
    def fails(*_):
        raise error

    monkeypatch.setattr("trainer.house.due", lambda *_: True)
    monkeypatch.setattr("trainer.house.refresh", fails)
    house = House(site.settings)
    assert house._newest_reward() == site.settings.reward_model
    assert "the reward model was not refreshed" in caplog.text
    gone = DatabaseUnavailable("sqlite:///x", "gone", "wait")
    monkeypatch.setattr("trainer.house.refresh", lambda *_: (_ for _ in ()).throw(gone))
    with pytest.raises(DatabaseUnavailable):  # nothing can be done without it
        house._newest_reward()
    house.close()
