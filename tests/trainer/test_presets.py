"""The preset `paper`, value by value against the table of the paper (arXiv 2509.20357) and its released code."""

import pytest

from trainer.grpo import arguments as grpo_arguments
from trainer.presets import known, preset
from trainer.round_config import RoundConfig
from trainer.settings import BadSetting, TrainerSettings, read_settings

TABLE = {
    "sft": {
        "learning_rate": 4e-6, "lr_schedule": "cosine", "warmup": 0.1,
        "prompts_per_step": 8 * 1 * 2, "steps": 2 * 6000 // 16,
        "max_grad_norm": 1.0, "weight_decay": 1e-4, "adam_beta1": 0.9, "adam_beta2": 0.95,
    },
    "dpo": {
        "learning_rate": 3e-7, "lr_schedule": "cosine", "warmup": 0.05,
        "prompts_per_step": 8 * 1 * 16, "steps": round(2 * 7544 / 128),
        "group_size": 8, "dpo_min_valid": 4, "dpo_beta": 0.1, "reference": "round_start",
        "max_grad_norm": 1.0, "weight_decay": 1e-4, "adam_beta1": 0.9, "adam_beta2": 0.95,
        "temperature": 0.7, "max_prompt_tokens": 896, "max_completion_tokens": 4096,
    },
    "grpo": {
        "learning_rate": 1e-6, "lr_schedule": "constant", "warmup": 0.0,
        "prompts_per_step": 64, "group_size": 8, "steps": 234,
        "temperature": 0.7, "max_prompt_tokens": 896, "max_completion_tokens": 4096,
        "kl_beta": 0.001, "kl_correction": False, "reference": "round_start",
        "clip": 0.2, "dual_clip": 3.0, "max_grad_norm": 1.0, "entropy_weight": 0.001,
        "loss_type": "dapo", "scale_rewards": "group", "overlap": False,
    },
    "ppo": {
        "learning_rate": 1e-6, "lr_schedule": "constant", "warmup": 0.0, "critic_learning_rate": 5e-6,
        "prompts_per_step": 64, "group_size": 8, "steps": 234, "ppo_epochs": 1,
        "temperature": 0.7, "max_prompt_tokens": 896, "max_completion_tokens": 4096,
        "kl_beta": 0.001, "kl_correction": False, "reference": "round_start",
        "clip": 0.2, "dual_clip": 3.0, "max_grad_norm": 1.0, "entropy_weight": 0.001,
        "overlap": False, "gae_gamma": 1.0, "gae_lambda": 1.0, "value_clip": 0.5,
    },
}  # fmt: skip


@pytest.mark.parametrize("algorithm", list(TABLE))
def test_the_preset_is_the_papers(algorithm):
    config = TrainerSettings().round_config({"preset": "paper", "algorithm": algorithm}, seed=1)
    assert {name: getattr(config, name) for name in TABLE[algorithm]} == TABLE[algorithm]


@pytest.mark.parametrize("algorithm", list(TABLE))
def test_the_preset_sets_nothing_that_the_table_does_not_hold(algorithm):
    beyond = {"weights", "reference", "max_prompt_tokens", "max_completion_tokens", "temperature", "group_size"}
    assert set(preset("paper", algorithm)) - set(TABLE[algorithm]) <= beyond


@pytest.mark.parametrize("algorithm", list(TABLE))
def test_all_weights_are_trained_at_the_papers_rates(algorithm):
    config = TrainerSettings().round_config({"preset": "paper", "algorithm": algorithm}, seed=1)
    assert (config.weights, config.reference) == ("full", "round_start")


def test_sft_reads_20_000_tokens():
    config = TrainerSettings().round_config({"preset": "paper", "algorithm": "sft"}, seed=1)
    assert config.max_prompt_tokens + config.max_completion_tokens == 20_000


