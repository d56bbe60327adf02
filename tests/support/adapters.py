"""Adapter folders for tests, written without torch: LoRA matrices, the PEFT configuration, a manifest with hashes."""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from db.queries import checkpoints
from db.session import Database


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """float32 tensors in the safetensors format."""
    header: dict[str, Any] = {}
    at = 0
    for name, tensor in tensors.items():
        size = tensor.astype("<f4").nbytes
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors.values():
            file.write(tensor.astype("<f4").tobytes())


def write_adapter(folder: Path, rank: int = 4, scale: float = 0.1, config: dict[str, Any] | None = None) -> Path:
    """A LoRA on one matrix of an imaginary model."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    write_safetensors(
        folder / "adapter_model.safetensors",
        {
            f"{prefix}.lora_A.weight": random.normal(size=(rank, 8)),
            f"{prefix}.lora_B.weight": random.normal(size=(8, rank)) * scale,
        },
    )
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none", "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings | (config or {})))
    return folder


def write_manifest(folder: Path, name: str, probe: dict[str, Any], base_hash: str | None = None) -> dict[str, Any]:
    """The manifest that a trainer writes last."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name.startswith("adapter_")
    }
    rank = json.loads((folder / "adapter_config.json").read_text())["r"]
    manifest = {
        "format": 1, "name": name, "kind": "adapter", "base": {"name": "policy", "config_hash": base_hash},
        "rank": rank, "thinking_format": "think", "files": files, "probe": probe,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def fake_probe(logprob: float = -2.0, base: float = -1.0, tolerance: float = 0.05) -> dict[str, Any]:
    """A probe that the fake engine passes for an adapter whose `logprob.txt` says `logprob`."""
    sequence = {"prompt_ids": [1, 2], "completion_ids": [3, 4, 5]}
    sequence |= {"logprobs_candidate": [logprob] * 3, "logprobs_base": [base] * 3}  # type: ignore[dict-item]
    return {"sequences": [sequence], "tolerance": tolerance}


def write_full(folder: Path, name: str, logprob: float, base_hash: str | None = None) -> dict[str, Any]:
    """Full weights of an imaginary model of two tensors, with their manifest."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    tensors = {"model.embed.weight": random.normal(size=(8, 4)), "lm_head.weight": random.normal(size=(8, 4))}
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 4}))
    return write_full_manifest(folder, name, fake_probe(logprob), base_hash)


def write_full_manifest(folder: Path, name: str, probe: dict[str, Any], base_hash: str | None) -> dict[str, Any]:
    """The manifest that a trainer writes last."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name == "config.json" or path.suffix == ".safetensors"
    }
    manifest = {
        "format": 1, "name": name, "kind": "full", "base": {"name": "policy", "config_hash": base_hash},
        "thinking_format": "think", "files": files, "probe": probe,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def add_full(database: Database, home: Path, logprob: float = -2.0) -> str:
    """A candidate of full weights, as a trainer leaves it. Returns its name."""
    with database.transaction() as session:
        row = checkpoints.reserve_checkpoint(session, 0, kind="full")
        row_id, name = row.id, row.name
    folder = home / "checkpoints" / name
    manifest = write_full(folder, name, logprob)
    (folder / "logprob.txt").write_text(str(logprob))
    with database.transaction() as session:
        checkpoints.complete_checkpoint(session, row_id, str(folder), manifest)
    return name


def add_checkpoint(database: Database, home: Path, logprob: float = -2.0, **config: Any) -> str:
    """A candidate with files and a row, as a trainer leaves it. Returns its name."""
    with database.transaction() as session:
        row = checkpoints.reserve_checkpoint(session, 0)
        row_id, name = row.id, row.name
    folder = write_adapter(home / "checkpoints" / name, config=config)
    (folder / "logprob.txt").write_text(str(logprob))
    manifest = write_manifest(folder, name, fake_probe(logprob))
    with database.transaction() as session:
        checkpoints.complete_checkpoint(session, row_id, str(folder), manifest)
    return name


def add_candidates(
    database: Database, home: Path, count: int, add: Callable[[Database, Path, float], str] = add_checkpoint
) -> list[str]:
    """So many candidates, each with a probe of its own; `add` makes one of a kind. Returns their names."""
    return [add(database, home, -2.0 - number / 10) for number in range(count)]
