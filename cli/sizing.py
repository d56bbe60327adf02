"""Reads what a budget is computed from (models, settings, machine), shows it, and refuses a start that can't fit."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cli.budget import BYTES, GIB, Machine, Model, Plan, from_config, needed, remedies, rows, trouble
from cli.cards import visible
from cli.checks import CannotStart
from cli.profiles import Profile
from cli.settings import HouseSettings

if TYPE_CHECKING:
    from rich.console import Console

_HUB_SECONDS = 5.0  # for a file of a few hundred bytes
PREFIX = "RUMINATE_TRAINER_"


def check_budget(settings: HouseSettings, profile: Profile, console: "Console", json_to: IO[str] | None = None) -> None:
    """Show the budget, or write it as JSON to `json_to`: `null` where there is none.

    Raises CannotStart where it can't fit and `check_budget` is on.
    """
    machine = machine_of(profile.gpu) if profile.cards <= 1 else None
    if machine is None:
        console.print(f"no budget: {_why_none(profile)}", highlight=False)
        if json_to:
            print("null", file=json_to)
        return
    plan = plan_of(settings, profile)
    if json_to:
        print(json.dumps(as_json(plan, machine), indent=2), file=json_to)
    else:
        show(plan, machine, console)
    said = refusal(plan, machine, profile)
    if said and settings.check_budget:
        raise CannotStart(said)
    if said:
        console.print(f"[yellow]{said}[/]", highlight=False)


def _why_none(profile: Profile) -> str:
    if profile.cards > 1:
        return f"it is counted for one card, and {profile.name} spreads over {profile.cards}"
    return "nvidia-smi does not tell what the card has"


def refusal(plan: Plan, machine: Machine, profile: Profile) -> str | None:
    """Why it can't fit and which settings change that; None where it can."""
    why = trouble(plan, machine)
    if why is None:
        return None
    if not machine.gpu and os.environ.get("RUMINATE_MIN_MEMORY_GIB"):
        return None  # somebody has said already how much is enough
    found = remedies(plan, machine)
    if found:
        what = f"set one of {', '.join(found)}" if len(found) > 1 else f"set {found[0]}"
    else:
        what = "no two settings make it fit: take a smaller RUMINATE_BASE_MODEL" + (
            " or RUMINATE_PROFILE=small" if profile.name == "single-gpu" else ""
        )
    return f"the profile {profile.name!r} does not fit: {why}; {what} (RUMINATE_CHECK_BUDGET=false to try all the same)"


def show(plan: Plan, machine: Machine, console: "Console") -> None:
    """The parts as a small table."""
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("budget")
    table.add_column("for")
    table.add_column("GiB", justify="right")
    last = ""
    for row in rows(plan, machine):
        size = "unknown" if row.size is None else f"{row.size / GIB:.2f}"
        table.add_row("" if row.part == last else row.part, row.what, size)
        last = row.part
    parts = rows(plan, machine)
    sign = "at least " if any(row.size is None for row in parts) else ""
    table.add_row("[bold]all[/]", "", f"[bold]{sign}{needed(plan, machine) / GIB:.2f}[/]")
    where = "on the card" if machine.gpu else "of memory"
    table.add_row("free", f"of {machine.total / GIB:.1f} GiB {where}", f"{machine.free / GIB:.2f}")
    console.print(table, highlight=False)


def as_json(plan: Plan, machine: Machine) -> dict[str, Any]:
    """The same for programs; sizes in bytes."""
    return {
        "rows": [{"part": row.part, "for": row.what, "bytes": row.size} for row in rows(plan, machine)],
        "needed": needed(plan, machine),
        "free": machine.free,
        "total": machine.total,
        "trouble": trouble(plan, machine),
        "remedies": remedies(plan, machine) if trouble(plan, machine) else [],
    }


