"""Adapters of a round are kept while its trainer deletes its older states."""

import shutil
from pathlib import Path

from support.waiting import wait_until

from bench.kept import Keeper, keep, kept


def state(folder: Path, step: int, whole: bool = True) -> Path:
    """A saved state as the trainer leaves it; its mark is written last."""
    made = folder / "states" / f"checkpoint-{step}"
    made.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "adapter_config.json", "optimizer.pt"):
        (made / name).write_text(f"{name} of step {step}")
    if whole:
        (made / "complete.json").write_text("{}")
    return made


def test_every_second_adapter_is_kept_although_its_state_is_deleted(tmp_path: Path) -> None:
    to = tmp_path / "kept"
    with Keeper(tmp_path / "round", to, every=2) as keeper:
        for step in range(1, 6):
            made = state(tmp_path / "round", step)
            saw = (lambda: list(kept(to))) if step % 2 == 0 else (lambda: list(keeper.saved))
            wait_until(saw, f"step {step} was not seen", lambda steps, step=step: step in steps)
            shutil.rmtree(made)
    assert list(kept(to)) == [2, 4]
    assert sorted(path.name for path in kept(to)[4].iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (kept(to)[4] / "adapter_model.safetensors").read_text() == "adapter_model.safetensors of step 4"
    assert sorted(keeper.saved) == [1, 2, 3, 4, 5]
    assert keeper.missing(5) == []
    assert keeper.missing(7) == [6]


def test_a_state_that_is_not_whole_is_not_kept(tmp_path: Path) -> None:
    state(tmp_path / "round", 2, whole=False)
    with Keeper(tmp_path / "round", tmp_path / "kept", every=2) as keeper:
        pass
    assert (keeper.saved, kept(tmp_path / "kept")) == ({}, {})


def test_what_is_kept_is_not_written_again_and_no_half_of_it_counts(tmp_path: Path) -> None:
    first, final = state(tmp_path / "a", 3), tmp_path / "kept" / "step-3"
    keep(first, final)
    keep(state(tmp_path / "b", 3), final)
    assert (final / "adapter_config.json").read_text() == "adapter_config.json of step 3"
    (tmp_path / "kept" / ".step-4.aside").mkdir()
    assert list(kept(tmp_path / "kept")) == [3]
