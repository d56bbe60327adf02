"""Which prompts a round learns from: properties that hold for any record and any mix."""

import json
import random

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from trainer.curate import curate
from trainer.flat_history import FlatHistory, name_of
from trainer.prompts import Prompt, identity, is_heldout, normalised, read_mix, root, up_to_user, words_of
from trainer.round_config import RoundConfig

WORDS = st.text("abc XYZ.,!?0", min_size=0, max_size=12)
CONFIG = RoundConfig(steps=2, prompts_per_step=4, group_size=2, micro_batch=8, gate_prompts=6, per_user_cap=3)


def count(messages):
    return sum(len(message["content"]) for message in messages)


def said(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]


def mix(number=60):
    return [Prompt(said(f"mix prompt number {place}"), "mix") for place in range(number)]


def heldout(number=8):
    return [Prompt(said(f"gate prompt number {place}"), "mix") for place in range(number)]


@st.composite
def records(draw):
    number = draw(st.integers(0, 25))
    return [
        Prompt(
            said(*draw(st.lists(WORDS, min_size=1, max_size=3).filter(lambda texts: len(texts) % 2))),
            "recorded",
            message_id=f"m{place}",
            conversation_id=f"c{place}",
            user_id=draw(st.sampled_from(["ann", "bob"])),
        )
        for place in range(number)
    ]


@given(records())
def test_what_is_chosen_keeps_every_rule(recorded):
    chosen = curate(recorded, mix(), heldout(), count, CONFIG)
    assert len(chosen.train) == CONFIG.steps * CONFIG.prompts_per_step
    assert len({identity(prompt.messages) for prompt in chosen.train}) == len(chosen.train)
    assert not {root(p.messages) for p in chosen.train} & {root(p.messages) for p in chosen.heldout}
    assert not any(is_heldout(prompt.messages, CONFIG.heldout_share) for prompt in [*chosen.train, *chosen.spares])
    for user in ("ann", "bob"):
        taken = [p for p in [*chosen.train, *chosen.heldout] if p.user_id == user]
        assert len(taken) <= CONFIG.per_user_cap
    judged = [verdict.prompt for verdict in chosen.verdicts if verdict.prompt.source == "recorded"]
    assert judged == recorded  # each has its verdict
    assert all(verdict.why for verdict in chosen.verdicts)
    kept = [verdict.prompt for verdict in chosen.verdicts if verdict.kept]
    assert all(any(prompt is other for other in kept) for prompt in [*chosen.train, *chosen.heldout])


@given(records())
def test_the_same_record_gives_the_same_round(recorded):
    assert curate(recorded, mix(), heldout(), count, CONFIG) == curate(recorded, mix(), heldout(), count, CONFIG)


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, max_size=3))
def test_no_branch_of_a_held_out_conversation_is_ever_trained_on(first, later):
    assert is_heldout(said(first[0]), 0.3) == is_heldout(said(first[0], *later), 0.3)
    louder = first[0].upper() + "  !!"
    assert is_heldout(said(first[0]), 0.3) == is_heldout(said(louder), 0.3)


@given(WORDS, st.floats(0, 0.9), st.floats(0, 0.09))
def test_held_out_is_for_good_even_when_the_share_grows(text, share, more):
    assert is_heldout(said(text), share) <= is_heldout(said(text), share + more)


def test_the_held_out_share_is_about_what_was_asked_for():
    share = sum(is_heldout(said(f"prompt {number}"), 0.1) for number in range(5000)) / 5000
    assert 0.085 < share < 0.115


def test_with_nothing_recorded_it_says_so_and_trains_on_the_mix():
    chosen = curate([], mix(), heldout(), count, CONFIG)
    assert "nothing recorded" in chosen.summary
    assert {prompt.source for prompt in chosen.train} == {"mix"}
    assert len(chosen.spares) > 0


