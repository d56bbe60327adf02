"""Whether a checkpoint's folder is what its manifest says, and weights that an engine can serve. Reads files only.

An engine crashes on a missing adapter, and serves some unfit ones as the base model without an error; so each is looked
at here first, whole, before any engine sees it.
"""

import hashlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from db.base import told_weights
from server.tensors import WIDTH, Unfit, described, finite, floats, open_tensors

FORMAT = 1
_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_SHAPE = "config.json"  # of a whole model
_WEIGHT_FILES = {".safetensors", ".bin", ".pt", ".pth"}  # an engine may read these, whatever they are named
_PAIR = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")


def check_checkpoint(
    path: Path,
    name: str,
    base_hash: str | None,
    kind: str = "adapter",
    base: Path | None = None,
    *,
    max_rank: int = 16,
    base_weights: str | None = None,
) -> dict[str, Any]:
    """Check a published folder against its manifest and return the manifest. Raises Unfit.

    `base_hash`: SHA-256 of the served base's config.json; None where it is not known (a base on another machine).
    `base_weights`: the hash of its weights (`db.base`), compared where the manifest names one as well.
    `kind`: as the row says, "adapter" or "full". `base`: the served base's folder, whose shape full weights must have.
    `max_rank`: what engines are started for.
    """
    manifest = _json(path / "manifest.json")
    if manifest.get("format") != FORMAT:
        raise Unfit(f"{path}: manifest format {manifest.get('format')!r}, expected {FORMAT}")
    if manifest.get("name") != name:
        raise Unfit(f"{path}: the manifest names {manifest.get('name')!r}, but the row says {name!r}")
    if manifest.get("kind") != kind:
        raise Unfit(f"{path}: the manifest says kind {manifest.get('kind')!r}, but the row says {kind!r}")
    given = (manifest.get("base") or {}).get("config_hash")
    if base_hash is not None and given != base_hash:
        raise Unfit(f"{path}: made for another base model (config hash {given!r}, served is {base_hash!r})")
    weights = told_weights(manifest)
    if None not in (base_weights, weights) and weights != base_weights:
        raise Unfit(f"{path}: made for another base model (weights hash {weights!r}, served is {base_weights!r})")
    _check_files(path, manifest.get("files") or {}, {_CONFIG, _WEIGHTS} if kind == "adapter" else {_SHAPE})
    _check_probe(path, manifest.get("probe"))
    if kind == "full":
        check_full(path, base)
        return manifest
    rank = _json(path / _CONFIG).get("r")
    if manifest.get("rank") != rank:
        raise Unfit(f"{path}: the manifest says rank {manifest.get('rank')!r}, its {_CONFIG} says {rank!r}")
    if not check_adapter(path, max_rank):
        raise Unfit(f"{path}: every lora_B is zero: it would answer exactly as the base model")
    return manifest


def _check_files(path: Path, files: dict[str, str], needed: set[str]) -> None:
    """All that an engine would read is there, and what the manifest has the hash of."""
    missing = needed - set(files)
    if missing:
        raise Unfit(f"{path}: the manifest has no hash of {', '.join(sorted(missing))}")
    extra = sorted(file.name for file in path.iterdir() if file.suffix in _WEIGHT_FILES and file.name not in files)
    if extra:
        raise Unfit(f"{path}: holds {', '.join(extra)}, of which the manifest says nothing")
    for file, wanted in files.items():
        if Path(file).name != file:
            raise Unfit(f"{path}: the manifest names {file!r}, which is outside of its folder")
        found = _sha256(path / file)
        if found != wanted:
            raise Unfit(f"{path / file}: altered or cut off: SHA-256 is {found}, the manifest says {wanted}")


def _check_probe(path: Path, probe: Any) -> None:
    """A probe is a few sequences of token ids, with both models' log-probability of each completion token, and where it
    has them the parent's."""
    try:
        whole = float(probe["tolerance"]) > 0 and len(probe["sequences"]) > 0
        for one in probe["sequences"]:
            count = len(one["completion_ids"])
            whole = whole and count == len(one["logprobs_candidate"]) == len(one["logprobs_base"]) > 0
            whole = whole and count == len(one.get("logprobs_parent", one["completion_ids"]))
            whole = whole and all(isinstance(token, int) for token in (*one["prompt_ids"], *one["completion_ids"]))
    except (TypeError, KeyError, ValueError) as error:
        raise Unfit(
            f"{path}: the manifest has no probe, so what an engine serves can't be checked ({error!r})"
        ) from error
    if not whole:
        raise Unfit(f"{path}: the manifest's probe is not whole: as many log-probabilities as completion ids are due")


