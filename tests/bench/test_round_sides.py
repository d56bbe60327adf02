"""TRL's side and our training alone, on a policy that is small and real: they train, and are timed step by step."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.tiny_policy import make_classifier, make_policy, prompt

from trainer.round_config import RoundConfig

STEPS, PROMPTS, GROUP = 3, 2, 4
SAMPLES = PROMPTS * GROUP


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A policy that writes well-formed answers, and a classifier of random weights."""
    import torch

    torch.set_num_threads(1)
    policy = make_policy(tmp_path_factory.mktemp("policy"))
    return policy, make_classifier(policy, tmp_path_factory.mktemp("reward"), seed=11)


def plan_of(models: tuple[Path, Path], out: Path, **more: Any) -> dict[str, Any]:
    config = RoundConfig(
        steps=STEPS, prompts_per_step=PROMPTS, group_size=GROUP, micro_batch=4, max_completion_tokens=32,
        learning_rate=1e-3, kl_beta=0.02,
    )  # fmt: skip
    return {
        "config": config.model_dump(),
        "prompts": [prompt(number) for number in range(STEPS * PROMPTS)],
        "policy": str(models[0]),
        "reward": str(models[1]),
        "template": "chatml",
        "format": "think",
        "threads": 1,
        "every": 2,
        "out": str(out),
        **more,
    }


def test_trl_trains_as_it_is_documented_and_is_timed_step_by_step(models: tuple[Path, Path], tmp_path: Path) -> None:
    from bench.round.theirs import train

    plan = plan_of(models, tmp_path / "trl")
    found = train(plan)
    assert [len(found[name]) for name in ("wall", "sample", "score", "tokens", "rewards")] == [STEPS] * 5
    for step in range(STEPS):
        assert 0 < found["sample"][step] + found["score"][step] < found["wall"][step]
        assert SAMPLES < found["tokens"][step] <= SAMPLES * 32
    assert found["threads"] == 1
    kept = load_file(tmp_path / "trl" / "checkpoint-2" / "adapter_model.safetensors")
    assert any(weights.abs().max() > 0 for name, weights in kept.items() if "lora_B" in name)  # it has learnt something


def test_trl_is_asked_in_the_tokens_in_which_we_ask(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.round import theirs
    from trainer.policy import load_tokenizer, prompt_ids

    asked: list[list[list[int]]] = []
    generate = theirs.Timed._generate_single_turn

    def watch(self: Any, ids: list[list[int]], *rest: Any, **more: Any) -> Any:
        asked.append(ids)
        return generate(self, ids, *rest, **more)

    monkeypatch.setattr(theirs.Timed, "_generate_single_turn", watch)
    plan = plan_of(models, tmp_path / "trl")
    theirs.train(plan)
    tokenizer = load_tokenizer(models[0], "chatml")
    ours = [prompt_ids(tokenizer, messages) for messages in plan["prompts"] for _ in range(GROUP)]
    assert asked == [ours[start : start + SAMPLES] for start in range(0, len(ours), SAMPLES)]  # a whole step at once


def test_our_training_alone_needs_no_engine(models: tuple[Path, Path], tmp_path: Path) -> None:
    from support.fake_gateway import FakeGateway

    from bench.round.alone import as_json, training
    from trainer.gateway import Gateway
    from trainer.policy import load_tokenizer, prompt_ids

    plan = plan_of(models, tmp_path / "alone")
    tokenizer = load_tokenizer(models[0], "chatml")
    ids = [prompt_ids(tokenizer, messages) for messages in plan["prompts"]]
    engine = FakeGateway(models[0], key="service")
    gateway = Gateway(engine.url, "service", patience=5)
    drawn = [
        gateway.sample("ruminate-v0", ids[at : at + PROMPTS], GROUP, max_tokens=32, temperature=1.0, seed=at)
        for at in range(0, len(ids), PROMPTS)
    ]
    gateway.close()
    engine.close()
    seconds = training(plan | {"batches": as_json(drawn)})
    assert len(seconds) == STEPS
    assert min(seconds) > 0
    assert (tmp_path / "alone" / "candidate" / "adapter_model.safetensors").is_file()


def test_sampling_alone_is_by_an_adapter_and_with_the_rounds_seeds(models: tuple[Path, Path], tmp_path: Path) -> None:
    from support.fake_gateway import FakeGateway

    from bench.round.alone import NAME, sampling
    from trainer.gateway import Gateway
    from trainer.policy import load_policy, save_adapter
    from trainer.rollout import seed_of

    config = RoundConfig(steps=2, prompts_per_step=1, group_size=GROUP, micro_batch=4, max_completion_tokens=8, seed=9)
    adapter = save_adapter(load_policy(models[0], None, config), tmp_path / "step-2")
    engine, asked = FakeGateway(models[0], key="service"), []
    engine.before_sample = lambda body: asked.append((body["model"], body["seed"], body["n"]))
    gateway = Gateway(engine.url, "service", patience=5)
    seconds, drawn = sampling(gateway, adapter, [[[5, 6]], [[7]]], config.model_dump())
    gateway.close()
    engine.close()
    assert asked == [(NAME, seed_of(9, step), GROUP) for step in range(2)]
    assert [len(batch) for batch in drawn] == [GROUP, GROUP]
    assert len(seconds) == 2
    assert not engine.loaded


def test_a_policy_of_random_weights_has_the_shape_that_was_asked_for(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from bench.round.setups import EMBEDDED, SMOKE, parameters, policy

    setup = SMOKE["100m"]
    folder = policy(setup, tmp_path)
    assert setup.shape is not None
    config = AutoConfig.from_pretrained(folder)
    assert {name: getattr(config, name) for name in setup.shape} == setup.shape
    assert len(config.layer_types) == config.num_hidden_layers
    assert policy(setup, tmp_path) == folder  # it is made once
    assert parameters(folder) == sum(one.numel() for one in AutoModelForCausalLM.from_pretrained(folder).parameters())
    assert len(AutoTokenizer.from_pretrained(folder)) == len(AutoTokenizer.from_pretrained(EMBEDDED))
    assert policy(SMOKE["tiny"], tmp_path) == EMBEDDED


def test_the_larger_policy_has_a_hundred_million_parameters() -> None:
    import torch
    from transformers import Qwen3ForCausalLM

    from bench.round.setups import SETUPS, shaped

    with torch.device("meta"):
        count = sum(one.numel() for one in Qwen3ForCausalLM(shaped(SETUPS["100m"].shape or {})).parameters())
    assert 95e6 < count < 110e6