def test_recorded_prompts_come_first_and_each_that_is_left_has_a_reason():
    config = CONFIG.model_copy(update={"max_prompt_tokens": 40, "heldout_share": 0.0, "per_user_cap": 99})
    recorded = [
        Prompt(said("plan a dinner"), "recorded", "m1", "c1", "ann"),
        Prompt(said("Plan a dinner!"), "recorded", "m2", "c2", "bob"),
        Prompt(said("x" * 50), "recorded", "m3", "c3", "bob"),
        Prompt(said("?"), "recorded", "m4", "c4", "bob"),
        Prompt(said("gate prompt number 3"), "recorded", "m5", "c5", "bob"),
        Prompt(said("hello", "hi"), "recorded", "m6", "c6", "bob"),
    ]
    chosen = curate(recorded, mix(), heldout(), count, config)
    reasons = {verdict.prompt.message_id: verdict.why for verdict in chosen.verdicts if verdict.prompt.message_id}
    assert reasons == {
        "m1": "eligible",
        "m2": "a duplicate",
        "m3": "50 tokens, more than 40",
        "m4": "shorter than 3 characters",
        "m5": "the gate's prompts begin the same way",
        "m6": "it does not end with a user's message",
    }
    assert recorded[0] in chosen.train


def test_one_user_cannot_fill_a_round():
    recorded = [Prompt(said(f"buy brand {n}"), "recorded", f"m{n}", f"c{n}", "spammer") for n in range(500)]
    chosen = curate(recorded, mix(), heldout(), count, CONFIG)
    assert sum(prompt.user_id == "spammer" for prompt in chosen.train) <= 3
    assert sum("has 3 in this round already" in verdict.why for verdict in chosen.verdicts) > 400


@pytest.mark.parametrize(("share", "recorded"), [(0.0, 8), (0.25, 6), (0.3, 6), (1.0, 0)])
def test_a_set_share_of_a_round_is_the_mixs_however_many_were_recorded(share, recorded):
    config = CONFIG.model_copy(update={"mix_share": share, "heldout_share": 0.0, "per_user_cap": 99})
    asked = [Prompt(said(f"question number {n}"), "recorded", f"m{n}", f"c{n}", f"user {n}") for n in range(40)]
    chosen = curate(asked, mix(), heldout(), count, config)
    assert len(chosen.train) == 8
    assert sum(prompt.source == "recorded" for prompt in chosen.train) == recorded
    left = {verdict.why for verdict in chosen.verdicts if not verdict.kept}
    words = (
        f"the round is full ({recorded} prompts)" if recorded else "the base mix has the whole round (mix_share = 1)"
    )
    assert left == {words}
    quiet = curate(asked[:2], mix(), heldout(), count, config)
    assert len(quiet.train) == 8  # the mix fills up what the recorded ones leave, whatever its share


@pytest.mark.parametrize("apart", [True, False])
def test_however_much_is_recorded_a_few_of_the_gates_prompts_are_of_the_mix(apart):
    config = CONFIG.model_copy(update={"gate_prompts": 192, "heldout_share": 0.5, "per_user_cap": 999})
    dice = random.Random(1)
    asked = [" ".join("".join(dice.choices("abcdefgh", k=5)) for _ in range(6)) for _ in range(600)]
    recorded = [Prompt(said(text), "recorded", f"m{n}", f"c{n}", f"u{n}") for n, text in enumerate(asked)]
    chosen = curate(recorded, mix(400), heldout(40) if apart else None, count, config)
    assert [prompt.source for prompt in chosen.heldout] == ["recorded"] * 184 + ["mix"] * 8
    kept = [one.prompt for one in chosen.verdicts if one.kept and one.split == "heldout"]
    assert sorted(map(str, kept)) == sorted(map(str, chosen.heldout))
    few = curate(recorded, mix(20), heldout(3), count, config)  # what the mix has not, people asked
    assert [prompt.source for prompt in few.heldout] == ["recorded"] * 184 + ["mix"] * 3 + ["recorded"] * 5
    assert len([one for one in few.verdicts if one.kept and one.split == "heldout"]) == 192
    small = curate(recorded, mix(), heldout(), count, CONFIG.model_copy(update={"heldout_share": 0.5}))
    assert {prompt.source for prompt in small.heldout} == {"recorded"}  # of six none is given up