def test_two_epochs_of_grpo_are_its_steps():
    assert 2 * (7544 // TABLE["grpo"]["prompts_per_step"]) == TABLE["grpo"]["steps"]


def test_trl_is_told_what_the_preset_says(tmp_path):
    from types import SimpleNamespace

    config = TrainerSettings().round_config({"preset": "paper"}, seed=1)
    told = grpo_arguments(SimpleNamespace(config=config, settings=TrainerSettings()), tmp_path)
    assert (told.learning_rate, told.lr_scheduler_type, told.warmup_steps) == (1e-6, "constant", 0.0)
    assert (told.beta, told.epsilon, told.epsilon_high, told.delta) == (0.001, 0.2, None, 3.0)
    assert (told.entropy_coef, told.use_bias_correction_kl, told.loss_type) == (0.001, False, "dapo")
    assert told.num_iterations == 1  # one update a batch
    assert told.per_device_train_batch_size * told.gradient_accumulation_steps == 64 * 8
    assert (told.temperature, told.top_p, told.max_completion_length) == (0.7, 1.0, 4096)


def test_a_rounds_own_settings_stand_over_its_preset():
    config = TrainerSettings(steps=9).round_config({"preset": "paper", "learning_rate": 1e-4}, seed=1)
    assert (config.learning_rate, config.steps, config.preset) == (1e-4, 234, "paper")


def test_a_trainers_preset_stands_under_what_is_set_beside_it():
    settings = TrainerSettings(preset="paper", steps=9)
    config = settings.round_config({"algorithm": "ppo", "clip": 0.3}, seed=1)
    assert (config.steps, config.clip, config.learning_rate) == (9, 0.3, 1e-6)
    assert config.micro_batch == RoundConfig().micro_batch


def test_a_round_that_asks_for_no_preset_has_none():
    config = TrainerSettings(preset="paper", steps=9).round_config({"preset": "", "weights": "lora"}, seed=1)
    own = RoundConfig()
    assert (config.preset, config.steps, config.learning_rate) == ("", 9, own.learning_rate)
    assert config.max_completion_tokens == own.max_completion_tokens


def test_a_preset_that_a_person_names_stands_over_a_profile_and_what_they_set_over_both():
    profile = {"learning_rate": "1e-5", "max_prompt_tokens": "4096", "lora_rank": "16", "steps": "50"}
    settings = TrainerSettings(preset="paper", steps=9, defaults=profile)
    config = settings.round_config({"algorithm": "grpo", "clip": 0.3}, seed=1)
    assert (config.learning_rate, config.max_prompt_tokens) == (1e-6, 896)  # the preset's
    assert (config.steps, config.clip) == (9, 0.3)  # a person's
    assert config.lora_rank == 16  # of which the preset says nothing
    alone = TrainerSettings(steps=9, defaults=profile).round_config({}, seed=1)
    assert (alone.learning_rate, alone.max_prompt_tokens, alone.steps) == (1e-5, 4096, 9)
    with pytest.raises(BadSetting, match="defaults name learning_rat, which is no setting"):
        read_settings(defaults={"learning_rat": "1"})


def test_a_rank_that_no_engine_takes_is_refused_with_the_remedy():
    with pytest.raises(BadSetting, match="RUMINATE_TRAINER_LORA_RANK = 32: .* rank 16 at most; .*RUMINATE_MAX_LORA"):
        read_settings(lora_rank=32)
    with pytest.raises(BadSetting, match="round config lora_rank = 32: .*RUMINATE_MAX_LORA_RANK"):
        TrainerSettings().round_config({"lora_rank": 32}, seed=1)
    assert read_settings(lora_rank=32, max_lora_rank=64).round_config({"lora_rank": 64}, seed=1).lora_rank == 64


def test_a_preset_that_there_is_none_of_is_refused():
    assert known() == ["paper"]
    with pytest.raises(BadSetting, match="preset = 'papre': there is none of this name; known are paper"):
        TrainerSettings().round_config({"preset": "papre"}, seed=1)
    with pytest.raises(BadSetting, match="RUMINATE_TRAINER_PRESET = 'papre'.*known are paper"):
        read_settings(preset="papre")
