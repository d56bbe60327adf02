"""Which two samples of a group make a pair, how many are sampled for pairs, and what becomes of a withdrawn one."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

import trainer.pairs
from thinking.format import THINK
from trainer.files import read_json, write_json
from trainer.lease import Stopped
from trainer.loop import FAILED, PUBLISHED, REJECTED, claim, work_on
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
    assert [pair.prompt_ids for pair in made.all] == [[], [4], [7]]
    allowed.add("m1")  # asked once more, and allowed this time: the answers that are gone do not come back by it
    made.all = [Pair(**one) for one in read_json(file)["pairs"]]  # as a resumed round has them
    assert all(pair.chosen_ids for pair in made.allowed([0, 1, 2]))


def test_with_everything_withdrawn_nothing_is_trained_on(pairs):
    made, allowed, _ = pairs
    made.all = made.all[:2]
    allowed.clear()
    with pytest.raises(ValueError, match="withdrawn for every pair"):
        made.allowed([0])


# -- a round


ROUND = {"algorithm": "dpo", "steps": 4, "dpo_min_valid": 2, "gate_prompts": 4, "gate_samples": 1}


def drawn(site):
    """Every request for a part's samples, as (prompts, tokens that came)."""
    found, answer = [], site.gateway.answer

    def watched(method, path, body, authorization):
        status, told = answer(method, path, body, authorization)
        if path == "/internal/sample" and body["n"] == site.settings.group_size:
            found.append((body["prompts"], sum(len(one["token_ids"]) for one in told["samples"])))
        return status, told

    site.gateway.answer = watched
    return found


def test_sampling_keeps_to_the_rounds_budget_and_training_goes_on_with_the_pairs_that_there_are(site):
    round_id, asked = site.request(**ROUND, max_sampled_tokens=200), drawn(site)
    house = site.open()
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
    tokens = [count for _, count in asked]
    assert sum(tokens[:-1]) < 200 <= sum(tokens), tokens
    assert len(asked) < ROUND["steps"]
    figures = site.metrics(round_id)
    assert figures["sampled_tokens"] == [(1, sum(tokens))]
    assert {step for step, _ in figures["loss"]} == {1, 2, 3, 4}
    seconds = {name: dict(figures[name])[1] for name in ("seconds_step", "seconds_sample", "seconds_train")}
    assert seconds["seconds_step"] > seconds["seconds_sample"] > 0  # so that minutes count what sampling took


def test_half_of_the_minutes_are_for_sampling_and_what_is_too_little_is_said(site):
    round_id, asked = site.request(**ROUND, max_minutes=1e-6), drawn(site)
    house = site.open()
    house.reward = SimpleNamespace(score=lambda pairs: [0.0] * len(pairs))  # nothing to prefer
    assert work_on(house, claim(house)) == FAILED
    assert len(asked) == 1
    assert "3 prompts made 0 pairs and a step needs 3" in site.round(round_id).error
    assert "Sampling ended early: half of its 1e-06 minutes are used up (max_minutes)" in site.round(round_id).error


def test_a_round_that_was_stopped_while_it_samples_asks_for_no_whole_part_twice(site, second_site, monkeypatch):
    weights = []
    for where, stops in ((site, False), (second_site, True)):
        where.request(**ROUND)
        asked, write = drawn(where), trainer.pairs.write_json

        def stop(path, value, write=write):
            if path.name == "00002.json":
                raise Stopped("SIGTERM")
            write(path, value)

        if stops:
            with monkeypatch.context() as patch:
                patch.setattr(trainer.pairs, "write_json", stop)
                house = where.open()
                with pytest.raises(Stopped):
                    work_on(house, claim(house))
        house = where.open()
        assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), where.round(1).error
        weights.append(load_file(Path(where.checkpoint(1).path) / "adapter_model.safetensors"))
        parts = [prompts for prompts, _ in asked]
        if stops:
            assert parts[3] == parts[2]
            del parts[3]
        assert len(parts) == len({str(part) for part in parts}) == 4
    before, after = weights
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-6
