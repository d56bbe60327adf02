"""Recorded prompts in a round: chosen by consent, and let go when it is withdrawn while the round runs."""

from datetime import UTC, datetime

import pytest
from support.tiny_policy import prompt, write_prompts

from db.queries import curation, forget, turns, users
from db.values import Completion, Turn
from trainer.loop import FAILED, PUBLISHED, REJECTED, claim, work_on
from trainer.prompts import is_heldout
from trainer.selection import select

CONFIG = {"steps": 3, "prompts_per_step": 2, "group_size": 4, "micro_batch": 8, "heldout_share": 0.0}


@pytest.fixture
def people(site):
    """Ann and Bob each asked three things and allow training."""
    now = datetime.now(UTC)
    ids = {}
    with site.database.transaction() as session:
        for place, name in enumerate(("ann", "bob")):
            ids[name] = users.ensure_user(session, name, consent="train").id
            for number in range(3):
                request = f"{name}-{number}"
                asked = prompt(210 + 3 * place + number)
                turns.record_turn(
                    session,
                    Turn(
                        request, f"g-{request}", ids[name], asked, 0, "ruminate-v0", now, origin="chat", consent="train"
                    ),
                    Completion(request, "plan", "red cat", "complete", now),
                )
    return ids


def rows(site, round_id):
    with site.database.reading() as session:
        return curation.round_prompts(session, round_id)


def test_recorded_prompts_are_trained_on_before_the_mix(site, people):
    round_id = site.request(**CONFIG)
    house = site.open()
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
    trained = [row for row in rows(site, round_id) if row.split == "train" and row.verdict == "kept"]
    assert sorted(row.user_id for row in trained) == sorted([*[people["ann"]] * 3, *[people["bob"]] * 3])
    checkpoint = site.checkpoint(site.round(round_id).candidate_checkpoint_id)
    assert checkpoint.manifest["prompts"] == {"recorded": 6, "mix": 0}
    with site.database.reading() as session:
        assert forget.checkpoints_that_learnt_from(session, user_id=people["ann"])[0].name == checkpoint.name


@pytest.mark.parametrize("overlap", [False, True])
def test_what_is_withdrawn_while_a_round_runs_is_in_none_of_its_later_steps(site, people, overlap):
    round_id = site.request(**CONFIG, overlap=overlap)
    house = site.open()
    bobs = {tuple(house.reader.tokenizer.encode(prompt(number)[0]["content"])) for number in (213, 214, 215)}
    asked = []

    def withdraw(body):
        if body["model"].endswith("step-1"):
            with site.database.transaction() as session:
                users.set_consent(session, people["bob"], "none")
        asked.append((body["model"], body["prompts"]))

    site.gateway.before_sample = withdraw
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
    sampled_before = 3 if overlap else 2  # the third step's prompts were sampled ahead, and are sampled anew
    later = [ids for model, prompts in asked[sampled_before:] for ids in prompts]
    assert not any(contains(ids, bob) for ids in later for bob in bobs)
    left = [row for row in rows(site, round_id) if row.user_id == people["bob"] and row.verdict == "left"]
    third = [row for row in rows(site, round_id)[4:6] if row.user_id == people["bob"]]
    assert [row.position for row in left] == [row.position for row in third]
    assert all("consent was gone before step 3" in row.why for row in left)
    assert all(row.prompt is None for row in rows(site, round_id) if row.user_id == people["bob"])


def test_what_was_withdrawn_is_not_trained_on_by_a_trainer_that_takes_over_though_it_is_allowed_again(site, people):
    """The record says that the round did not learn from it: a forgetting would not find the checkpoint."""
    round_id = site.request(**CONFIG)
    first = site.open()
    work = site.begin(first)
    position, bobs = next((at, one) for at, one in select(work).training.train if one.user_id == people["bob"])
    work.ledger.withdraw(position, "its consent was gone before step 1")
    work.ledger.put_back()  # its person has allowed it again by now
    second, asked = site.open(), []
    site.gateway.before_sample = lambda body: asked.append(body["prompts"])
    assert work_on(second, claim(second)) in (PUBLISHED, REJECTED), site.round(round_id).error
    words = tuple(second.reader.tokenizer.encode(bobs.messages[0]["content"]))
    assert not any(contains(ids, words) for prompts in asked for ids in prompts)
    assert rows(site, round_id)[position].verdict == "left"
    assert site.checkpoint(site.round(round_id).candidate_checkpoint_id).manifest["prompts"]["recorded"] == 5


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_what_is_withdrawn_in_a_second_pass_was_learnt_from_and_stays_so_in_the_record(
    site, people, tmp_path, algorithm
):
    round_id = site.request(algorithm=algorithm, **CONFIG | {"steps": 4})
    house = site.open(base_mix=str(write_prompts(tmp_path / "short.jsonl", [0])))

    def withdraw(body):
        if body["model"].endswith("step-2"):  # all that a first pass trains on has been sampled by then
            with site.database.transaction() as session:
                for user in people.values():
                    users.set_consent(session, user, "none")

    site.gateway.before_sample = withdraw
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
    trained = [row for row in rows(site, round_id) if row.split == "train"]
    assert len(trained) == 7  # two for each step, and one that three steps leave
    seventh = trained[6].user_id is not None and algorithm == "ppo"  # it takes what is left, and then begins again
    assert [row.position for row in trained if row.verdict == "left"] == [6] * seventh
    with site.database.reading() as session:
        for user in people.values():
            assert forget.rounds_that_learnt_from(session, user_id=user) == {round_id}


@pytest.mark.parametrize("enough", [True, False])
def test_what_is_withdrawn_while_a_round_trains_is_not_asked_by_its_gate(site, people, enough):
    round_id = site.request(**CONFIG | {"heldout_share": 0.5, "gate_prompts": 6})
    house = site.open(**{} if enough else {"heldout": str(write_prompts(site.settings.home / "few.jsonl", [300]))})
    words = {n: tuple(house.reader.tokenizer.encode(prompt(n)[0]["content"])) for n in range(210, 216)}
    held = {name for n, name in words.items() if is_heldout(prompt(n), 0.5)}
    bobs = held & {words[n] for n in (213, 214, 215)}
    asked, later = [], []

    def withdraw(body):
        if body["model"].endswith("step-2"):
            with site.database.transaction() as session:
                users.set_consent(session, people["bob"], "none")
        (later if withdrawn(site, people["bob"]) else asked).extend(body["prompts"])

    site.gateway.before_sample = withdraw
    ended = work_on(house, claim(house))
    assert bobs
    assert not any(contains(ids, one) for ids in later for one in bobs)
    if enough:
        assert ended in (PUBLISHED, REJECTED), site.round(round_id).error
        assert any(contains(ids, one) for ids in later for one in held - bobs)
    else:
        assert ended == FAILED
        assert "are left of those that the gate was to ask" in site.round(round_id).error


def withdrawn(site, user_id):
    with site.database.reading() as session:
        return users.get_user(session, user_id).consent != "train"


def contains(ids, part):
    return any(tuple(ids[at : at + len(part)]) == part for at in range(len(ids)))


def test_what_is_published_with_a_checkpoint_holds_nothing_that_a_user_wrote(site, people):
    round_id = site.request(**CONFIG)
    house = site.open()
    work_on(house, claim(house))
    manifest = site.checkpoint(site.round(round_id).candidate_checkpoint_id).manifest
    told = [house.reader.tokenizer.decode(one["prompt_ids"]) for one in manifest["probe"]["sequences"]]
    assert told
    for number in range(210, 216):
        assert not any(prompt(number)[0]["content"] in text for text in told)
