"""Files that are there whole or not at all: written aside, synced, renamed. Knows nothing about models."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or deleted in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Sync every file and folder below `folder`, and make the files readable by the engine's user (mode 0644)."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_folder(path)
            continue
        path.chmod(0o644)  # save_pretrained leaves 0600
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_folder(folder)


def fresh_folder(folder: Path) -> Path:
    """An empty folder at this path, whatever stood there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def publish_folder(aside: Path, final: Path) -> Path:
    """Sync `aside` and give it its final name. Raises FileExistsError if that is taken: no path is ever rewritten."""
    if final.exists():
        raise FileExistsError(f"{final} exists; a published folder is never rewritten, choose another name")
    sync_tree(aside)
    os.rename(aside, final)
    sync_folder(final.parent)
    return final


def write_json(path: Path, value: Any) -> None:
    """Write `value` at `path`, whole or not at all."""
    aside = path.with_name(f".{path.name}.aside")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    aside.chmod(0o644)
    os.replace(aside, path)
    sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """The value that `write_json` wrote. Raises ValueError, naming the file, for one that holds something else."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged, or was not written here ({error}); put a copy of it back, or, where it is of a round, "
            "cancel that and ask for another"
        ) from None


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