def test_without_a_file_for_the_gate_the_held_out_share_of_the_mix_is_asked():
    chosen = curate([], mix(400), None, count, CONFIG)
    assert len(chosen.heldout) == CONFIG.gate_prompts
    assert all(is_heldout(prompt.messages, CONFIG.heldout_share) for prompt in chosen.heldout)


def test_what_is_nearly_a_held_out_one_of_the_mix_is_trained_on_in_no_round():
    """Whichever of the two a round comes upon first; be it one that somebody asked."""
    config = CONFIG.model_copy(update={"heldout_share": 0.5, "gate_prompts": 200, "steps": 50})
    text = "please write me a short and friendly email to my neighbour about the loud music of last night, number"
    both = [(said(f"{number} {text} one"), said(f"{number} {text} two")) for number in range(99)]
    held, free = next((one, other) for one, other in both if is_heldout(one, 0.5) and not is_heldout(other, 0.5))
    of_mix = [*mix(), Prompt(held, "mix"), Prompt(free, "mix")]
    someones = Prompt(free, "recorded", "m", "c", "ann")
    for seed in range(8):
        for recorded in ([], [someones]):
            chosen = curate(recorded, of_mix, None, count, config.model_copy(update={"seed": seed}))
            assert held in [prompt.messages for prompt in chosen.heldout]
            assert free not in [prompt.messages for prompt in [*chosen.train, *chosen.spares]]


@pytest.mark.parametrize(("steps", "every", "train", "spares"), [(50, 10, 45, 6), (20, 10, 51, 0), (50, 0, 51, 0)])
def test_a_round_that_is_longer_than_the_mix_leaves_some_of_it_to_look_out_on(steps, every, train, spares):
    config = CONFIG.model_copy(update={"steps": steps, "lookout_every": every})
    asked = [Prompt(said(f"question number {n}"), "recorded", f"m{n}", f"c{n}", f"user {n}") for n in range(10)]
    for recorded in ([], asked):
        chosen = curate(recorded, mix(), heldout(), count, config)
        of_mix = [prompt for prompt in chosen.train if prompt.source == "mix"]
        assert (len(of_mix), len(chosen.spares)) == (train, spares)
        assert all(prompt.source == "mix" and prompt not in chosen.train for prompt in chosen.spares)
        kept = [one.prompt for one in chosen.verdicts if one.kept and one.split == "train"]
        assert sorted(map(str, kept)) == sorted(map(str, chosen.train))
    few = curate([], mix(20), heldout(), count, config)
    assert few.spares == []  # too few to look out on


def test_too_few_prompts_are_refused_with_the_reasons():
    with pytest.raises(ValueError, match="2 prompts are left.*larger base_mix"):
        curate([], mix(2), heldout(), count, CONFIG.model_copy(update={"heldout_share": 0.0}))
    with pytest.raises(ValueError, match="0 prompts are held out"):
        curate([], mix(), [], count, CONFIG)


def test_what_an_engine_would_refuse_is_left_out_of_the_gate_before_a_round_is_trained():
    gate = [*heldout(), Prompt(said("x" * 900), "mix"), Prompt([], "mix"), Prompt(said("  "), "mix")]
    chosen = curate([], mix(), gate, count, CONFIG.model_copy(update={"gate_prompts": 20}))
    assert sorted(map(str, chosen.heldout)) == sorted(map(str, heldout()))
    left = {one.why for one in chosen.verdicts if not one.kept and one.split == "heldout"}
    assert left >= {"900 tokens, more than 512", "it does not end with a user's message", "it has no words"}
    with pytest.raises(ValueError, match="0 prompts are held out .*left out: .'900 tokens, more than 512': 4.*heldout"):
        curate([], mix(), [Prompt(said(f"{n}" * 900), "mix") for n in range(4)], count, CONFIG)


