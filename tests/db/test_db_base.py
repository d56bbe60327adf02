"""A base model is known by its weights: two of one shape have the same configuration."""

import json
import os
import shutil
from pathlib import Path

import pytest
from support.records import settle

from db import base
from db.base import told_weights, weights_hash
from db.errors import BaseChanged
from db.queries import checkpoints
from db.session import Database

TINY = Path(__file__).parents[2] / "models" / "tiny"


def test_two_models_of_one_configuration_are_two(tmp_path: Path) -> None:
    policy, zero = TINY / "policy", TINY / "zero"
    assert (policy / "config.json").read_bytes() == (zero / "config.json").read_bytes()
    assert weights_hash(policy) not in (None, weights_hash(zero))
    copied = tmp_path / "elsewhere"
    shutil.copytree(policy, copied)
    assert weights_hash(copied) == weights_hash(policy)
    (copied / "model.safetensors").unlink()
    assert weights_hash(copied) is None


def test_weights_that_were_written_anew_are_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    first = weights_hash(tmp_path)
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert weights_hash(tmp_path) not in (None, first)


def test_of_a_model_in_parts_each_counts_and_what_is_beside_them_does_not(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "1.safetensors"}}))
    (tmp_path / "1.safetensors").write_bytes(b"one")
    first = weights_hash(tmp_path)
    (tmp_path / "consolidated.safetensors").write_bytes(b"the same in another form")
    assert weights_hash(tmp_path) == first
    (tmp_path / "1.safetensors").write_bytes(b"another")
    assert weights_hash(tmp_path) != first


def test_what_was_found_of_large_files_outlives_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_LARGE", 1)
    file, notes = tmp_path / "model.safetensors", tmp_path / "notes.json"
    file.write_bytes(b"one")
    first = weights_hash(tmp_path, notes)
    monkeypatch.setattr(base, "_known", {})
    read: list[str] = []
    monkeypatch.setattr(base.hashlib, "file_digest", lambda *_: read.append("file"))  # type: ignore[attr-defined]
    assert (weights_hash(tmp_path, notes), read) == (first, [])
    monkeypatch.undo()
    monkeypatch.setattr(base, "_known", {})
    notes.write_text("no notes")
    assert weights_hash(tmp_path, notes) == first


def named(weights: str | None) -> dict[str, object]:
    known = {"name": "tiny", "config_hash": "c"} | ({"weights_hash": weights} if weights else {})
    return {"name": "v0", "base": known}


def test_a_database_keeps_the_weights_of_its_base(database: Database) -> None:
    with database.transaction() as session:
        checkpoints.ensure_base(session, "tiny", named("a"))
        checkpoints.ensure_base(session, "tiny", named("a"))
        checkpoints.ensure_base(session, "tiny", named(None))  # a base on another machine
        with pytest.raises(BaseChanged, match="'tiny of weights sha256:a', not on 'tiny of weights sha256:b'"):
            checkpoints.ensure_base(session, "tiny", named("b"))


def test_a_home_from_before_is_valid_and_learns_the_weights_from_its_next_checkpoint(database: Database) -> None:
    with database.transaction() as session:
        settle(session)  # v0 as it was written then
        made = checkpoints.reserve_checkpoint(session, 0)
        checkpoints.complete_checkpoint(session, made.id, "/v1", named(None))
        assert told_weights(checkpoints.ensure_base(session, "tiny", named("a")).manifest) is None
        checkpoints.ensure_base(session, "tiny", named("b"))  # nobody knows which one v1 was trained on
        later = checkpoints.reserve_checkpoint(session, made.id)
        checkpoints.complete_checkpoint(session, later.id, "/v2", named("a"))
        checkpoints.ensure_base(session, "tiny", named("a"))
        with pytest.raises(BaseChanged):
            checkpoints.ensure_base(session, "tiny", named("b"))


def test_a_home_from_before_with_nothing_but_its_base_takes_the_weights_over(database: Database) -> None:
    with database.transaction() as session:
        settle(session)
        assert told_weights(checkpoints.ensure_base(session, "tiny", named("a")).manifest) == "a"
        with pytest.raises(BaseChanged):
            checkpoints.ensure_base(session, "tiny", named("b"))
