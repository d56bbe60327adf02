"""Settings of a round under one name, such as `paper`: what a preset says stands before a round's own overrides.

A preset is a file beside this one: a table for every algorithm (`[all]`), and one for each by name.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "presets"


def known() -> list[str]:
    """The names of the presets."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def preset(name: str, algorithm: str) -> dict[str, Any]:
    """What the preset sets for this algorithm. Raises ValueError for a preset that there is none of."""
    if name not in known():
        raise ValueError(f"preset = {name!r}: there is none of this name; known are {', '.join(known())}")
    tables = _read(name)
    return {**tables["all"], **tables.get(algorithm, {})}


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
