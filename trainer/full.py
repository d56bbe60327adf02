"""Full weights as files and as a model under training: where a round starts, how what it learnt becomes a folder.

A folder of full weights has the base's config.json, its tensors by name and shape, in the type that the base is stored
in. Training itself is in float32; what is saved is rounded, and what is trained on goes on unrounded.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.files import fresh_folder, publish_folder

if TYPE_CHECKING:
    from trainer.work import Work

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
START = "start"
"""In a round's folder: base and adapter as one model, where the parent is an adapter."""


def full_files(folder: Path) -> tuple[str, ...]:
    """What makes up the full weights in `folder`."""
    names = [path.name for path in folder.iterdir() if path.suffix == ".safetensors" or path.name == INDEX]
    return (CONFIG, *sorted(names))


def start_of(work: "Work", base: Path) -> Path:
    """The folder of whole weights that a round starts from. Merges a parent that is an adapter into the base, once."""
    parent = work.parent
    if parent.path is None or parent.kind == "full":
        return parent.path or base
    start = work.folder / START
    if not start.is_dir():
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        merged = PeftModel.from_pretrained(model, parent.path).merge_and_unload(safe_merge=True)
        aside = fresh_folder(start.with_name(f".{START}.aside"))
        merged.save_pretrained(aside)
        publish_folder(aside, start)
    return start


def load_full(work: "Work", base: Path) -> Any:
    """The policy under training. Its `_name_or_path` is where TRL takes the reference from."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(work.config.seed)
    start = start_of(work, base)
    model = load_whole(AutoModelForCausalLM, start)
    model.config._name_or_path = str(base if work.config.reference == "base" else start)
    return model


def load_whole(kind: Any, folder: Path) -> Any:
    """The model in `folder`, by transformers' class `kind`, in float32, on the card where there is one.

    Over several cards layer by layer, as TRL then loads the reference too; one card works at a time.
    """
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    split = {"device_map": "balanced"} if cards > 1 else {}
    model: Any = kind.from_pretrained(folder, dtype=torch.float32, **split)
    return model.to("cuda") if cards == 1 else model


def save_full(model: Any, final: Path, base: Path) -> Path:
    """Write the weights under training as a folder that is there whole or not at all."""
    stored = stored_type(base)
    rounded: dict[int, Any] = {}  # tied tensors stay one
    state = {
        name: rounded.setdefault(tensor.data_ptr(), _as(tensor.detach(), stored))
        for name, tensor in model.state_dict().items()
    }
    aside = fresh_folder(final.with_name(f".{final.name}.aside"))
    model.save_pretrained(aside, state_dict=state)
    for path in aside.iterdir():
        if path.name not in full_files(aside):
            path.unlink()
    shutil.copyfile(base / CONFIG, aside / CONFIG)
    return publish_folder(aside, final)


def copy_full(source: Path, final: Path, base: Path) -> Path:
    """Copy full weights, and nothing else, into a new folder; a saved state's are rounded."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    stored = stored_type(base)
    aside = fresh_folder(final.with_name(f".{final.name}.aside"))
    for name in full_files(source):
        if name.endswith(".safetensors"):
            with safe_open(source / name, "pt") as file:
                tensors = {key: _as(file.get_tensor(key), stored) for key in file.keys()}  # noqa: SIM118  no mapping
            save_file(tensors, aside / name, metadata={"format": "pt"})
        else:
            shutil.copyfile((base if name == CONFIG else source) / name, aside / name)
    return publish_folder(aside, final)


def stored_type(base: Path) -> Any:
    """The torch type that the base's config names."""
    import torch

    config = json.loads((base / CONFIG).read_text(encoding="utf-8"))
    return getattr(torch, config.get("dtype") or config.get("torch_dtype") or "bfloat16")


def ties_embeddings(base: Path) -> bool:
    """Whether input and output embeddings are one tensor."""
    return bool(json.loads((base / CONFIG).read_text(encoding="utf-8")).get("tie_word_embeddings"))


def _as(tensor: Any, stored: Any) -> Any:
    return tensor.to(stored) if tensor.is_floating_point() else tensor
