"""A judged adapter becomes a checkpoint: reserved, written aside, its manifest last, then made live or put away.

Every step can be repeated: a trainer that died here goes on where the files and rows say that it was.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from db.base import NOTES
from db.values import CheckpointState
from thinking.templates import template_hash
from trainer.card import card
from trainer.exam import SAMPLES
from trainer.files import fresh_folder, publish_folder, read_json, sha256, write_json
from trainer.full import start_of
from trainer.gateway import GatewayError
from trainer.policy import base_hashes, is_adapter, local_folder, prompt_ids, weight_files
from trainer.probe import make_probe
from trainer.prompts import Prompt
from trainer.refresh import title
from trainer.rollout import seed_of
from trainer.versions import Versions
from trainer.work import PLAN, Work

FORMAT = 1
PROBE_PROMPTS = 24


class LiveChanged(RuntimeError):
    """Something else was made live since this round began; its candidate was judged against what no longer answers."""


def write_checkpoint(work: Work, adapter: Path, verdict: dict[str, Any], mix: Sequence[Prompt]) -> tuple[int, str]:
    """Reserve a checkpoint and put its folder in place. Returns its id and name. `mix`: prompts for the probe.

    Raises ValueError where other weights stand in that place.
    """
    reserved = work.ledger.reserve(work.parent.id, "adapter" if is_adapter(adapter) else "full")
    final = (work.settings.home / "checkpoints" / reserved.name).absolute()
    files = weight_files(adapter)
    if not final.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = fresh_folder(final.with_name(f".{final.name}.aside"))
        for name in files:
            shutil.copyfile(adapter / name, aside / name)
        said = manifest(work, reserved.name, aside, adapter, verdict, mix)
        (aside / "README.md").write_text(card(said), encoding="utf-8")
        write_json(aside / "manifest.json", said)
        publish_folder(aside, final)
    elif any(not (final / name).is_file() or sha256(final / name) != sha256(adapter / name) for name in files):
        raise ValueError(
            f"{final} is there already with other weights, so it is another database's; move {final.parent} away, or "
            f"give this database a home of its own (RUMINATE_HOME)"
        )
    work.ledger.complete(reserved.id, str(final), read_json(final / "manifest.json"))
    return reserved.id, reserved.name


def manifest(
    work: Work, name: str, folder: Path, adapter: Path, verdict: dict[str, Any], mix: Sequence[Prompt]
) -> dict[str, Any]:
    """What a checkpoint is, where it came from, the hashes of its files, and how an engine proves that it serves it."""
    settings, base = work.settings, local_folder(work.settings.base_model)
    return {
        "format": FORMAT,
        "name": name,
        "kind": "adapter" if is_adapter(folder) else "full",
        "base": {"name": settings.base_model.rstrip("/").rsplit("/", 1)[-1]} | base_hashes(base, settings.home / NOTES),
        **({"rank": json.loads((folder / "adapter_config.json").read_text())["r"]} if is_adapter(folder) else {}),
        "thinking_format": work.reader.format.id,
        "template_hash": template_hash(settings.template),
        "parent": work.parent.name,
        "round": work.round_id,
        "config": work.config.model_dump(),
        "reward": title(read_json(work.folder / PLAN).get("reward", settings.reward_model)),
        "files": {file: sha256(folder / file) for file in weight_files(folder)},
        "probe": make_probe(base, adapter, _completions(work, adapter, mix), _parent(work, base)),
        "prompts": work.ledger.learnt_from(),
        "verdict": verdict,
        "samples": read_json(work.folder / SAMPLES) if (work.folder / SAMPLES).is_file() else [],
    }


def make_live(work: Work, checkpoint: str, reason: str) -> None:
    """Ask the gateway to load, probe and flip, or to put it on trial, as the house has it.

    Raises LiveChanged, or GatewayError with its reason.
    """
    if work.ledger.found(checkpoint).state != CheckpointState.CANDIDATE:
        return  # an earlier attempt got through, and what was made of it since is not this round's to change
    try:
        work.gateway.deploy(checkpoint, work.parent.name, f"round {work.round_id}", reason)
    except GatewayError as error:
        if checkpoint in work.ledger.deployed():
            return  # an earlier attempt got through, and its answer was lost
        live = work.ledger.live()
        if live is not None and live.name != work.parent.name:
            raise LiveChanged(
                f"{live.name} is live; {checkpoint} was judged against {work.parent.name}. Start another round"
            ) from error
        raise


def _parent(work: Work, base: Path) -> Path | None:
    """The weights that the candidate was trained from, of its kind; None for the base."""
    if work.parent.path is None or work.config.weights != "full":
        return work.parent.path
    return start_of(work, base)


def _completions(work: Work, adapter: Path, mix: Sequence[Prompt]) -> list[tuple[list[int], list[int]]]:
    """Answers of the candidate to a few prompts of the mix."""
    versions = Versions(work)
    versions.clear()
    versions.publish_copy(adapter, work.config.steps + 1)
    ids = [prompt_ids(work.reader.tokenizer, prompt.messages) for prompt in mix[:PROBE_PROMPTS]]
    samples = versions.sample(ids, 1, work.config.max_completion_tokens, 1.0, seed_of("probe", work.config.seed))
    versions.clear()
    return [(ids[sample.prompt], sample.token_ids) for sample in samples]
