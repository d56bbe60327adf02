"""Reads compose files as Compose does, as far as ours go: variables, merge keys, an override over a base, `!reset`.

A mapping of an override is merged into the base's, a list is added to it, a command or a check takes its place.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<how>:?[-?])(?P<text>[^}]*))?\}|(?P<bare>\w+))")
_RESET = object()
_REPLACED = {"command", "entrypoint", "test"}  # lists that are one value


class MissingVariable(Exception):
    """A variable that a file requires is not set; the text is the file's own."""


class _Loader(yaml.SafeLoader):
    """YAML with Compose's tag for taking a value back."""


_Loader.add_constructor("!reset", lambda loader, node: _RESET)


def read_services(paths: list[Path], variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services of the first file with the others over it. Raises MissingVariable, naming it."""
    return dict(read(paths, variables)["services"])


def read(paths: list[Path], variables: Mapping[str, str]) -> dict[str, Any]:
    """The whole project of the first file with the others over it. Raises MissingVariable, naming it."""
    project: Any = {}
    for path in paths:
        project = _merged(project, yaml.load(path.read_text(), _Loader), "")  # noqa: S506 - a SafeLoader
    return dict(_filled_in(project, variables))


def _merged(base: Any, over: Any, key: str) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        kept = {name: value for name, value in base.items() if over.get(name) is not _RESET}
        changed = {
            name: _merged(kept[name], value, name) if name in kept else value
            for name, value in over.items()
            if value is not _RESET
        }
        return kept | changed
    if isinstance(base, list) and isinstance(over, list) and key not in _REPLACED:
        return base + [one for one in over if one not in base]
    return over


def _filled_in(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled_in(one, variables) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled_in(one, variables) for one in value]
    return _VARIABLE.sub(lambda found: _value(found, variables), value) if isinstance(value, str) else value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    name, how, text = found["name"] or found["bare"], found["how"] or "", found["text"] or ""
    value = variables.get(name)
    if value is None or (value == "" and how.startswith(":")):
        if how.endswith("?"):
            raise MissingVariable(f"required variable {name} is missing a value: {text}")
        return text if how.endswith("-") else ""
    return value
