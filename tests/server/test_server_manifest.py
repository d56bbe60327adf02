"""What a checkpoint's files must be before an engine sees them. (That none sees an unfit one: test_server_swap.py.)"""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.adapters import fake_probe, write_adapter, write_full, write_manifest, write_safetensors

from server.manifest import Unfit, check_adapter, check_checkpoint
from server.tensors import finite

BASE = "a" * 64
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
A, B = np.ones((4, 8)), np.ones((8, 4))


def publish(folder: Path, tensors: dict[str, np.ndarray] | None = None, **config: Any) -> Path:
    """A checkpoint folder v1 of rank 4, whole and honest, but for what is given."""
    write_adapter(folder, config=config)
    if tensors is not None:
        write_safetensors(folder / "adapter_model.safetensors", tensors)
    write_manifest(folder, "v1", fake_probe(), BASE)
    return folder


def rehash(folder: Path) -> None:
    """Make the manifest agree with the files, as one who altered both would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def cut(folder: Path, bytes_left: int | None = None) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[: -4 if bytes_left is None else bytes_left])


def set_header(folder: Path, header: Any) -> None:
    encoded = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(encoded)) + encoded + b"\0" * 64)


def say(folder: Path, **changed: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text()) | changed
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    assert check_checkpoint(publish(tmp_path / "v1"), "v1", BASE)["rank"] == 4


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut off": (cut, "altered or cut off: SHA-256"),
    "cut off and hashed anew": (lambda f: (cut(f), rehash(f)), "cut off: .* should end at byte"),
    "cut off in its header": (lambda f: (cut(f, 20), rehash(f)), "cut off: the header alone"),
    "empty": (lambda f: (cut(f, 0), rehash(f)), "not readable as safetensors"),
    "of another base": (lambda f: say(f, base={"config_hash": "b" * 64}), "made for another base model"),
    "of no base": (lambda f: say(f, base=None), "made for another base model"),
    "of another rank than it says": (lambda f: say(f, rank=8), "the manifest says rank 8, its .* says 4"),
    "with weights beside": (
        lambda f: (f / "adapter_model.bin").write_bytes(b"x"),
        "holds adapter_model.bin, of which the manifest says nothing",
    ),
    "without tensors": (lambda f: (set_header(f, {}), rehash(f)), "holds no tensors"),
    "a header of nonsense": (lambda f: (set_header(f, {"x": 1}), rehash(f)), "x is not described as a tensor"),
    "a tensor before the file": (
        lambda f: (set_header(f, {"x": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}), rehash(f)),
        "x has shape",
    ),
    "a type that is no number": (
        lambda f: (set_header(f, {"x": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}), rehash(f)),
        "x has type BOOL",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_checkpoint_is_refused_with_its_reason(tmp_path: Path, what: str) -> None:
    spoil, reason = SPOILT[what]
    folder = publish(tmp_path / "v1")
    spoil(folder)
    with pytest.raises(Unfit, match=reason):
        check_checkpoint(folder, "v1", BASE)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({f"{MODULE}.lora_A.weight": A, f"{MODULE}.lora_B.weight": B * np.nan}, "NaN"),
        ({f"{MODULE}.lora_A.weight": A * np.inf, f"{MODULE}.lora_B.weight": B}, "infinite"),
        ({f"{MODULE}.lora_A.weight": A, f"{MODULE}.lora_B.weight": B * 0}, "every lora_B is zero"),
        ({f"{MODULE}.lora_A.weight": np.ones((2, 8)), f"{MODULE}.lora_B.weight": np.ones((8, 2))}, "has rank"),
        ({f"{MODULE}.lora_A.weight": A, f"{MODULE}.lora_B.weight": np.ones((8, 2))}, "has rank"),
        ({f"{MODULE}.lora_B.weight": B}, "lora_B alone"),
        (
            {f"{MODULE}.lora_A.weight": A, f"{MODULE}.lora_B.weight": B, f"{MODULE}.lora_magnitude_vector": A},
            "no LoRA matrix",
        ),
        ({"lm_head.weight": A}, "no LoRA matrix"),
    ],
)
def test_weights_that_an_engine_would_not_serve_as_trained_are_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], reason: str
) -> None:
    with pytest.raises(Unfit, match=reason):
        check_checkpoint(publish(tmp_path / "v1", tensors), "v1", BASE)


@pytest.mark.parametrize("alpha", [None, 0, -1, "16", float("inf")])
def test_a_scale_that_is_no_number_above_zero_is_refused(tmp_path: Path, alpha: object) -> None:
    with pytest.raises(Unfit, match="lora_alpha|not readable"):
        check_adapter(write_adapter(tmp_path / "step", config={"lora_alpha": alpha}))


def test_a_module_may_have_a_rank_of_its_own_where_the_configuration_says_so(tmp_path: Path) -> None:
    assert check_adapter(write_adapter(tmp_path / "step", rank=2, config={"r": 8, "rank_pattern": {"q_proj": 2}}))


def full(folder: Path, base: Path, tensors: dict[str, np.ndarray] | None = None) -> Path:
    """Full weights v1 for a base of two tensors, which is written too."""
    write_full(base, "v0", -1.0)
    base_hash = hashlib.sha256((base / "config.json").read_bytes()).hexdigest()
    write_full(folder, "v1", -2.0, base_hash)
    if tensors is not None:
        write_safetensors(folder / "model.safetensors", tensors)
        rehash(folder)
    return folder


def test_full_weights_of_the_base_s_shape_are_taken(tmp_path: Path) -> None:
    folder, base = full(tmp_path / "v1", tmp_path / "base"), tmp_path / "base"
    found = hashlib.sha256((base / "config.json").read_bytes()).hexdigest()
    assert check_checkpoint(folder, "v1", found, "full", base)["kind"] == "full"
    with pytest.raises(Unfit, match="the manifest says kind 'full', but the row says 'adapter'"):
        check_checkpoint(folder, "v1", found)
    with pytest.raises(Unfit, match="made for another base model"):
        check_checkpoint(folder, "v1", BASE, "full")
    (base / "config.json").write_text("{}")
    with pytest.raises(Unfit, match="is not that of the served base"):
        check_checkpoint(folder, "v1", None, "full", base)


HEAD, EMBED = np.ones((8, 4)), np.ones((8, 4))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"model.embed.weight": EMBED, "lm_head.weight": HEAD * np.nan}, "lm_head.weight holds NaN"),
        ({"model.embed.weight": EMBED * np.inf, "lm_head.weight": HEAD}, "model.embed.weight holds NaN or infinite"),
        ({"model.embed.weight": EMBED}, "lm_head.weight has shape None"),
        (
            {"model.embed.weight": EMBED, "lm_head.weight": HEAD[:4]},
            r"lm_head.weight has shape \[4, 4\], in the",
        ),
        ({"model.embed.weight": EMBED, "lm_head.weight": HEAD, "more": HEAD}, "more has shape .* served base None"),
    ],
)
def test_full_weights_that_are_not_a_model_of_the_base_s_shape_are_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], reason: str
) -> None:
    folder = full(tmp_path / "v1", tmp_path / "base", tensors)
    with pytest.raises(Unfit, match=reason):
        check_checkpoint(folder, "v1", None, "full", tmp_path / "base")


@pytest.mark.parametrize(
    ("dtype", "values", "whole"),
    [
        ("BF16", [0x3F80, 0xFF7F, 0x0001], True),
        ("BF16", [0x3F80, 0x7F80], False),
        ("BF16", [0xFFC1], False),
        ("F16", [0x3C00, 0x7BFF], True),
        ("F16", [0x3C00, 0xFC00], False),
    ],
)
def test_numbers_that_are_none_are_found_by_their_bits(dtype: str, values: list[int], whole: bool) -> None:
    assert finite(np.array(values, "<u2").view(np.uint8), dtype) is whole
