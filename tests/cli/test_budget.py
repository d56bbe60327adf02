"""The budget against numbers worked out by hand, and what it refuses with which setting to change."""

import io
import json
import os
import socketserver
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cli import checks, settings, sizing
from cli.budget import GIB, Machine, Model, Plan, activations, from_config, kv_tokens, needed, remedies, rows, trouble
from cli.profiles import PROFILES, SINGLE_GPU, TINY

QWEN3_4B = {
    "model_type": "qwen3", "hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 9728, "vocab_size": 151936,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN3_06B = {
    "model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
LLAMA_31_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def model(config: dict[str, object]) -> Model:
    found = from_config(config)
    assert found is not None
    return found


def size_of(part: str, what: str, plan: Plan, machine: Machine) -> int:
    (found,) = [row.size for row in rows(plan, machine) if row.part == part and row.what.startswith(what)]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("config", "weights", "kv"),
    [
        # a layer of 2560 x 4096 twice, 2560 x 1024 twice, 2560 x 9728 three times, norms of 2 x 2560 and 2 x 128;
        # 36 of them, embeddings of 151936 x 2560 once (tied), the last norm. KV: 2 x 36 x 8 x 128 numbers of 2 bytes
        (QWEN3_4B, 4_022_468_096, 147_456),
        (QWEN3_06B, 596_049_920, 114_688),
        (LLAMA_31_8B, 8_030_261_248, 131_072),
    ],
)
def test_weights_and_kv_cache_are_counted_as_the_models_have_them(
    config: dict[str, object], weights: int, kv: int
) -> None:
    assert model(config).weights == weights
    assert model(config).kv_bytes == kv


def test_the_counted_weights_are_those_of_transformers() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    small |= {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 128}
    for kind in ("llama", "mistral", "qwen2", "qwen3"):
        for tied in (True, False):
            config = AutoConfig.for_model(kind, tie_word_embeddings=tied, **small)
            with torch.device("meta"):
                built = AutoModelForCausalLM.from_config(config)
            assert model(config.to_dict()).weights == sum(p.numel() for p in built.parameters()), (kind, tied)
        config.num_labels = 1
        config.architectures = ["SomethingForSequenceClassification"]
        with torch.device("meta"):
            judge = AutoModelForSequenceClassification.from_config(config)
        assert model(config.to_dict()).weights == sum(p.numel() for p in judge.parameters()), kind


