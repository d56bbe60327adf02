"""A round that has published a checkpoint: rows and files as a trainer leaves them, weights that an engine can load.

The weights are random and the figures made up; everything that reads them is real.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from support.adapters import write_manifest
from support.fake_rounds import VERDICT, metrics
from support.tiny_adapters import tiny_probe, write_tiny_adapter

from db.queries import checkpoints, curation, rounds
from db.session import Database
from db.values import CuratedPrompt

OWNER = "trainer-1"
STEPS = 12
CHANGE = 0.03  # so small that the answers still read like answers
SAMPLES = [
    {"prompt": "Name a soup.", "before": "Soup.", "after": "Leek and potato soup."},
    {"prompt": "Name a tea.", "before": "Tea.", "after": "Green tea."},
]


@dataclass(frozen=True)
class Learnt:
    """A recorded prompt that the round trained on."""

    message: str
    conversation: str
    user: str
    words: str


def publish_round(database: Database, home: Path, base: Path, service: httpx.Client, learnt: Learnt) -> str:
    """Round 1: asked for, trained, judged, and its checkpoint made live by the gateway, as the trainer asks it to.

    `service` carries the trainer's key. Returns the checkpoint's name.
    """
    with database.transaction() as session:
        asked = rounds.request_round(session, "grpo", {"steps": STEPS}, "", "prompts", "200 new prompts", seed=7)
        claimed = rounds.claim_round(session, OWNER, 600)
        assert claimed is not None
        assert claimed.id == asked.id
        rounds.save_progress(session, asked.id, OWNER, "train", STEPS, total_steps=STEPS, parent_id=0)
        curation.save_prompts(session, asked.id, OWNER, _prompts(learnt))
        add_steps(session, asked.id, STEPS)
        reserved = checkpoints.reserve_checkpoint(session, 0, asked.id)
        round_id, checkpoint_id, name = asked.id, reserved.id, reserved.name
    folder = write_tiny_adapter(base, home / "checkpoints" / name, seed=5, scale=CHANGE)
    base_hash = hashlib.sha256((base / "config.json").read_bytes()).hexdigest()
    manifest = write_manifest(folder, name, tiny_probe(base, folder), base_hash)
    manifest |= {"parent": "v0", "round": round_id, "verdict": VERDICT, "samples": SAMPLES}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with database.transaction() as session:
        checkpoints.complete_checkpoint(session, checkpoint_id, str(folder), manifest)
    wish = {"checkpoint": name, "by": f"round {round_id}", "reason": VERDICT["words"], "expected_live": "v0"}
    service.post("/internal/deploy", json=wish).raise_for_status()
    with database.transaction() as session:
        rounds.finish_round(session, round_id, OWNER, "published", verdict=VERDICT, candidate=checkpoint_id)
    return name


def add_steps(session: Any, round_id: int, steps: int) -> None:
    """What a trainer measures, step by step."""
    for name, points in metrics(steps).items():
        for step, value in points:
            rounds.add_metrics(session, round_id, step, {name: float("nan") if value is None else value}, owner=OWNER)


def _prompts(learnt: Learnt) -> list[CuratedPrompt]:
    mix = [
        CuratedPrompt(position, "mix", "train", "kept", "", [{"role": "user", "content": one["prompt"]}])
        for position, one in enumerate(SAMPLES)
    ]
    said = [{"role": "user", "content": learnt.words}]
    ids = {"message_id": learnt.message, "conversation_id": learnt.conversation, "user_id": learnt.user}
    return [*mix, CuratedPrompt(len(mix), "recorded", "train", "kept", "", said, **ids)]
