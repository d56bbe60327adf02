"""Checkpoints for the benches of swaps: the base with random LoRA matrices, in the form that a trainer gives
them. A swap does not care what they learnt."""

import json
from pathlib import Path
from typing import Any

from cli.profiles import TINY

STRENGTH = 0.15  # of an adapter; with 0.15 each of five checkpoints answers 23 of 24 prompts in words of its own


def prompts(count: int) -> list[list[dict[str, str]]]:
    """Conversations of the small world."""
    lines = (Path(TINY.base_mix).parent / "heldout.jsonl").read_text().splitlines()[:count]
    return [json.loads(line)["messages"] for line in lines]


def write_weights(folder: Path, name: str, seed: int, full: bool = False) -> dict[str, Any]:
    """A random adapter, or the base merged with it as full weights: files with a manifest, which it returns."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trainer.files import sha256, write_json
    from trainer.full import save_full
    from trainer.policy import base_hashes, prompt_ids, save_adapter, weight_files
    from trainer.probe import make_probe

    base = Path(TINY.base_model)
    tokenizer = AutoTokenizer.from_pretrained(base)
    thought = list(tokenizer("<think>\nA plan for this.")["input_ids"])
    pairs = [(prompt_ids(tokenizer, messages), thought) for messages in prompts(16)]
    torch.manual_seed(seed)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    policy = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for key, weight in policy.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(weight, std=STRENGTH)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if full:
        save_full(policy.merge_and_unload(), folder, base)
    else:
        save_adapter(policy, folder)
    manifest = {
        "format": 1,
        "name": name,
        "kind": "full" if full else "adapter",
        "base": {"name": base.name} | base_hashes(base),
        "rank": 8,
        "files": {file: sha256(folder / file) for file in weight_files(folder)},
        "probe": make_probe(base, folder, pairs),
    }
    write_json(folder / "manifest.json", manifest)
    return manifest