def plan_of(settings: HouseSettings, profile: Profile) -> Plan:
    """What the house would run. Settings of rounds that are wrong are the trainer's to refuse; defaults stand in."""
    size, base = profile.engine, model_of(profile.base_model)
    trained = _trainer_settings(profile)
    plan = Plan(
        base,
        max_model_len=size.max_model_len,
        max_num_seqs=size.max_num_seqs,
        engine_bytes=BYTES.get(size.dtype, base.stored if base else 2),
        utilization=size.gpu_memory_utilization,
        kv_gib=size.kv_cache_gib,
        max_loras=size.max_loras,
        max_lora_rank=size.max_lora_rank,
        trains=settings.trainer,
    )
    if not settings.trainer or trained is None:
        return plan
    config = trained.round_config({}, trained.seed)
    full = config.weights == "full"
    values = {name: getattr(config, name) for name in _OF_A_ROUND}
    return Plan(
        **{
            **vars(plan),
            **values,
            "classifiers": tuple(_classifiers(profile)),
            "engines": 2 if full and not trained.sampling_engine else 1,
            "full": full,
            "reference": _measures_from_another(config) and (full or config.reference == "round_start"),
            "trained_bytes": BYTES.get(config.dtype, 2 if profile.gpu else 4),
        }
    )


def _measures_from_another(config: Any) -> bool:
    """Whether a round compares the policy with a reference: dpo always does, sft never."""
    return config.algorithm == "dpo" or (config.algorithm != "sft" and config.kl_beta > 0)


_OF_A_ROUND = ("algorithm", "lora_rank", "micro_batch", "max_prompt_tokens", "max_completion_tokens")


def machine_of(gpu: bool) -> Machine | None:
    """The first visible card by nvidia-smi, or main memory; None where nvidia-smi says nothing."""
    if not gpu:
        import psutil

        memory = psutil.virtual_memory()
        return Machine(False, memory.total, memory.available)
    cards = visible()
    if not cards or cards[0].total is None or cards[0].free is None:
        return None
    return Machine(True, cards[0].total, cards[0].free)


def model_of(name: str) -> Model | None:
    """The sizes of a model in a folder or at a hub, where its configuration can be had; None: unknown."""
    try:
        config = json.loads(_file(name, "config.json").read_text(encoding="utf-8"))
        return from_config(config, _on_disk(name))
    except (OSError, ValueError, TypeError):
        return None


def _on_disk(name: str) -> int | None:
    """Bytes of a model's weights: as its index says, or the sizes of a folder's files; None where neither is there."""
    folder = Path(name)
    if folder.is_dir():
        sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
        return sum(sizes) or None
    try:
        index = json.loads(_file(name, "model.safetensors.index.json").read_text(encoding="utf-8"))
        return int(index["metadata"]["total_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(name: str, file: str) -> Path:
    """Where a model's file is; a hub's is taken from the cache, else fetched. Raises OSError."""
    if Path(name).exists():
        return Path(name) / file
    import httpx2  # what huggingface_hub asks with
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    found = try_to_load_from_cache(name, file)
    if isinstance(found, str):
        return Path(found)
    try:
        # asked once: the download would ask a hub that is not there five times more, with ever longer pauses
        get_hf_file_metadata(hf_hub_url(name, file), timeout=_HUB_SECONDS)
        return Path(hf_hub_download(name, file, etag_timeout=_HUB_SECONDS))
    except httpx2.HTTPError as error:
        raise OSError(str(error)) from error


def _classifiers(profile: Profile) -> list[tuple[str, Model | None]]:
    """Those of the reward and the judge that run in the trainer's process, with the name of their part."""
    from trainer.reward_file import read_reward_file

    found: list[tuple[str, Model | None]] = []
    for part, setting, name in (
        ("reward", "REWARD_MODEL", profile.reward_model),
        ("judge", "JUDGE_MODEL", profile.judge_model),
    ):
        name = os.environ.get(PREFIX + setting) or name
        if not name.endswith(".toml"):
            found.append((part, model_of(name)))
            continue
        try:
            models = read_reward_file(name).models
        except (OSError, ValueError):
            continue  # the trainer says what is wrong with it
        found += [(part, model_of(one.model)) for one in models if one.kind == "classifier"]
    return found


def _trainer_settings(profile: Profile, env: Mapping[str, str] = os.environ) -> Any:
    """The trainer's settings as the house will start it; None where they are wrong."""
    from trainer.settings import BadSetting, read_settings

    below = {} if env.get(PREFIX + "DEFAULTS") else {"defaults": profile.trainer_defaults}
    try:
        found = read_settings(**below)
        found.round_config({}, found.seed)
    except BadSetting:
        return None
    return found