def test_an_adapter_is_counted_as_peft_makes_it() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(TINY.base_model)
    policy = get_peft_model(base, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    sizes = sizing.model_of(TINY.base_model)
    assert sizes is not None
    assert sizes.adapter_weights(8) == sum(p.numel() for p in policy.parameters() if p.requires_grad)
    # rank 16 on Qwen3-4B: 36 layers of 16 x (2 x (2560 + 4096) + 2 x (2560 + 1024) + 3 x (2560 + 9728))
    assert model(QWEN3_4B).adapter_weights(16) == 33_030_144


def test_a_size_on_disk_goes_before_counting_and_an_unknown_kind_is_unknown() -> None:
    mixture = QWEN3_4B | {"model_type": "qwen3_moe"}
    assert from_config(mixture) is None
    found = from_config(mixture, on_disk=61_000_000_000)
    assert found is not None
    assert found.weights == 30_500_000_000
    assert from_config({"model_type": "mamba"}) is None


CARD_80 = Machine(gpu=True, total=80 * GIB, free=79 * GIB)
CARD_24 = Machine(gpu=True, total=24 * GIB, free=round(23.6 * GIB))
CARD_12 = Machine(gpu=True, total=12 * GIB, free=round(11.7 * GIB))
SINGLE = Plan(
    model(QWEN3_4B),
    (("reward", model(QWEN3_06B)),),
    max_model_len=16384,
    lora_rank=16,
    micro_batch=1,
    max_prompt_tokens=4096,
    max_completion_tokens=4096,
)


def test_the_parts_of_a_card_by_hand() -> None:
    assert size_of("engine", "weights", SINGLE, CARD_80) == 8_044_936_192
    assert size_of("engine", "5 adapters", SINGLE, CARD_80) == 5 * 33_030_144 * 2
    # 45 % of 80 GiB, less the weights, the adapters and 1.5 GiB of working memory
    room = 38_654_705_664 - 8_044_936_192 - 330_301_440 - 1_610_612_736
    assert size_of("engine", "KV cache", SINGLE, CARD_80) == room
    assert kv_tokens(SINGLE, CARD_80) == room // 147_456 == 194_423
    assert size_of("trainer", "weights", SINGLE, CARD_80) == 8_044_936_192
    assert size_of("trainer", "adapter", SINGLE, CARD_80) == 33_030_144 * 16
    # 8,192 tokens: the inputs of 36 layers at 2 bytes, and one layer of 4 x 2560 + 4096 + 2 x 1024 + 3 x 9728 numbers
    assert size_of("trainer", "activations", SINGLE, CARD_80) == 8192 * (36 * 2560 * 2 + 45568 * 8)
    assert size_of("reward", "weights", SINGLE, CARD_80) == 1_192_099_840
    assert needed(SINGLE, CARD_80) == sum(row.size or 0 for row in rows(SINGLE, CARD_80))
    assert trouble(SINGLE, CARD_80) is None


def test_full_weights_have_gradients_and_optimizer_and_ppo_its_logits() -> None:
    eight = replace(SINGLE, base=model(LLAMA_31_8B), full=True, reference=True)
    assert size_of("trainer", "weights", eight, CARD_80) == 8_030_261_248 * 4
    assert size_of("trainer", "gradients and optimizer", eight, CARD_80) == 8_030_261_248 * 12
    assert size_of("trainer", "reference", eight, CARD_80) == 8_030_261_248 * 4
    both = replace(eight, algorithm="ppo")  # actor and critic, and one reference
    assert size_of("trainer", "weights", both, CARD_80) == 2 * 8_030_261_248 * 4
    assert size_of("trainer", "gradients and optimizer", both, CARD_80) == 2 * 8_030_261_248 * 12
    assert size_of("trainer", "reference", both, CARD_80) == 8_030_261_248 * 4
    assert "GiB are needed and 79.0 GiB on the card are free" in (trouble(eight, CARD_80) or "")
    assert "RUMINATE_TRAINER_WEIGHTS=lora" in remedies(eight, CARD_80)
    four = model(QWEN3_4B)
    grpo, ppo = activations(SINGLE, four, True), activations(replace(SINGLE, algorithm="ppo"), four, True)
    assert ppo - grpo == 4096 * 151936 * 20
    assert activations(replace(SINGLE, algorithm="dpo"), four, True) == 2 * grpo  # a pair at least
    wide = replace(SINGLE, micro_batch=4)
    assert activations(replace(wide, algorithm="dpo"), four, True) == activations(wide, four, True)
    two_adapters = size_of("trainer", "adapter", replace(SINGLE, algorithm="ppo"), CARD_80)
    assert two_adapters == 2 * size_of("trainer", "adapter", SINGLE, CARD_80)


def test_what_cannot_fit_is_told_with_settings_that_make_it_fit() -> None:
    crowded = replace(SINGLE, micro_batch=16)
    assert trouble(crowded, CARD_80) is not None
    assert "RUMINATE_TRAINER_MICRO_BATCH=4" in remedies(crowded, CARD_80)
    assert trouble(replace(crowded, micro_batch=4), CARD_80) is None
    assert trouble(replace(crowded, micro_batch=8), CARD_80) is not None
    assert "RUMINATE_TRAINER_MAX_COMPLETION_TOKENS" not in str(remedies(crowded, CARD_80))  # it alone would not do

    said = trouble(SINGLE, CARD_24) or ""
    # 10.8 GiB less 7.49, 0.31 and 1.5 leave 1.50 GiB, of 144 KiB a token
    assert said == "the engine has room for 10,922 tokens in 45% of the card, and one conversation may have 16,384"
    alone = replace(SINGLE, trains=False)
    assert remedies(alone, CARD_24)[0] == "RUMINATE_GPU_MEMORY_UTILIZATION=0.5"
    assert "RUMINATE_MAX_MODEL_LEN=8192" in remedies(alone, CARD_24)
    assert remedies(replace(SINGLE, base=model(LLAMA_31_8B)), CARD_12) == []


def test_samples_that_the_engine_would_refuse_are_told_before_a_round_is_begun() -> None:
    tiny = Plan(sizing.model_of(TINY.base_model), max_completion_tokens=1024)
    machine = Machine(gpu=False, total=64 * GIB, free=60 * GIB)
    assert trouble(tiny, machine) == (
        "a sample of a round may have 1,536 tokens (max_prompt_tokens and max_completion_tokens), and the engine takes "
        "1,024 in one conversation"
    )
    found = remedies(tiny, machine)
    assert found[:2] == ["RUMINATE_MAX_MODEL_LEN=1536", "RUMINATE_TRAINER_MAX_COMPLETION_TOKENS=512"]
    assert trouble(replace(tiny, trains=False), machine) is None
    crowded = replace(SINGLE, max_model_len=131072)  # what makes room for the engine must leave room for samples
    named = [one for one in remedies(crowded, CARD_24) if "MAX_MODEL_LEN=" in one]
    assert all(int(one.split("MAX_MODEL_LEN=")[1].split()[0]) >= 8192 for one in named)


def test_two_settings_are_named_where_one_does_not_do() -> None:
    tight = replace(SINGLE, micro_batch=4)
    (pair,) = remedies(tight, CARD_24)
    assert pair == "RUMINATE_GPU_MEMORY_UTILIZATION=0.5 and RUMINATE_TRAINER=false"


def test_an_unknown_model_is_called_unknown_and_refused_for_nothing() -> None:
    unknown = replace(SINGLE, base=None, classifiers=(("reward", None),))
    found = {(row.part, row.size) for row in rows(unknown, CARD_80)}
    assert ("engine", None) in found
    assert ("reward", None) in found
    assert trouble(unknown, CARD_80) is None
    console = Console(width=120, record=True, file=io.StringIO())
    sizing.show(unknown, CARD_80, console)
    assert "unknown" in console.export_text()


def test_a_hub_that_does_not_answer_is_asked_once_and_its_model_is_unknown(tmp_path: Path) -> None:
    """In a process of its own: its library reads the environment once."""
    asked: list[bytes] = []

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.request.recv(4096).split(b"\r\n")[0])  # and the connection is closed

    code = "from cli import sizing; print(sizing.model_of('nobody/such-model-anywhere'))"
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as hub:
        threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
        env = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}", "HF_HOME": str(tmp_path)}
        env |= {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
        hub.shutdown()
    assert (done.stdout, sum(b"config.json" in line for line in asked)) == ("None\n", 1), done.stderr


def test_a_hub_model_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    (tmp_path / "config.json").write_text(json.dumps(LLAMA_31_8B))
    (tmp_path / "index").write_text(json.dumps({"metadata": {"total_size": 16_060_522_496}}))
    files = {"config.json": tmp_path / "config.json", "model.safetensors.index.json": tmp_path / "index"}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: str(files[file]))
    found = sizing.model_of("meta-llama/Llama-3.1-8B")
    assert found is not None
    assert found.weights == 8_030_261_248