def check_adapter(path: Path, max_rank: int = 16) -> bool:
    """Check that a folder holds a plain LoRA of finite numbers that can be swapped while serving. Raises Unfit.

    Returns whether it has any effect at all: at the first step of training it has none.
    """
    config = _json(path / _CONFIG)
    if str(config.get("peft_type", "")).upper() != "LORA":
        raise Unfit(f"{path}: peft_type {config.get('peft_type')!r}; engines serve LORA")
    rank = config.get("r")
    ranks = [rank, *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(r, int) and 0 < r <= max_rank for r in ranks):
        raise Unfit(f"{path}: rank {ranks}; engines are started for 1 to {max_rank}")
    alphas = [config.get("lora_alpha"), *(config.get("alpha_pattern") or {}).values()]
    if not all(isinstance(alpha, int | float) and 0 < alpha < math.inf for alpha in alphas):
        raise Unfit(f"{path}: lora_alpha {alphas}; expected numbers above 0, by which an engine scales the adapter")
    if config.get("use_dora"):
        raise Unfit(f"{path}: DoRA can't be swapped while serving; train with use_dora=false")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        raise Unfit(f"{path}: a LoRA bias can't be swapped while serving; train with bias='none'")
    if config.get("modules_to_save"):
        raise Unfit(f"{path}: modules_to_save {config['modules_to_save']} can't be swapped while serving")
    return _check_tensors(path / _WEIGHTS, set(ranks))


def check_full(path: Path, base: Path | None) -> None:
    """Check that a folder holds a whole model of finite numbers, of the same tensors as `base`. Raises Unfit.

    None for `base`: it is on another machine, and which tensors there should be is not known here.
    """
    if base is not None and _sha256(path / _SHAPE) != _sha256(base / _SHAPE):
        raise Unfit(f"{path}: its {_SHAPE} is not that of the served base in {base}")
    shapes = {name: shape for file in _weight_files(path) for name, shape in _whole_tensors(file).items()}
    if base is None:
        return
    wanted = {name: shape for file in _weight_files(base) for name, shape in _shapes(file).items()}
    for name in sorted(wanted.keys() | shapes.keys()):
        if wanted.get(name) != shapes.get(name):
            raise Unfit(f"{path}: {name} has shape {shapes.get(name)}, in the served base {wanted.get(name)}")


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise Unfit(f"{folder}: holds no .safetensors file")
    return files


def _shapes(path: Path) -> dict[str, list[int]]:
    header, _ = open_tensors(path)
    return {name: described(path, name, tensor)[1] for name, tensor in header.items()}


def _whole_tensors(path: Path) -> dict[str, list[int]]:
    """The shapes of a file's tensors, each of which lies whole in it and holds finite numbers."""
    header, data = open_tensors(path)
    shapes = {}
    for name, tensor in header.items():
        dtype, shapes[name], (begin, end) = described(path, name, tensor)
        if end > len(data) or end - begin != WIDTH[dtype] * math.prod(shapes[name]):
            raise Unfit(f"{path}: cut off: {name} should end at byte {end} of {len(data)}")
        if not finite(data[begin:end], dtype):
            raise Unfit(f"{path}: {name} holds NaN or infinite numbers; the training diverged")
    return shapes


def _check_tensors(path: Path, ranks: set[int]) -> bool:
    """Every tensor lies whole in the file, is one of a pair of these ranks, and holds finite numbers.

    Returns whether any lora_B is not zero. Format: github.com/huggingface/safetensors.
    """
    header, data = open_tensors(path)
    effective = False
    found: dict[str, dict[str, int]] = {}  # module → rank by A's and by B's shape
    for name, tensor in header.items():
        dtype, shape, (begin, end) = described(path, name, tensor)
        pair = _PAIR.fullmatch(name)
        if pair is None or len(shape) != 2:
            raise Unfit(f"{path}: {name} {shape} is no LoRA matrix and can't be swapped while serving")
        if end > len(data) or end - begin != WIDTH[dtype] * math.prod(shape):
            raise Unfit(f"{path}: cut off: {name} should end at byte {end} of {len(data)}")
        module, side = pair.groups()
        found.setdefault(module, {})[side] = shape[0 if side == "A" else 1]
        values = floats(data[begin:end], dtype)
        if not np.isfinite(values).all():
            raise Unfit(f"{path}: {name} holds NaN or infinite numbers; the training diverged")
        effective = effective or (side == "B" and bool(values.any()))
    for module, sides in found.items():
        if set(sides) != {"A", "B"}:
            raise Unfit(f"{path}: {module} has lora_{next(iter(sides))} alone; a LoRA is a pair")
        if len(set(sides.values())) != 1 or not set(sides.values()) <= ranks:
            raise Unfit(f"{path}: {module} has rank {sides}, its {_CONFIG} says {sorted(ranks)}")
    return effective


def _json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise Unfit(f"{path}: not readable ({error})") from error
    if not isinstance(value, dict):
        raise Unfit(f"{path}: expected a JSON object")
    return value


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unfit(f"{path}: not readable ({error})") from error


def config_hash(base: Path) -> str | None:
    """SHA-256 of a base model's config.json; None where it is not on this machine, Unfit where it can't be read."""
    config = base / _SHAPE
    try:
        there = config.is_file()
    except OSError as error:  # as in a folder of somebody else's
        raise Unfit(f"{config}: not readable ({error})") from error
    return _sha256(config) if there else None


def if_readable(tell: Callable[..., str | None], *where: Path) -> str | None:
    """What `tell` reads of a model; None where it can't be read here: an engine has rights and places of its own."""
    try:
        return tell(*where)
    except (Unfit, OSError, ValueError, KeyError):
        return None