def test_a_round_without_any_prompt_of_the_mix_is_refused_before_it_is_trained():
    recorded = [Prompt(said(f"question number {n}"), "recorded", f"m{n}", f"c{n}", f"user {n}") for n in range(40)]
    config = CONFIG.model_copy(update={"heldout_share": 0.0})
    with pytest.raises(ValueError, match=r"no prompt that no user|probed by answers to prompts that no user wrote"):
        curate(recorded, [], heldout(), count, config)
    with pytest.raises(ValueError, match=r"of the mix were: .*a duplicate.*Set a base_mix"):
        curate(recorded, [Prompt(said("Question number 39!"), "mix")], heldout(), count, config)
    assert curate(recorded, mix(1), heldout(), count, config).spares == mix(1)


def test_normalising_ignores_case_spacing_and_punctuation():
    assert normalised("  Plan — a DINNER, please! ") == normalised("plan a dinner please")
    assert words_of("  Plan — a DINNER, please! ") == ["plan", "a", "dinner", "please"]
    assert words_of("`It's` a well-known 1,5 %?") == ["it", "s", "a", "well", "known", "1", "5", "%"]
    assert identity(said("What is 3 - 5?")) == identity(said("what is 3-5"))


@pytest.mark.parametrize(
    "one_and_other",
    [
        ("What is 7 - 5?", "What is 7 + 5?"),
        ("7*5", "7/5"),
        ("is x < y", "is x > y"),
        ("राम की किताब", "राम का किताब"),  # vowel signs
        ("ปา", "ป่า"),  # a tone mark
        ("🙂", "🙁"),
        ("$5", "€5"),
    ],
)
def test_signs_and_marks_that_change_what_is_asked_make_another_prompt(one_and_other):
    one, other = (said(text) for text in one_and_other)
    assert identity(one) != identity(other)
    recorded = [
        Prompt(asked, "recorded", f"m{n}", f"c{n}", "ann", "2026-01-01") for n, asked in enumerate((one, other))
    ]
    config = CONFIG.model_copy(update={"heldout_share": 0.0, "min_prompt_characters": 1})
    assert len([p for p in curate(recorded, mix(4), heldout(), count, config).train if p.source == "recorded"]) == 2


def test_a_mix_is_read_from_lines(tmp_path):
    path = tmp_path / "mix.jsonl"
    path.write_text(json.dumps({"messages": said("a", "b", "c", "an answer to cut")[:4], "kind": "x"}) + "\n\n")
    assert [prompt.messages for prompt in read_mix(path)] == [said("a", "b", "c")]
    path.write_text(json.dumps({"prompt": "one"}) + "\n" + json.dumps({"prompt": said("two"), "messages": None}))
    assert [prompt.messages for prompt in read_mix(path)] == [said("one"), []]  # curation leaves what has no words


def test_a_mix_is_read_from_a_column_of_text_or_of_messages(tmp_path):
    parquet.write_table(pyarrow.table({"prompt": ["one", "two"]}), tmp_path / "text.parquet")
    parquet.write_table(pyarrow.table({"messages": [said("three")]}), tmp_path / "messages.parquet")
    assert [p.messages for p in read_mix(tmp_path / "text.parquet")] == [said("one"), said("two")]
    assert [p.messages for p in read_mix(tmp_path / "messages.parquet")] == [said("three")]


def test_a_mix_is_read_from_a_folder_of_datasets(tmp_path):
    from datasets import Dataset, DatasetDict

    table = Dataset.from_dict({"prompt": ["one", "two"]})
    table.save_to_disk(str(tmp_path / "plain"))
    DatasetDict({"train": table}).save_to_disk(str(tmp_path / "split"))
    DatasetDict({"test": table}).save_to_disk(str(tmp_path / "other"))
    for name in ("plain", "split"):
        assert [p.messages for p in read_mix(tmp_path / name)] == [said("one"), said("two")]
    with pytest.raises(ValueError, match="expected a split `train`, found test"):
        list(read_mix(tmp_path / "other"))


