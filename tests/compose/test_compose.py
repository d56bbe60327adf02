"""The compose file keeps its promises: start order by health, no engine port outside, secrets required, no root."""

import json
import re
import shlex
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.compose_file import MissingVariable, read, read_services

import cli
import server
from cli.profiles import SINGLE_GPU, TINY, EngineSize, Profile
from cli.settings import load
from server.settings import ServerSettings
from trainer.triggers import TriggerSettings

ROOT = Path(__file__).parents[2]
TEAM = [ROOT / "docker-compose.yml"]
CPU = [*TEAM, ROOT / "docker-compose.cpu.yml"]
SECRETS = {"POSTGRES_PASSWORD": "pw", "RUMINATE_SERVICE_KEY": "key"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def services(paths: list[Path] = TEAM, **variables: str) -> dict[str, dict[str, Any]]:
    return read_services(paths, SECRETS | variables)


def stages() -> dict[str, tuple[str, str]]:
    """Of each stage of the Dockerfile: what it stands on, and its instructions."""
    found = re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
    return {name: (base, text) for base, name, text in found}


def whole(name: str) -> str:
    """A stage's instructions after those of the stages that it stands on."""
    base, text = stages()[name]
    return (whole(base) if base in stages() else "") + text


def images(paths: list[Path]) -> dict[str, str]:
    """Service and target of each image that is ours."""
    return {name: service["build"]["target"] for name, service in services(paths).items() if "build" in service}


def faults(project: dict[str, Any]) -> list[str]:
    """What the Compose Specification's schema, as check-jsonschema brings it along, finds wrong."""
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(project)]


@pytest.mark.parametrize("paths", [TEAM, CPU], ids=["team", "cpu"])
def test_the_compose_specification_finds_nothing_wrong(paths: list[Path]) -> None:
    assert faults(read(paths, SECRETS)) == []


def test_the_compose_specification_finds_what_is_wrong() -> None:
    project = read(TEAM, SECRETS)
    project["services"]["ui"] |= {"helthcheck": {}, "networks": 5}
    assert len(faults(project)) == 2, faults(project)


def test_the_whole_house_is_there() -> None:
    assert set(services()) == {"postgres", "redis", "migrate", "vllm", "server", "trainer", "ui"}
    assert set(services(CPU)) == set(services())


def test_no_proxy_stands_between_the_services_nor_before_a_health_check() -> None:
    asked = {"localhost", "127.0.0.1"} | {
        host
        for service in services().values()
        for value in service.get("environment", {}).values()
        for host in re.findall(r"https?://([\w.-]+):\d+", str(value))
    }
    assert {"server", "vllm"} < asked
    for target in images(TEAM).values():
        for name in ("NO_PROXY", "no_proxy"):
            (hosts,) = re.findall(rf"\b{name}=(\S+)", whole(target))
            assert asked <= set(hosts.split(",")), target


def test_only_the_gateway_and_the_page_publish_a_port() -> None:
    assert {name for name, service in services().items() if "ports" in service} == {"server", "ui"}


def test_the_engine_shares_networks_with_the_gateway_only() -> None:
    mine = set(services()["vllm"]["networks"])
    assert {name for name, service in services().items() if mine & set(service["networks"])} == {"vllm", "server"}


@pytest.mark.parametrize("secret", ["POSTGRES_PASSWORD", "RUMINATE_SERVICE_KEY"])
@pytest.mark.parametrize("given", [{}, {"POSTGRES_PASSWORD": "", "RUMINATE_SERVICE_KEY": ""}])
def test_a_missing_secret_is_named(secret: str, given: dict[str, str]) -> None:
    others = {name: value for name, value in SECRETS.items() if name != secret}
    with pytest.raises(MissingVariable, match=f"{secret} .*: set {secret} in .env"):
        read(TEAM, given | others)
    assert f"{secret}=" in (ROOT / ".env.example").read_text()


