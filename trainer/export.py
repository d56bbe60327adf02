"""A checkpoint for use elsewhere: its adapter as it is, or merged into the base as a model of its own."""

import os
import shutil
from pathlib import Path
from typing import Any

from trainer.files import fresh_folder, publish_folder, read_json, sha256
from trainer.policy import ADAPTER_FILES, base_hashes, is_adapter, load_tokenizer, local_folder, weight_files

CARD = "README.md"


class CannotExport(ValueError):
    """The checkpoint or its base is not what its manifest says; the message says what."""


def export_adapter(checkpoint: Path, target: Path) -> Path:
    """Copy the adapter with its manifest and card into the new folder `target`. Raises CannotExport."""
    check(checkpoint)
    if not is_adapter(checkpoint):
        raise CannotExport(f"{checkpoint.name} is full weights and no adapter; export it with --merged")
    aside = fresh_folder(_aside(target))
    for name in (*ADAPTER_FILES, "manifest.json", CARD):
        if (checkpoint / name).is_file():
            (aside / name).write_bytes((checkpoint / name).read_bytes())
    return publish_folder(aside, target)


def export_merged(checkpoint: Path, base: str, template: str, target: Path) -> Path:
    """Write base and adapter as one model with its tokenizer and chat template. Raises CannotExport.

    Full weights are one model already, and are copied as they are. An adapter is merged in float32, whatever the base
    is stored in: bfloat16 would round its small changes away.
    """
    manifest, folder = check(checkpoint), local_folder(base)
    made_for = manifest["base"]
    for name, found in base_hashes(folder).items():
        if name in made_for and made_for[name] != found:
            told = f"{name.replace('_', ' ')} {made_for[name]}, not {found}"
            raise CannotExport(f"{checkpoint.name} was made for another base than {base} ({told})")
    aside = fresh_folder(_aside(target))
    if is_adapter(checkpoint):
        _merge(folder, checkpoint, aside)
    else:
        for name in weight_files(checkpoint):
            shutil.copyfile(checkpoint / name, aside / name)
    load_tokenizer(folder, template).save_pretrained(aside)
    for name in (CARD, "manifest.json"):
        if (checkpoint / name).is_file():
            text = (checkpoint / name).read_text(encoding="utf-8").replace("name: peft", "name: transformers")
            (aside / ("ruminate.json" if name == "manifest.json" else name)).write_text(text, encoding="utf-8")
    return publish_folder(aside, target)


def _merge(base: Path, adapter: Path, aside: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True).save_pretrained(aside)


def check(checkpoint: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose files are what it says. Raises CannotExport."""
    try:
        manifest = read_json(checkpoint / "manifest.json")
        for name in weight_files(checkpoint):
            if sha256(checkpoint / name) != manifest["files"][name]:
                raise CannotExport(f"{checkpoint / name} was altered or cut off since it was published")
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, CannotExport):
            raise
        raise CannotExport(f"{checkpoint} is no published checkpoint ({error!r})") from error
    return manifest


def _aside(target: Path) -> Path:
    """A folder beside `target`; the place must be free."""
    if target.exists():
        raise CannotExport(f"{target} is there already; name a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{os.getpid()}.aside")
