"""Adapters of the tiny policy with a visible effect, published as a trainer would: files, probe, manifest, row."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from support.adapters import write_full_manifest, write_manifest, write_safetensors

from db.queries import checkpoints
from db.session import Database

_ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_tiny_adapter(base: Path, folder: Path, seed: int, scale: float = 0.2, rank: int = 8) -> Path:
    """Random low-rank changes to every linear layer of `base`, large enough to change its answers."""
    config = json.loads((base / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    wide, narrow = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {
        "self_attn.q_proj": (hidden, wide), "self_attn.k_proj": (hidden, narrow), "self_attn.v_proj": (hidden, narrow),
        "self_attn.o_proj": (wide, hidden), "mlp.gate_proj": (hidden, inner), "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }  # fmt: skip
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (before, after) in shapes.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{prefix}.lora_A.weight"] = random.normal(size=(rank, before)) / before**0.5
            tensors[f"{prefix}.lora_B.weight"] = random.normal(size=(after, rank)) * scale / rank**0.5
    folder.mkdir(parents=True)
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "bias": "none",
        "target_modules": list(_ALL), "base_model_name_or_path": str(base),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def write_tiny_full(base: Path, folder: Path, seed: int, scale: float = 0.05) -> Path:
    """The weights of `base` with noise of `scale` times each tensor's spread, large enough to change its answers."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    dice = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        wide = tensor.float()
        spread = wide.std() if wide.numel() > 1 else 0.0
        tensors[name] = (wide + scale * spread * torch.randn(wide.shape, generator=dice)).to(tensor.dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(base / "config.json", folder / "config.json")
    return folder


def publish_tiny_full(database: Database, home: Path, base: Path, seed: int) -> str:
    """A candidate of full weights in the shape of the tiny policy, with a probe. Returns its name."""
    return _published(database, home, base, seed, "full", write_tiny_full, write_full_manifest)


def publish_tiny(database: Database, home: Path, base: Path, seed: int) -> str:
    """A candidate of the tiny policy with a probe of the trainer's own making. Returns its name."""
    return _published(database, home, base, seed, "adapter", write_tiny_adapter, write_manifest)


def _published(
    database: Database,
    home: Path,
    base: Path,
    seed: int,
    kind: str,
    write: Callable[[Path, Path, int], Path],
    told: Callable[[Path, str, dict[str, Any], str], dict[str, Any]],
) -> str:
    with database.transaction() as session:
        row = checkpoints.reserve_checkpoint(session, 0, kind=kind)
        row_id, name = row.id, row.name
    folder = write(base, home / "checkpoints" / name, seed)
    base_hash = hashlib.sha256((base / "config.json").read_bytes()).hexdigest()
    manifest = told(folder, name, tiny_probe(base, folder), base_hash)
    with database.transaction() as session:
        checkpoints.complete_checkpoint(session, row_id, str(folder), manifest)
    return name


def tiny_probe(base: Path, weights: Path) -> dict[str, Any]:
    """A probe of the trainer's own making."""
    from transformers import AutoTokenizer

    from trainer.probe import make_probe

    tokenizer = AutoTokenizer.from_pretrained(base)
    sequences = []
    for ask in ("name red cat", "tell me of a dog", "write two lines"):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": ask}], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        sequences.append(
            (prompt, tokenizer("<think>\nplan cat\n</think>\n\nred red", add_special_tokens=False)["input_ids"])
        )
    return make_probe(base, weights, sequences)