def test_everything_starts_after_what_it_needs_is_healthy() -> None:
    found = services()
    assert found["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert found["server"]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "redis": {"condition": "service_healthy"},
        "vllm": {"condition": "service_healthy"},
    }
    for name in ("trainer", "ui"):
        assert found[name]["depends_on"] == {"server": {"condition": "service_healthy"}}
    for name in ("server", "ui", "engine", "engine-cpu"):
        assert "HEALTHCHECK" in whole(name), name


def test_several_gateways_can_run_side_by_side() -> None:
    server = services()["server"]
    assert "container_name" not in server
    assert services(RUMINATE_PORT="8000-8001")["server"]["ports"] == ["8000-8001:8000"]  # a port for each of them
    for shared in ("RUMINATE_DATABASE_URL", "RUMINATE_REDIS_URL", "RUMINATE_SERVICE_KEY", "RUMINATE_SERVER_ENGINES"):
        assert shared in server["environment"], shared


@pytest.mark.parametrize("paths", [TEAM, CPU], ids=["gpu", "cpu"])
def test_nobody_of_ours_is_root_and_every_image_is_built_from_a_stage_that_exists(paths: list[Path]) -> None:
    for name, target in images(paths).items():
        assert services(paths)[name]["user"] == "10001", name
        assert re.findall(r"^USER (.*)$", whole(target), re.M)[-1:] == ["ruminate"], target


def test_installers_stay_in_the_build_stages_and_a_compiler_only_where_triton_needs_it() -> None:
    for target in {*images(TEAM).values(), *images(CPU).values()}:
        runs = re.findall(r"^RUN (.*)$", whole(target), re.M)
        assert not any(word in run.split() for run in runs for word in ("pip", "uv", "venv")), target
        assert any("g++" in run for run in runs) == (target == "engine"), target
        assert re.search(r"^COPY --from=build-\S+ /opt/venv /opt/venv$", whole(target), re.M), target


def test_the_environment_comes_before_the_code() -> None:
    for target in {*images(TEAM).values(), *images(CPU).values()}:
        copies = re.findall(r"^COPY (.*)$", whole(target), re.M)
        assert copies[0].startswith("--from="), target
        assert not any(copy.startswith("--from=") for copy in copies[1:]), target


@pytest.mark.parametrize(("paths", "profile"), [(TEAM, SINGLE_GPU), (CPU, TINY)], ids=["gpu", "cpu"])
def test_engine_gateway_and_trainer_are_set_as_the_profile_says(paths: list[Path], profile: Profile) -> None:
    found = {name: service.get("environment", {}) for name, service in services(paths).items()}
    assert found["vllm"]["RUMINATE_PROFILE"] == found["server"]["RUMINATE_PROFILE"] == profile.name
    inside = profile.base_model.replace(str(ROOT), "/app")  # where the images hold the embedded model
    bases = ("vllm", "RUMINATE_"), ("server", "RUMINATE_SERVER_"), ("trainer", "RUMINATE_TRAINER_")
    for room, prefix in bases:
        assert found[room][f"{prefix}BASE_MODEL"] == inside, room
    assert found["trainer"]["RUMINATE_TRAINER_REWARD_MODEL"] == profile.reward_model.replace(str(ROOT), "/app")
    assert found["trainer"]["RUMINATE_TRAINER_JUDGE_MODEL"] == profile.judge_model.replace(str(ROOT), "/app")
    assert found["trainer"]["RUMINATE_TRAINER_BASE_MIX"] == profile.base_mix.replace(str(ROOT), "/app")
    below = json.loads(found["trainer"]["RUMINATE_TRAINER_DEFAULTS"] or "{}")  # empty: the trainer's own suit tiny
    assert below == {name.lower(): profile.trainer[name] for name in SINGLE_GPU.trainer if name in profile.trainer}
    for name in SINGLE_GPU.trainer:  # a person sets it, or nobody: a preset stands over what a profile sets
        assert found["trainer"][f"RUMINATE_TRAINER_{name}"] == "", name
    ranks = {found[room]["RUMINATE_MAX_LORA_RANK"] for room in ("vllm", "server", "trainer")}
    assert ranks == {str(profile.engine.max_lora_rank)}
    for name in SINGLE_GPU.server:
        assert found["server"][f"RUMINATE_SERVER_{name}"] == profile.server.get(name, "0"), name


