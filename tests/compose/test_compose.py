"""The compose file keeps its promises: start order by health, no engine port outside, secrets required, no root."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


class Loader(yaml.SafeLoader):
    """YAML as Compose reads it: `!reset` takes a value back."""


Loader.add_constructor("!reset", lambda loader, node: None)


def services(name: str = "docker-compose.yml") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.load((ROOT / name).read_text(), Loader)["services"]  # noqa: S506 - a SafeLoader
    return found


def targets() -> set[str]:
    return set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.M))


def test_the_whole_house_is_there() -> None:
    assert set(services()) == {"postgres", "redis", "migrate", "vllm", "server", "trainer", "ui"}


def test_only_the_gateway_and_the_page_publish_a_port() -> None:
    assert {name for name, service in services().items() if "ports" in service} == {"server", "ui"}


def test_the_engine_shares_a_network_with_the_gateway_only() -> None:
    others = {name for name, service in services().items() if "engine" in service["networks"]}
    assert others == {"vllm", "server"}


@pytest.mark.parametrize("secret", ["POSTGRES_PASSWORD", "RUMINATE_SERVICE_KEY"])
def test_a_missing_secret_is_named(secret: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    uses = re.findall(rf"\$\{{{secret}([^}}]*)\}}", text)
    assert uses
    assert all(use.startswith(f":?set {secret} in .env") for use in uses)
    assert f"{secret}=" in (ROOT / ".env.example").read_text()


def test_everything_starts_after_what_it_needs_is_healthy() -> None:
    found = services()
    assert found["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert found["server"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert found["server"]["depends_on"]["vllm"] == {"condition": "service_healthy"}
    for name in ("trainer", "ui"):
        assert found[name]["depends_on"] == {"server": {"condition": "service_healthy"}}
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name in ("server", "ui", "engine-files"):
        stage = dockerfile.split(f" AS {name}\n", 1)[1].split("\nFROM ", 1)[0]
        assert "HEALTHCHECK" in stage, name


def test_several_gateways_can_run_side_by_side() -> None:
    server = services()["server"]
    assert "container_name" not in server
    assert server["ports"] == ["${RUMINATE_PORT:-8000}:8000"]  # a range gives each of them a port of its own
    environment = server["environment"] | server["environment"].get("<<", {})
    for shared in ("RUMINATE_DATABASE_URL", "RUMINATE_REDIS_URL", "RUMINATE_SERVICE_KEY", "RUMINATE_SERVER_ENGINES"):
        assert shared in environment, shared


def test_nobody_of_ours_is_root_and_every_image_is_built_from_a_stage_that_exists() -> None:
    for name, service in {**services(), **services("docker-compose.cpu.yml")}.items():
        if "build" in service:
            assert service["build"]["target"] in targets(), name
    for name, service in services().items():
        if "build" in service:
            assert service["user"] == "10001", name


def test_named_volumes_hold_what_must_survive() -> None:
    volumes = yaml.load((ROOT / "docker-compose.yml").read_text(), Loader)["volumes"]  # noqa: S506 - a SafeLoader
    assert set(volumes) == {"postgres", "house"}
    for name in ("vllm", "server", "trainer"):
        assert services()[name]["volumes"] == ["house:/data"]


def test_every_copied_path_is_in_the_repository() -> None:
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in shlex.split(line)[1:-1]:
                assert (ROOT / source).exists(), line
