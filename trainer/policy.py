"""The policy under training: a frozen base with a LoRA adapter, new or continued, or full weights; as a folder, too.

Leaves out how it learns (`trainer.grpo`) and where it is served.
"""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.base import weights_hash
from trainer.files import fresh_folder, publish_folder, sha256
from trainer.full import copy_full, full_files, load_full, save_full
from trainer.round_config import RoundConfig

if TYPE_CHECKING:
    from trainer.work import Work

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")


def policy_of(work: "Work") -> Any:
    """What a round trains: as its config says, an adapter or all weights."""
    base = local_folder(work.settings.base_model)
    if work.config.weights == "full":
        return load_full(work, base)
    return load_policy(base, work.parent.path, work.config)


def load_policy(base: Path, parent: Path | None, config: RoundConfig) -> Any:
    """A PeftModel over `base`: the adapter in `parent` continued, or (None) a new one on all linear layers.

    A new adapter's first matrix is random from `config.seed`, its second zero: it starts as the base.
    """
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(config.seed)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch_dtype(config.dtype))
    if torch.cuda.is_available():
        model = model.to("cuda")
    if parent is not None:
        return PeftModel.from_pretrained(model, parent, is_trainable=True)
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",  # without the output layer, which an engine could not swap
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def let_go() -> None:
    """Give back the memory of policies that nobody uses any more: TRL's trainers hold themselves in circles."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def local_folder(model: str) -> Path:
    """Where a model's files are; those of a hub's model are fetched first, where a hub can be reached."""
    if Path(model).exists():
        return Path(model)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model))


def torch_dtype(name: str) -> Any:
    """The torch type of the frozen weights; "auto" by whether there is a GPU."""
    import torch

    if name == "auto":
        name = "bfloat16" if torch.cuda.is_available() else "float32"
    return getattr(torch, name)


def load_tokenizer(base: Path, template: str) -> Any:
    """The base's tokenizer with the chat template that the engine is started with."""
    from transformers import AutoTokenizer

    from thinking.templates import template_text

    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    tokenizer.chat_template = template_text(template)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def prompt_ids(tokenizer: Any, messages: list[dict[str, Any]]) -> list[int]:
    """The token ids that the engine would see for this conversation, up to where the model writes."""
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False))


def eos_ids(tokenizer: Any, base: Path) -> frozenset[int]:
    """Every id that ends a turn: the tokenizer's and those of the base's generation config."""
    from transformers import GenerationConfig

    listed: Any = None
    if (base / "generation_config.json").is_file():
        listed = GenerationConfig.from_pretrained(base).eos_token_id
    extra = listed if isinstance(listed, list) else [listed]
    return frozenset(token for token in [tokenizer.eos_token_id, *extra] if token is not None)


def is_adapter(folder: Path) -> bool:
    """Whether these are the weights of an adapter, and not full ones."""
    return (folder / "adapter_config.json").is_file()


def weight_files(folder: Path) -> tuple[str, ...]:
    """What makes up the weights in `folder`."""
    return ADAPTER_FILES if is_adapter(folder) else full_files(folder)


def save_weights(model: Any, final: Path, work: "Work") -> Path:
    """Write the weights under training as a folder that is there whole or not at all."""
    if work.config.weights == "full":
        return save_full(model, final, local_folder(work.settings.base_model))
    return save_adapter(model, final)


def copy_weights(source: Path, final: Path, work: "Work") -> Path:
    """Copy weights, and nothing else, into a new folder."""
    if work.config.weights == "full":
        return copy_full(source, final, local_folder(work.settings.base_model))
    return copy_adapter(source, final)


def save_adapter(model: Any, final: Path) -> Path:
    """Write the adapter under training as a folder that is there whole or not at all."""
    aside = fresh_folder(final.with_name(f".{final.name}.aside"))
    model.save_pretrained(aside, selected_adapters=["default"])
    return publish_folder(aside, final)


def copy_adapter(source: Path, final: Path) -> Path:
    """Copy an adapter's files, and nothing else, into a new folder."""
    aside = fresh_folder(final.with_name(f".{final.name}.aside"))
    for name in ADAPTER_FILES:
        (aside / name).write_bytes((source / name).read_bytes())
    return publish_folder(aside, final)


def base_hashes(base: Path, notes: Path | None = None) -> dict[str, str]:
    """What tells one base from another in a manifest: the hash of its config, and that of its weights, since models of
    one shape share the first. `notes`: as in `db.base`."""
    weights = weights_hash(base, notes)
    return {"config_hash": sha256(base / "config.json")} | ({"weights_hash": weights} if weights else {})