def test_a_file_that_is_no_mix_is_refused_by_line_or_column(tmp_path):
    lines, table = tmp_path / "mix.jsonl", tmp_path / "mix.parquet"
    lines.write_text('{"messages": []}\n{"text": 1}\n')
    parquet.write_table(pyarrow.table({"text": ["one"]}), table)
    with pytest.raises(ValueError, match=r"mix.jsonl, line 2"):
        list(read_mix(lines))
    with pytest.raises(ValueError, match="found text"):
        list(read_mix(table))


@pytest.mark.parametrize("kind", ["lines", "parquet", "folder"])
def test_a_row_of_another_form_is_named_and_one_without_words_is_no_prompt(tmp_path, kind):
    from datasets import Dataset

    def written(rows):
        path = tmp_path / f"{len(rows)}.{'jsonl' if kind == 'lines' else kind}"
        if kind == "lines":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif kind == "parquet":
            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        else:
            Dataset.from_list(rows).save_to_disk(path)
        return path

    well = {"messages": [{"role": "user", "content": "one"}]}
    assert [p.messages for p in read_mix(written([well, {"messages": None}]))] == [said("one"), []]
    other = {"messages": [{"from": "human", "value": "two"}]}
    with pytest.raises(ValueError, match=r"(line|row) 1: expected `messages` as text or messages with role and conten"):
        list(read_mix(written([other])))


@pytest.mark.parametrize("name", ["promts.jsonl", "data/promts.parquet", "promts", "a/b/promts"])
def test_a_file_that_is_not_there_is_not_looked_for_on_a_hub(name):
    with pytest.raises(ValueError, match=f"{name}: there is no such file or folder"):
        read_mix(name)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>\nplan\n</think>\n\nBlue.", "Blue."),
        ("plan</think>Blue.", "Blue."),  # the template wrote the opening
        ("<think>plan</think> <response>\nBlue.\n</response>", "Blue."),
        ("<think>cut off in the middle", ""),
        ("Blue, of course.", "Blue, of course."),
        ("Write <think> and </think> around it.", "Write <think> and </think> around it."),  # what it is about
    ],
)
def test_thoughts_of_earlier_turns_are_cut_out_of_answers_and_of_nothing_else(text, left):
    talk = [{"role": "user", "content": text}, {"role": "assistant", "content": text}, {"role": "user", "content": "x"}]
    assert [message["content"] for message in up_to_user(talk)] == [text, left, "x"]


def test_a_prompt_that_was_flat_in_enough_earlier_rounds_is_left_out_with_its_reason(tmp_path):
    history, prompts = FlatHistory(tmp_path), mix()
    for round_id in (1, 2, 2, 3):  # a step that is done again counts once
        history.note(round_id, [(prompts[0], True), (prompts[1], round_id != 2), (prompts[2], round_id < 3)])
    assert sorted(map(len, history.rounds().values())) == [1, 3]  # the second differed, and was flat once since
    known = history.rounds()

    def chosen(**config):
        flat_in = lambda prompt: len(known.get(name_of(prompt), ()))  # noqa: E731
        return curate(
            [], mix(), None, count, CONFIG.model_copy(update={"heldout_share": 0.2} | config), flat_in=flat_in
        )

    left = {verdict.prompt.messages[0]["content"]: verdict.why for verdict in chosen(steps=12).verdicts
            if not verdict.kept}  # fmt: skip
    assert left == {"mix prompt number 0": "its samples earned all the same in 3 rounds or more"}
    kept = chosen(steps=12, flat_rounds=0).train
    assert any(prompt.messages[0]["content"] == "mix prompt number 0" for prompt in kept)


def test_prompts_that_people_chose_between_answers_to_come_first_where_not_all_have_room():
    said_to = [Prompt(said(f"question {n} of {n * n}"), "recorded", f"m{n}", f"c{n}", f"u{n}") for n in range(40)]
    config = CONFIG.model_copy(update={"near_duplicates": 1.0})
    chosen = curate(said_to, mix(), None, count, config, first={"m38", "m39"})
    wanted = {one.message_id for one in said_to[38:] if not is_heldout(one.messages, CONFIG.heldout_share)}
    assert wanted <= {one.message_id for one in chosen.train}
