"""An exported checkpoint is pushed to the hub that the environment names, whole, and refusals are said in words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_hub import TOKEN, FakeHub
from typer.testing import CliRunner

from cli import main
from cli.checks import CannotStart
from trainer.export import CannotExport
from trainer.files import sha256, write_json
from trainer.hub import push

FILES = {"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": bytes(range(256)) * 40}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub()
    monkeypatch.setenv("HF_ENDPOINT", fake.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield fake
    fake.close()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An adapter with its manifest and card, as a trainer leaves it."""
    folder = tmp_path / "checkpoints" / "v3"
    folder.mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    write_json(folder / "manifest.json", {"name": "v3", "files": {name: sha256(folder / name) for name in FILES}})
    (folder / "README.md").write_text("---\nlibrary_name: peft\n---\n# v3\n")
    return folder


class Gateway:
    """Knows one checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, *_: object) -> None: ...

    def get(self, path: str) -> dict[str, str]:
        assert path == "/api/checkpoints/v3"
        return {"name": "v3", "path": str(self._path)}


def ruminate(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, *arguments: str):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(main, "_client", lambda: Gateway(checkpoint))
    return CliRunner().invoke(main.app, ["export", "v3", *arguments])


def test_a_checkpoint_is_pushed_whole_into_a_repository_that_nobody_else_sees(
    hub: FakeHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # the second time the repository is there
        ended = ruminate(monkeypatch, checkpoint, "--push", "ann/ruminate-v3")
        assert ended.exit_code == 0, ended.output
        assert ended.output.strip().endswith(f"pushed v3 to {hub.url}/ann/ruminate-v3")
    files = hub.repos["ann/ruminate-v3"]
    assert {name: files[name] for name in FILES} == FILES
    assert set(files) - {".gitattributes"} == {*FILES, "manifest.json", "README.md"}
    assert hub.private["ann/ruminate-v3"]
    assert hub.messages == ["v3, by Ruminate"] * 2


def test_a_copy_stays_where_a_folder_is_named(
    hub: FakeHub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ruminate(monkeypatch, checkpoint, str(tmp_path / "copy"), "--push", "ann/v3")
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "copy" / "adapter_model.safetensors").read_bytes() == FILES["adapter_model.safetensors"]
    assert "ann/v3" in hub.repos


def test_nothing_is_pushed_unless_it_is_asked_for(
    hub: FakeHub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ruminate(monkeypatch, checkpoint, str(tmp_path / "copy")).exit_code == 0
    assert ruminate(monkeypatch, checkpoint).exit_code == 2
    assert hub.repos == {}


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("HF_TOKEN", "", "set HF_TOKEN"),
        ("HF_TOKEN", "wrong", "ann/v3 was not pushed: .*401"),
        ("HF_ENDPOINT", "http://127.0.0.1:1", "ann/v3 was not pushed"),
    ],
)
def test_why_it_was_not_pushed_is_said(
    hub: FakeHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CannotExport, match=why):
        push(checkpoint, "ann/v3", "a test")
    ended = ruminate(monkeypatch, checkpoint, "--push", "ann/v3")
    assert isinstance(ended.exception, CannotStart)


def test_a_name_that_no_repository_can_have_is_refused(hub: FakeHub, checkpoint: Path) -> None:
    with pytest.raises(CannotExport, match="was not pushed"):
        push(checkpoint, "ann/v3/4", "a test")