def test_the_engines_size_is_the_profiles_or_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def size(**variables: str) -> EngineSize:
        with monkeypatch.context() as patch:
            for name, value in services(**variables)["vllm"]["environment"].items():
                if name.startswith("RUMINATE_"):
                    patch.setenv(name, value)
            return load().chosen_profile().engine

    assert size() == SINGLE_GPU.engine
    set_to = size(RUMINATE_MAX_MODEL_LEN="8192", RUMINATE_GPU_MEMORY_UTILIZATION="0.6")
    assert (set_to.max_model_len, set_to.gpu_memory_utilization) == (8192, 0.6)
    env = services(RUMINATE_TRAINER_MICRO_BATCH="2")["trainer"]["environment"]
    assert env["RUMINATE_TRAINER_MICRO_BATCH"] == "2"


def test_what_is_left_as_it_comes_is_the_gateways_own_default() -> None:
    env = services()["server"]["environment"]
    for name in ("DEFAULT_CONSENT", "HISTORY_DAYS", "TRAIN_DAYS"):
        default = ServerSettings.model_fields[name.lower()].default
        assert type(default)(env[f"RUMINATE_SERVER_{name}"]) == default, name


def test_every_variable_of_the_example_is_one_that_the_compose_file_asks_for() -> None:
    offered = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.M)
    asked_for = set(re.findall(r"\$\{(\w+)", TEAM[0].read_text()))
    assert set(offered) <= asked_for
    assert len(offered) == len(set(offered))


def test_the_triggers_of_rounds_can_be_set() -> None:
    env = services(RUMINATE_TRAINER_TRIGGER_SCHEDULE="0 3 * * *")["trainer"]["environment"]
    assert env["RUMINATE_TRAINER_TRIGGER_SCHEDULE"] == "0 3 * * *"
    for name in TriggerSettings.model_fields:
        assert name == "automatic" or f"RUMINATE_TRAINER_{name.upper()}" in env, name


def test_no_log_grows_for_ever() -> None:
    for name, service in services().items():
        assert service["logging"] == {"driver": "local"}, name


def test_another_base_model_is_everybodys() -> None:
    found = services(RUMINATE_BASE_MODEL="Qwen/Qwen3-0.6B")
    named = [value for service in found.values() for value in service.get("environment", {}).values()]
    assert named.count("Qwen/Qwen3-0.6B") == 3
    assert "Qwen/Qwen3-4B" not in named


def test_without_a_gpu_none_is_asked_for() -> None:
    assert {name for name, service in services().items() if "deploy" in service} == {"vllm", "trainer"}
    assert not any("deploy" in service for service in services(CPU).values())


def test_named_volumes_hold_what_must_survive() -> None:
    assert set(read(TEAM, SECRETS)["volumes"]) == {"postgres", "house"}
    for name in ("vllm", "server", "trainer"):
        assert services()[name]["volumes"] == ["house:/data"]


def test_every_copied_path_is_in_the_repository() -> None:
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in shlex.split(line)[1:-1]:
                assert (ROOT / source).exists(), line


def test_the_images_need_no_metadata_of_our_own_package() -> None:
    """They have the code and not the package: its version stands in the code as well."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert server.__version__ == cli.__version__ == project["version"]
    for room in ("thinking", "db", "server", "trainer", "ui"):
        for path in sorted((ROOT / room).rglob("*.py")):
            assert not re.search(r"""\b(version|distribution|metadata)\(["']ruminate""", path.read_text()), path
