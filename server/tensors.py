"""Safetensors files as they lie on disk: whether they are whole, and what they hold.

Reads with numpy, and only what is asked for; knows nothing of adapters or models. The format is described in
github.com/huggingface/safetensors.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import orjson

WIDTH = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}
"""Bytes of a number, by the format's name for its type."""
_PIECE = 1 << 24  # bytes looked at at once: a large model's embedding alone is a gigabyte
_EXPONENT = {"F32": ("<u4", 0x7F800000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}


class Unfit(Exception):
    """A checkpoint that is not loaded, with the reason and the file it was found in."""


def open_tensors(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """The header of a safetensors file, at least one tensor long, and the bytes after it."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = orjson.loads(file.read(length)) if length < size else None
    except (OSError, struct.error, orjson.JSONDecodeError) as error:
        raise Unfit(f"{path}: not readable as safetensors ({error})") from error
    if not isinstance(header, dict):
        raise Unfit(f"{path}: cut off: the header alone is said to have {length} bytes, the file has {size}")
    header.pop("__metadata__", None)
    if not header:
        raise Unfit(f"{path}: holds no tensors")
    data = np.memmap(path, np.uint8, "r", offset=8 + length) if size > 8 + length else np.zeros(0, np.uint8)
    return header, data


def described(path: Path, name: str, tensor: Any) -> tuple[str, list[int], tuple[int, int]]:
    """A tensor's type, shape and place as its header says, where it says so in order."""
    try:
        dtype, shape, (begin, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        whole = all(isinstance(number, int) and number >= 0 for number in (*shape, begin, end)) and begin <= end
    except (TypeError, KeyError, ValueError) as error:
        raise Unfit(f"{path}: {name} is not described as a tensor ({error!r})") from error
    if not whole:
        raise Unfit(f"{path}: {name} has shape {shape} at bytes {begin} to {end}")
    if dtype not in WIDTH:
        raise Unfit(f"{path}: {name} has type {dtype}; expected one of {', '.join(WIDTH)}")
    return dtype, list(shape), (begin, end)


def floats(raw: np.ndarray, dtype: str) -> np.ndarray:
    data = raw.tobytes()
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype])


def finite(raw: np.ndarray, dtype: str) -> bool:
    """Whether bytes hold numbers alone, neither NaN nor infinite: a number's exponent is not all ones."""
    if dtype not in _EXPONENT:
        return bool(np.isfinite(floats(raw, dtype)).all())
    kind, exponent = _EXPONENT[dtype]
    pieces = (raw[start : start + _PIECE] for start in range(0, len(raw), _PIECE))
    return not any(((piece.view(kind) & exponent) == exponent).any() for piece in pieces)
