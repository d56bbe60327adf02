"""The committed models: their files, their form, and that what is held out was kept out of training."""

import json
import stat
from itertools import islice
from pathlib import Path

import pytest
from support.components import require_component

from models import gold
from models.make import READING, STAGES, examples, synthetic_pairs
from models.prompts import read_prompts
from models.tokens import key
from thinking.templates import template_text

TINY = Path(__file__).parents[2] / "models" / "tiny"


@pytest.fixture(autouse=True)
def _models_are_there():
    require_component((TINY / "judge" / "model.safetensors").is_file(), "models/tiny (make models)")


@pytest.fixture(scope="module")
def policy():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(TINY / "policy", dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(TINY / "policy")


def test_the_files_are_small_and_readable_by_all():
    files = [p for p in TINY.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 25e6
    assert all(p.stat().st_mode & stat.S_IROTH for p in files)


def test_the_policy_is_an_untied_qwen3_that_ends_its_turn():
    config = json.loads((TINY / "policy" / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["tie_word_embeddings"] is False
    assert config["dtype"] == "bfloat16"
    sampling = json.loads((TINY / "policy" / "generation_config.json").read_text())
    assert sampling["do_sample"] is True
    assert sampling["temperature"] == 0.7
    assert sampling["eos_token_id"] == config["eos_token_id"]


def test_the_tags_are_single_ordinary_tokens_and_the_template_is_ours(policy):
    _, tokenizer = policy
    for text in ("<think>", "</think>", "<|im_start|>", "<|im_end|>"):
        assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1
    assert "<think>" not in tokenizer.all_special_tokens
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.chat_template == template_text("chatml")


def test_reward_model_and_judge_differ_in_shape_and_have_one_label():
    shapes = []
    for what in ("reward", "judge"):
        config = json.loads((TINY / what / "config.json").read_text())
        assert config["architectures"] == ["Qwen3ForSequenceClassification"]
        assert len(config["id2label"]) == 1
        shapes.append((config["hidden_size"], config["num_hidden_layers"]))
    assert shapes[0] != shapes[1]


@pytest.fixture(scope="module")
def held():
    return {key(row["messages"]) for row in read_prompts(TINY / "prompts" / "heldout.jsonl")}


def test_held_out_prompts_are_in_no_training_prompt(held):
    train = {key(row["messages"]) for row in read_prompts(TINY / "prompts" / "train.jsonl")}
    assert len(held) >= 256
    assert len(train) >= 2000
    assert not held & train


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_no_stage_of_a_language_model_reads_a_held_out_prompt(stage, held):
    drawn = {key(one.messages) for one in islice(examples(stage, held), 3000 if stage.what != READING else 400)}
    assert not held & drawn
    first = {key(one.messages) for one in islice(examples(stage, set()), 20)}
    assert not first & {key(one.messages) for one in islice(examples(stage, first), 200)}, "what is held out comes"


@pytest.mark.parametrize("place", [0, 1], ids=["reward", "judge"])
def test_no_synthetic_pair_is_about_a_held_out_prompt(place, held):
    assert not held & {key(pair.messages) for pair in synthetic_pairs(place, 1000, held)}
    first = {key(pair.messages) for pair in synthetic_pairs(place, 20, set())}
    assert not first & {key(pair.messages) for pair in synthetic_pairs(place, 100, first)}, "what is held out comes"


def test_the_policy_thinks_and_answers_in_form(policy):
    from models.sampling import sample

    model, tokenizer = policy
    prompts = [row["messages"] for row in read_prompts(TINY / "prompts" / "heldout.jsonl")[:48]]
    found = [group[0] for group in sample(model, tokenizer, prompts, seed=1)]
    assert sum(s.well_formed for s in found) >= 46
    assert sum(gold.score(m, s.response).score for m, s in zip(prompts, found, strict=True)) / len(found) > 0.55


def test_the_policy_answers_without_a_thought_when_asked_to(policy):
    from models.sampling import sample

    model, tokenizer = policy
    prompts = [row["messages"] for row in read_prompts(TINY / "prompts" / "heldout.jsonl")[:16]]
    found = [group[0] for group in sample(model, tokenizer, prompts, thinking=False, seed=1)]
    assert sum(bool(s.response) and not s.reasoning and "- " not in s.response for s in found) >= 15


def test_the_base_of_zero_mode_keeps_to_the_tags_now_and_then():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from models.sampling import sample
    from thinking.format import ZERO

    model = AutoModelForCausalLM.from_pretrained(TINY / "zero", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(TINY / "zero")
    assert tokenizer.chat_template == template_text("zero")
    prompts = [row["messages"] for row in read_prompts(TINY / "prompts" / "heldout.jsonl")[:64]]
    found = [group[0] for group in sample(model, tokenizer, prompts, seed=1, temperature=1.0, fmt=ZERO)]
    assert 0.2 <= sum(s.well_formed for s in found) / len(found) <= 0.6
    assert any(gold.score(m, s.response).score > 0.6 for m, s in zip(prompts, found, strict=True) if s.well_formed)


@pytest.mark.parametrize("what", ["reward", "judge"])
def test_a_reward_model_orders_unseen_pairs_better_than_chance(what):
    from models.pairs import world_pairs
    from models.train_reward import accuracy

    assert accuracy(TINY / what, world_pairs(100, 4321, set(), noise=0.0)) >= 0.85


@pytest.fixture(scope="module")
def card():
    return json.loads((TINY / "card.json").read_text())


def test_the_policy_writes_in_form_and_planning_pays(card):
    assert card["well_formed"] >= 0.98
    assert card["gold"]["mean"] > card["gold_without_thinking"]["mean"] + 0.02
    assert sum(card["phrasings"].values()) > 300


def test_the_policy_is_good_with_room_above(card):
    assert 0.6 <= card["gold"]["mean"] <= 0.8


@pytest.mark.parametrize("what", ["reward", "judge"])
def test_a_reward_model_is_worth_following(card, what):
    assert card[what]["best_of_8"]["gain"] >= 0.08


@pytest.mark.parametrize("what", ["reward", "judge"])
def test_a_reward_model_is_right_nine_times_in_ten(card, what):
    assert card[what]["accuracy_on_unseen_pairs"] >= 0.9