def test_what_was_set_is_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUMINATE_TRAINER_MICRO_BATCH", "4")
    monkeypatch.setenv("RUMINATE_TRAINER_WEIGHTS", "full")
    house = settings.load(max_model_len=2048, profile="tiny")
    plan = sizing.plan_of(house, house.chosen_profile())
    assert (plan.micro_batch, plan.full, plan.engines, plan.max_model_len) == (4, True, 2, 2048)
    assert plan.base is not None
    assert plan.base.stored == 2
    assert [part for part, _ in plan.classifiers] == ["reward", "judge"]
    single = settings.load(profile="single-gpu", gpu_memory_utilization=0.6).chosen_profile()
    assert single.engine.gpu_memory_utilization == 0.6
    monkeypatch.setattr(sizing, "model_of", lambda name: model(QWEN3_4B))
    lora = sizing.plan_of(settings.load(trainer=False), single)
    assert (lora.trains, lora.utilization) == (False, 0.6)


@pytest.mark.parametrize(
    ("algorithm", "kl_beta", "counted"),
    [("grpo", "0.1", True), ("grpo", "0", False), ("ppo", "0", False), ("dpo", "0", True), ("sft", "0.1", False)],
)
def test_a_reference_is_counted_where_a_round_has_one(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, kl_beta: str, counted: bool
) -> None:
    for name, value in {"WEIGHTS": "full", "ALGORITHM": algorithm, "KL_BETA": kl_beta}.items():
        monkeypatch.setenv(f"RUMINATE_TRAINER_{name}", value)
    house = settings.load(profile="tiny")
    assert sizing.plan_of(house, house.chosen_profile()).reference == counted


