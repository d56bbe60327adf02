"""Weights are read whole once for a deployment and all of its engines, and again as soon as somebody wrote to them."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.adapters import fake_probe, write_adapter, write_manifest
from support.gateways import running_gateway

from db.base import weights_hash
from db.errors import BaseChanged
from server import inspection, tensors
from server.inspection import KNOWN_SECONDS, Inspection
from server.keeper import Adapter
from server.manifest import Unfit, config_hash

TINY = Path(__file__).parents[2] / "models" / "tiny"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which checkpoints' files were read."""
    names: list[str] = []
    check = inspection.check_checkpoint

    def counted(path: Path, name: str, *args: Any, **more: Any) -> dict[str, Any]:
        names.append(name)
        return check(path, name, *args, **more)

    monkeypatch.setattr(inspection, "check_checkpoint", counted)
    return names


def published(folder: Path, name: str) -> Adapter:
    write_adapter(folder)
    write_manifest(folder, name, fake_probe())
    return Adapter(f"ruminate-{name}", str(folder), fake_probe())


def altered(file: Path) -> None:
    """Of the same length and the same time of writing, as by somebody who hides it."""
    stood = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(stood.st_atime_ns, stood.st_mtime_ns))


def test_what_was_found_in_order_is_read_once_until_it_is_written_to(tmp_path: Path, read: list[str]) -> None:
    look = Inspection(SimpleNamespace(base=None), max_rank=16).look  # type: ignore[arg-type]
    one, other = published(tmp_path / "v1", "v1"), published(tmp_path / "v2", "v2")
    for adapter in (one, one, other, one, other):
        look(adapter)
    assert read == ["v1", "v2"]
    altered(tmp_path / "v1" / "adapter_model.safetensors")
    for _ in range(2):  # and what was refused is read each time
        with pytest.raises(Unfit, match="altered or cut off"):
            look(one)
    look(other)
    assert read == ["v1", "v2", "v1", "v1"]


def test_what_was_found_in_order_long_ago_is_read_again(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Inspection(SimpleNamespace(base=None), max_rank=16).look  # type: ignore[arg-type]
    adapter, now = published(tmp_path / "v1", "v1"), 1000.0
    monkeypatch.setattr(inspection, "time", SimpleNamespace(monotonic=lambda: now))
    look(adapter)
    now += KNOWN_SECONDS + 1
    look(adapter)
    assert read == ["v1", "v1"]


def test_files_that_are_gone_are_not_taken_for_those_that_were_there(tmp_path: Path) -> None:
    look = Inspection(SimpleNamespace(base=None), max_rank=16).look  # type: ignore[arg-type]
    adapter = published(tmp_path / "v1", "v1")
    look(adapter)
    (tmp_path / "v1").rename(tmp_path / "away")
    with pytest.raises(Unfit, match="not readable"):
        look(adapter)


def test_files_of_another_form_are_refused_in_words_and_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks after an engine outlives them, and so does the gateway."""
    look = Inspection(SimpleNamespace(base=None), max_rank=16).look  # type: ignore[arg-type]
    folder = tmp_path / "step"
    write_adapter(folder)
    step = Adapter("round-1-step-1", str(folder))
    look(step)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"rank_pattern": [1]}))
    with pytest.raises(Unfit, match=f"{folder}: its files are not as a checkpoint's"):
        look(step)
    (folder / "adapter_config.json").write_text(json.dumps(config))

    def goes(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError(folder / "adapter_model.safetensors")

    monkeypatch.setattr(tensors.np, "memmap", goes)
    with pytest.raises(Unfit, match="went meanwhile"):
        look(step)


@pytest.mark.parametrize("hashed", [True, False])
def test_an_adapter_of_another_base_of_the_same_configuration_is_refused(tmp_path: Path, hashed: bool) -> None:
    adapter, base = published(tmp_path / "v1", "v1"), TINY / "policy"
    manifest = json.loads((tmp_path / "v1" / "manifest.json").read_text())
    manifest["base"] = {"config_hash": config_hash(base)} | ({"weights_hash": weights_hash(base)} if hashed else {})
    (tmp_path / "v1" / "manifest.json").write_text(json.dumps(manifest))
    Inspection(SimpleNamespace(base=base), max_rank=16).look(adapter)  # type: ignore[arg-type]
    other = Inspection(SimpleNamespace(base=TINY / "zero"), max_rank=16)  # type: ignore[arg-type]
    if hashed:
        with pytest.raises(Unfit, match="made for another base model .weights hash"):
            other.look(adapter)
    else:  # as it was written before: nothing says which
        other.look(adapter)


async def test_a_house_with_the_weights_of_another_base_does_not_start(tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "home", ["http://127.0.0.1:9"], base_model=str(TINY / "policy")) as running:
        running.gateway.found_base(str(TINY / "policy"))
        with pytest.raises(BaseChanged, match="stand on the base model 'policy of weights .* not on 'zero of weights"):
            running.gateway.found_base(str(TINY / "zero"))
