"""Which base model stands in a folder, by what its weights are: two models of one shape have the same config.json.

Reads files only. A large model takes a while to read, so what was found is kept as long as its files stand as they did:
for this process, and in a file of the home where one is named.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOTES = "base-hashes.json"
"""In a home: what was found of large files, by their place, size and time."""
_LARGE = 1 << 28  # bytes; smaller ones are read again by each process
_INDEX = "model.safetensors.index.json"

_known: dict[str, tuple[list[int], str]] = {}


def weights_hash(folder: Path, notes: Path | None = None) -> str | None:
    """SHA-256 over the weight files that a model is loaded from, by name and content; None where there are none here.

    `notes`: a file to remember large ones in; one that can't be read or written is done without. Raises OSError when
    a weight file can't be read.
    """
    files = _weight_files(folder)
    if not files:
        return None
    told = [f"{name} {_file_hash(folder / name, notes)}" for name in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def told_weights(manifest: Mapping[str, Any] | None) -> str | None:
    """The hash of the base's weights that a manifest names; None for one that was written before it had any."""
    return ((manifest or {}).get("base") or {}).get("weights_hash")


def _weight_files(folder: Path) -> list[str]:
    """What transformers loads: the files of the index, else the one file, else whatever safetensors there are."""
    if (folder / _INDEX).is_file():
        listed = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        return [_INDEX, *sorted(set(listed.values()))]
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    return sorted(path.name for path in folder.glob("*.safetensors"))


def _file_hash(path: Path, notes: Path | None) -> str:
    place, found = os.path.realpath(path), path.stat()
    stands = [found.st_size, found.st_mtime_ns, found.st_ino]
    if place not in _known and notes is not None and found.st_size >= _LARGE:
        _known.update(_noted(notes, place))
    before, value = _known.get(place, (None, ""))
    if before != stands:
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        _known[place] = (stands, value)
        if notes is not None and found.st_size >= _LARGE:
            _note(notes)
    return value


def _noted(notes: Path, place: str) -> dict[str, tuple[list[int], str]]:
    try:
        stands, value = json.loads(notes.read_text(encoding="utf-8"))[place]
        return {place: ([int(number) for number in stands], str(value))}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _note(notes: Path) -> None:
    large = {place: known for place, known in _known.items() if known[0][0] >= _LARGE}
    aside = notes.with_name(f".{notes.name}.{os.getpid()}.aside")
    try:
        aside.write_text(json.dumps(large), encoding="utf-8")
        os.replace(aside, notes)
    except OSError:
        aside.unlink(missing_ok=True)