def test_a_persons_preset_is_counted_above_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "model_of", lambda name: model(QWEN3_4B))
    alone = sizing.plan_of(settings.load(), SINGLE_GPU)
    assert (alone.micro_batch, alone.max_prompt_tokens) == (1, 4096)
    monkeypatch.setenv("RUMINATE_TRAINER_PRESET", "paper")
    monkeypatch.setenv("RUMINATE_TRAINER_MAX_PROMPT_TOKENS", "99")
    named = sizing.plan_of(settings.load(), replace(SINGLE_GPU, trainer=SINGLE_GPU.trainer | {"KL_BETA": "0"}))
    assert (named.full, named.reference, named.max_prompt_tokens) == (True, True, 99)
    monkeypatch.setenv("RUMINATE_TRAINER_DEFAULTS", '{"micro_batch": "8"}')  # the house keeps them too
    assert sizing.plan_of(settings.load(), SINGLE_GPU).micro_batch == 8


def test_every_profile_fits_where_it_is_meant_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = {"Qwen/Qwen3-4B": QWEN3_4B, "Qwen/Qwen3-0.6B": QWEN3_06B}
    monkeypatch.setattr(sizing, "model_of", lambda name: model(configs.get(name, QWEN3_06B)))
    small = sizing.plan_of(settings.load(), PROFILES["small"])
    assert trouble(small, Machine(gpu=True, total=16 * GIB, free=round(15.7 * GIB))) is None
    single = sizing.plan_of(settings.load(), SINGLE_GPU)
    assert trouble(single, Machine(gpu=True, total=32 * GIB, free=round(31.6 * GIB))) is None


def test_a_start_that_cannot_fit_is_refused_after_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "model_of", lambda name: model(LLAMA_31_8B))
    monkeypatch.setattr(sizing, "machine_of", lambda gpu: CARD_24)
    console = Console(width=200, record=True, file=io.StringIO())
    with pytest.raises(checks.CannotStart, match=r"'single-gpu' does not fit: the engine has room for 0 tokens.*set"):
        sizing.check_budget(settings.load(), SINGLE_GPU, console)
    assert "KV cache: 0 tokens" in console.export_text()
    sizing.check_budget(settings.load(check_budget=False), SINGLE_GPU, console)
    assert "does not fit" in console.export_text()


def test_the_command_prints_it_and_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from cli.main import app

    monkeypatch.setenv("RUMINATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUMINATE_PROFILE", "tiny")
    monkeypatch.setenv("RUMINATE_MIN_MEMORY_GIB", "0")
    done = CliRunner().invoke(app, ["budget"])
    assert done.exit_code == 0, done.output
    assert "KV cache: 262,144 tokens" in done.output
    told = json.loads(CliRunner().invoke(app, ["budget", "--json"]).output)
    assert told["needed"] == sum(row["bytes"] for row in told["rows"])
    assert not (tmp_path / "home").exists()


def test_the_command_refuses_what_a_start_refuses_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from cli.main import app

    def ends(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["budget", *words])
        return (2 if isinstance(done.exception, checks.CannotStart) else done.exit_code), done.output

    monkeypatch.setattr(sizing, "model_of", lambda name: model(LLAMA_31_8B))
    monkeypatch.setattr(sizing, "machine_of", lambda gpu: CARD_24)
    assert ends("--profile", "single-gpu")[0] == 2
    code, said = ends("--profile", "paper")
    assert (code, "no budget: it is counted for one card, and paper spreads over 8" in said) == (0, True)
    assert ends("--profile", "paper", "--json")[1].splitlines()[-1] == "null"
    monkeypatch.setenv("RUMINATE_CHECK_BUDGET", "false")
    code, said = ends("--profile", "single-gpu")
    assert (code, "does not fit" in said) == (0, True)
    monkeypatch.setattr(sizing, "machine_of", lambda gpu: None)
    assert ends("--profile", "single-gpu")[0] == 0


def test_a_house_that_cannot_fit_ends_with_code_2(tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho '0, GPU-a, 8192, 8000'\n")
    smi.chmod(0o755)
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_31_8B))
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "RUMINATE_HOME": str(tmp_path / "home")}
    env |= {"RUMINATE_BASE_MODEL": str(folder), "RUMINATE_REWARD_MODEL": TINY.reward_model}
    env |= {"RUMINATE_JUDGE_MODEL": TINY.judge_model, "RUMINATE_MIN_MEMORY_GIB": "0", "RUMINATE_PROFILE": "auto"}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    command = [sys.executable, "-m", "cli.main", "up", "--port", "0", "--ui-port", "0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "the profile 'small' does not fit: the engine has room for 0 tokens" in done.stderr
    assert "budget" in done.stdout
