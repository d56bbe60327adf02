"""Compose files are read as Compose reads them, and services start in the order that they ask for."""

from pathlib import Path

import pytest
from images.buildah import Failed
from images.services import command_of, in_order, seconds_of
from support.compose_file import MissingVariable, read, read_services


def written(folder: Path, *texts: str) -> list[Path]:
    paths = [folder / f"{number}.yml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


@pytest.mark.parametrize(
    ("text", "variables", "value"),
    [
        ("${A}", {"A": "1"}, "1"),
        ("$A and ${B}", {"A": "1"}, "1 and "),
        ("${A:-2}", {"A": ""}, "2"),
        ("${A-2}", {"A": ""}, ""),
        ("${A-2}", {}, "2"),
        ("${A:?say it}", {"A": "1"}, "1"),
        ("${A?say it}", {"A": ""}, ""),
        ("$$A costs $$2", {"A": "1"}, "$A costs $2"),
    ],
)
def test_variables(tmp_path: Path, text: str, variables: dict[str, str], value: str) -> None:
    assert read(written(tmp_path, f"it: ['{text}']"), variables) == {"it": [value]}


@pytest.mark.parametrize("given", [{}, {"A": ""}])
def test_a_required_variable_that_is_missing_is_named(tmp_path: Path, given: dict[str, str]) -> None:
    with pytest.raises(MissingVariable, match="A is missing a value: say it"):
        read(written(tmp_path, "it: '${A:?say it}'"), given)


def test_an_override_merges_mappings_adds_to_lists_replaces_commands_and_takes_back(tmp_path: Path) -> None:
    base = """
x-shared: &shared {A: "1", B: "2"}
services:
  one:
    command: [run, it]
    environment: {<<: *shared, C: "3"}
    networks: [inner]
    deploy: {gpu: 1}
"""
    over = """
services:
  one:
    command: [other]
    environment: {B: "4"}
    networks: [inner, outer]
    deploy: !reset null
"""
    assert read_services(written(tmp_path, base, over), {}) == {
        "one": {
            "command": ["other"],
            "environment": {"A": "1", "B": "4", "C": "3"},
            "networks": ["inner", "outer"],
        }
    }


def test_each_service_starts_after_those_that_it_depends_on() -> None:
    assert in_order({"c": {"depends_on": {"b": {}, "a": {}}}, "b": {"depends_on": {"a": {}}}, "a": {}}) == [
        "a",
        "b",
        "c",
    ]
    with pytest.raises(Failed, match="a -> b -> a"):
        in_order({"a": {"depends_on": {"b": {}}}, "b": {"depends_on": {"a": {}}}})


def test_checks_and_durations_are_read_in_each_of_their_forms() -> None:
    assert command_of(["CMD", "redis-cli", "ping"]) == ["redis-cli", "ping"]
    assert command_of(["CMD-SHELL", "a && b"]) == command_of("a && b") == ["/bin/sh", "-c", "a && b"]
    assert [seconds_of(value) for value in ("500ms", "5s", "1.5m", 3)] == [0.5, 5.0, 90.0, 3.0]
