"""Which profile a machine gets, and what it gives engine, gateway and trainer."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli import checks, settings
from cli.engine import engine_command, engine_environment
from cli.profiles import PAPER, PROFILES, SINGLE_GPU, SMALL, TINY, Profile, detect


def test_the_cpu_engine_can_never_chunk_a_prefill() -> None:
    command = engine_command(TINY, 1)
    assert "--no-enable-chunked-prefill" in command
    batch = int(command[command.index("--max-num-batched-tokens") + 1])
    assert batch >= int(command[command.index("--max-model-len") + 1])
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_what_an_engine_runs_first_imports_nothing_for_the_processes_that_it_starts() -> None:
    """Each of them imports that module once more, by another name."""
    command = engine_command(TINY, 1)
    assert command[1] == "-m"
    look = "import runpy, sys; runpy.run_module(sys.argv[1], run_name='__mp_main__'); print('vllm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look, command[2]], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_engine_puts_people_first_and_tells_the_probabilities_that_it_sampled_from() -> None:
    for profile in (TINY, SINGLE_GPU):
        command = engine_command(profile, 1)
        assert "--scheduling-policy=priority" in command
        assert command[command.index("--logprobs-mode") + 1] == "processed_logprobs"


def test_a_gpu_profile_sizes_the_card_and_may_ask_the_hub() -> None:
    assert "--gpu-memory-utilization" in engine_command(SINGLE_GPU, 1)
    assert "HF_HUB_OFFLINE" not in engine_environment(SINGLE_GPU, offline=False)
    assert engine_environment(TINY, offline=True)["HF_HUB_OFFLINE"] == "1"


def test_only_the_tiny_profile_lets_this_machine_in_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from server.settings import ServerSettings

    monkeypatch.delenv("RUMINATE_SERVER_LOOPBACK_WITHOUT_KEY", raising=False)
    keyless = []
    for name, profile in PROFILES.items():
        given = {key.lower(): value for key, value in profile.server.items()}
        if ServerSettings.model_validate(given).loopback_without_key:
            keyless.append(name)
    assert keyless == ["tiny"]


def test_an_engine_fetches_pictures_from_nowhere_unless_hosts_are_named() -> None:
    """Else whoever chats could ask the hosts around it."""

    def allowed(profile: Profile) -> list[str]:
        command = engine_command(profile, 1)
        begin = command.index("--allowed-media-domains") + 1
        end = next(place for place in range(begin, len(command)) if command[place].startswith("--"))
        return command[begin:end]

    for profile in (TINY, SINGLE_GPU):
        assert allowed(profile) == ["nowhere.invalid"]
        assert engine_environment(profile, offline=True)["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"
    named = settings.load(profile="tiny", media_domains="a.example, b.example,").chosen_profile()
    assert allowed(named) == ["a.example", "b.example"]


def test_a_cpu_engine_asks_for_no_compiler() -> None:
    assert engine_environment(TINY, offline=True)["TORCH_COMPILE_DISABLE"] == "1"
    assert "TORCH_COMPILE_DISABLE" not in engine_environment(SINGLE_GPU, offline=False)


def test_the_profile_follows_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for memory, profile in (("143771", "single-gpu"), ("24564", "small"), ("[N/A]", "single-gpu")):  # MiB, or untold
        cards(tmp_path, f"0, GPU-x, {memory}, {memory}")
        assert detect().name == profile
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert detect().name == "tiny"
    assert set(PROFILES) == {"tiny", "small", "single-gpu", "paper"}


def cards(folder: Path, *lines: str) -> None:
    """An nvidia-smi that lists these, in whatever it is asked for."""
    says = "\n".join(lines)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<END\n{says}\nEND\n")
    (folder / "nvidia-smi").chmod(0o755)


def test_the_first_visible_card_decides_profile_and_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cli.cards import visible
    from cli.sizing import machine_of

    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    cards(tmp_path, "0, GPU-aa, 24564, 24000", "1, GPU-ab, 81559, 80000", "2, GPU-bb, 16384, 9000")
    large, small = ("single-gpu", 80000), ("small", 24000)
    for names, seen, (profile, free) in (
        (None, "012", small),
        ("1,0", "10", large),
        ("1", "1", large),
        ("GPU-ab,GPU-bb", "12", large),
        ("0,7,1", "0", small),  # as CUDA has it: nothing after a name that there is none of
        ("GPU-a,1", "", ("tiny", None)),  # of two
        ("-1", "", ("tiny", None)),
        ("", "", ("tiny", None)),
    ):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if names is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
        assert "".join(card.index for card in visible()) == seen, names
        machine = machine_of(gpu=True)
        assert (detect().name, machine and machine.free // 2**20) == (profile, free), names
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-c7")
    assert (detect().name, machine_of(gpu=True)) == ("single-gpu", None)


@pytest.mark.parametrize("algorithm", ["grpo", "dpo", "ppo", "sft"])
def test_every_round_of_a_profile_samples_what_its_engine_takes(algorithm: str) -> None:
    """Also the warm start, whose lessons are the longest: the gate gives its answers as much room."""
    from trainer.settings import TrainerSettings

    for profile in PROFILES.values():
        config = TrainerSettings(defaults=profile.trainer_defaults).round_config({"algorithm": algorithm}, seed=1)
        assert config.max_prompt_tokens + config.max_completion_tokens <= profile.engine.max_model_len, profile.name


@pytest.mark.parametrize("profile", [SMALL, SINGLE_GPU], ids=["small", "single-gpu"])
def test_a_preset_that_a_person_names_stands_over_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Profile
) -> None:
    from rich.console import Console

    from cli.house import House
    from trainer.settings import read_settings

    def rounds(**env: str) -> Any:
        with monkeypatch.context() as patch:
            patch.setenv("RUMINATE_HOME", str(tmp_path))
            for name, value in env.items():
                patch.setenv(name, value)
            house = House(settings.load(port=0, ui_port=0), profile, Console())
            house._wire()
            wired = next(process.env for process in house.processes if process.name == "trainer")
            for name, value in wired.items():
                patch.setenv(name, value)
            return read_settings().round_config({}, seed=1)

    assert rounds().learning_rate == float(profile.trainer["LEARNING_RATE"])
    engine = {"RUMINATE_TRAINER_SAMPLING_ENGINE": "http://127.0.0.1:9"}
    with pytest.raises(checks.CannotStart, match="RUMINATE_TRAINER_WEIGHTS, or a preset.*_SAMPLING_ENGINE to its URL"):
        rounds(RUMINATE_TRAINER_PRESET="paper")
    named = rounds(RUMINATE_TRAINER_PRESET="paper", RUMINATE_TRAINER_MAX_PROMPT_TOKENS="99", **engine)
    assert (named.learning_rate, named.max_completion_tokens, named.max_prompt_tokens) == (1e-6, 4096, 99)
    assert (named.lora_rank, named.weights) == (16, "full")


@pytest.mark.parametrize("profile", [SMALL, SINGLE_GPU], ids=["small", "single-gpu"])
@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_what_does_not_hang_on_a_models_size_is_the_papers(profile: Profile, algorithm: str) -> None:
    from trainer.presets import preset
    from trainer.settings import TrainerSettings

    sized = {"weights", "learning_rate", "critic_learning_rate", "prompts_per_step", "steps"}
    sized |= {"max_prompt_tokens", "max_completion_tokens"}
    papers = preset("paper", algorithm)
    papers = {name: papers[name] for name in papers.keys() - sized - {"reference"}}
    config = TrainerSettings(defaults=profile.trainer_defaults).round_config({"algorithm": algorithm}, seed=1)
    assert {name: getattr(config, name) for name in papers} == papers
    assert config.critic_learning_rate == pytest.approx(5 * config.learning_rate)


def test_the_paper_profile_divides_eight_cards_and_is_refused_where_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from cli.house import House
    from trainer.settings import read_settings

    with pytest.raises(checks.CannotStart, match=r"'paper' needs 8 GPUs of 75 GiB or more, and there are 1 .*: 140"):
        checks.check_cards(PAPER, [139.8])
    with pytest.raises(checks.CannotStart, match="and there are 0"):
        checks.check_cards(PAPER, [23.9] * 8)
    checks.check_cards(PAPER, [79.6] * 8)
    checks.check_cards(TINY, [])
    monkeypatch.setenv("RUMINATE_HOME", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "8,9,10,11,12,13,14,15")
    house = House(settings.load(port=0, ui_port=0), PAPER, Console())
    house._wire()
    seen = {process.name: process.env.get("CUDA_VISIBLE_DEVICES") for process in house.processes}
    assert (seen["engine"], seen["sampler"], seen["trainer"]) == ("8", "9", "10,11,12,13,14,15")
    for name, value in next(one.env for one in house.processes if one.name == "trainer").items():
        monkeypatch.setenv(name, value)
    config = read_settings().round_config({}, seed=1)
    assert (config.weights, config.learning_rate, config.micro_batch) == ("full", 1e-6, 4)
    assert read_settings().template == "llama3"


def test_the_highest_rank_is_one_value_for_engine_gateway_and_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from cli.house import House

    monkeypatch.setenv("RUMINATE_HOME", str(tmp_path))
    monkeypatch.setenv("RUMINATE_MAX_LORA_RANK", "64")
    chosen = settings.load(port=0, ui_port=0, profile="tiny")
    house = House(chosen, chosen.chosen_profile(), Console())
    house._wire()
    wired = {process.name: process for process in house.processes}
    command = wired["engine"].command
    assert command[command.index("--max-lora-rank") + 1] == "64"
    assert {wired[name].env["RUMINATE_MAX_LORA_RANK"] for name in ("server", "trainer")} == {"64"}
    with pytest.raises(settings.BadSetting, match="RUMINATE_MAX_LORA_RANK is 17.*expected one of 0, 1, 8, 16"):
        settings.load(max_lora_rank=17)


def test_rounds_of_full_weights_get_an_engine_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from cli.house import SAMPLER_GIB, House

    monkeypatch.setenv("RUMINATE_HOME", str(tmp_path))
    monkeypatch.setenv("RUMINATE_TRAINER_WEIGHTS", "full")
    with pytest.raises(checks.CannotStart, match="set RUMINATE_TRAINER_SAMPLING_ENGINE to its URL"):
        House(settings.load(), SINGLE_GPU, Console())
    house = House(settings.load(port=0, ui_port=0), TINY, Console())
    house._wire()
    wired = {process.name: process for process in house.processes}
    url = wired["trainer"].env["RUMINATE_TRAINER_SAMPLING_ENGINE"]
    assert wired["sampler"].command[wired["sampler"].command.index("--port") + 1] == url.rsplit(":", 1)[1]
    assert url not in wired["server"].env["RUMINATE_SERVER_ENGINES"]
    assert house.profile.memory_gib == TINY.memory_gib + SAMPLER_GIB
    monkeypatch.setenv("RUMINATE_TRAINER_SAMPLING_ENGINE", "http://127.0.0.1:9")
    given = House(settings.load(port=0, ui_port=0), TINY, Console())
    given._wire()
    assert "sampler" not in {process.name for process in given.processes}


def test_zero_mode_reaches_engine_gateway_and_trainer_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from cli.house import House

    monkeypatch.setenv("RUMINATE_HOME", str(tmp_path))
    monkeypatch.setenv("RUMINATE_TRAINER_TEMPLATE", "chatml")  # one room alone can't have another
    chosen = settings.load(port=0, ui_port=0, profile="tiny", zero=True)
    house = House(chosen, chosen.chosen_profile(), Console())
    house._wire()
    wired = {process.name: process for process in house.processes}
    command = wired["engine"].command
    assert command[command.index("--chat-template") + 1].endswith("zero.jinja")
    assert command[command.index("--reasoning-parser") + 1] == "ruminate_zero"
    assert command[command.index("--model") + 1] == TINY.zero_model
    assert wired["server"].env["RUMINATE_SERVER_THINKING_FORMAT"] == "zero"
    assert wired["server"].env["RUMINATE_SERVER_BASE_MODEL"] == TINY.zero_model
    trainer = wired["trainer"].env
    assert (trainer["RUMINATE_TRAINER_TEMPLATE"], trainer["RUMINATE_TRAINER_THINKING_FORMAT"]) == ("zero", "zero")
    assert trainer["RUMINATE_TRAINER_BASE_MODEL"] == TINY.zero_model
    named = settings.load(zero=True, base_model="a/base", profile="single-gpu").chosen_profile()
    assert (named.base_model, named.template) == ("a/base", "zero")
    assert settings.load(profile="small", template="llama3").chosen_profile().template == "llama3"


def test_no_room_tells_others_how_it_is_used() -> None:
    """Said before the library is imported, which reads it once. The page sets its own (ui/app.py)."""
    code = "import trainer, huggingface_hub.constants as hub; print(hub.HF_HUB_DISABLE_TELEMETRY)"
    told = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name and name != "DO_NOT_TRACK"}
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    engine = engine_environment(SINGLE_GPU, offline=False)
    assert all(engine[name] == "1" for name in ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY"))
