"""The GPUs that processes started here will see: those that nvidia-smi lists, as CUDA_VISIBLE_DEVICES leaves them."""

import os
import shutil
import subprocess
from dataclasses import dataclass

_SECONDS = 20.0  # nvidia-smi on a busy machine
_QUERY = ["nvidia-smi", "--query-gpu=index,uuid,memory.total,memory.free", "--format=csv,noheader,nounits"]


@dataclass(frozen=True)
class Card:
    """One GPU; its memory in bytes, None where nvidia-smi does not tell."""

    index: str
    uuid: str
    total: int | None = None
    free: int | None = None


def visible() -> list[Card]:
    """In the order in which CUDA numbers them, so that the first is the one that engine and trainer take.

    As for CUDA, names are places in nvidia-smi's order or beginnings of UUIDs, and the first that there is none of
    hides those after it. A part of a card (MIG) is there, and its size is not known.
    """
    listed, names = _listed(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None or not listed:
        return listed
    found: list[Card] = []
    for name in (one.strip() for one in names.split(",")):
        by_uuid = name.startswith("GPU-")
        fits = [card for card in listed if card.index == name or (by_uuid and card.uuid.startswith(name))]
        if name.startswith("MIG-"):
            fits = [Card("", name)]
        if len(fits) != 1:
            break
        found += fits
    return found


def _listed() -> list[Card]:
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        told = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in told.splitlines()]
    whole = [row for row in rows if len(row) == 4]
    return [Card(index, uuid, _bytes(total), _bytes(free)) for index, uuid, total, free in whole]


def _bytes(mebibytes: str) -> int | None:
    return int(mebibytes) * 2**20 if mebibytes.isdigit() else None
