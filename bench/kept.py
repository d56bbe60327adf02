"""Keeps adapters of a round while it trains: a trainer deletes a saved state two steps after it was written.

Looks at the round's folder from a thread; the trainer knows nothing of it. What was kept before a bench was cut off
stays kept.
"""

import shutil
import threading
from pathlib import Path
from types import TracebackType

LOOK_SECONDS = 0.1  # a state lies there for two steps, which are seconds even in the smallest round
MARK = "complete.json"  # there when the state is whole (trainer.states)


class Keeper:
    """As a context manager: keeps the adapter of each `every`-th saved state of the round in `round_folder`.

    `to`: the folder of `step-N` folders. `saved`: by step, when its state was whole (seconds since the epoch).
    """

    def __init__(self, round_folder: Path, to: Path, every: int) -> None:
        self._states, self._to, self._every = round_folder / "states", to, every
        self._over, self._thread = threading.Event(), threading.Thread(target=self._watch, name="keeper", daemon=True)
        self.saved: dict[int, float] = {}

    def look(self) -> None:
        """Keep what there is."""
        for mark in self._marks():
            step = int(mark.parent.name.rsplit("-", 1)[1])
            try:
                self.saved.setdefault(step, mark.stat().st_mtime)
                if step % self._every == 0:
                    keep(mark.parent, self._to / f"step-{step}")
            except FileNotFoundError:
                continue  # the trainer has just deleted it, as old; then it was seen before, or `missing` tells

    def missing(self, steps: int) -> list[int]:
        """Of a training of so many steps, those whose adapter should be there and is not."""
        there = kept(self._to)
        return [step for step in range(self._every, steps + 1, self._every) if step not in there]

    def _marks(self) -> list[Path]:
        try:
            return sorted(self._states.glob(f"checkpoint-*/{MARK}"))
        except FileNotFoundError:
            return []  # deleted while we looked: the next look sees what there is

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.look()


def keep(state: Path, final: Path) -> None:
    """Copy an adapter's files into a folder that is there whole or not at all; one that is there stays as it is."""
    if final.is_dir():
        return
    aside = final.with_name(f".{final.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copyfile(state / name, aside / name)
    aside.rename(final)


def kept(folder: Path) -> dict[int, Path]:
    """The adapters in a folder by step, in their order."""
    found = {int(path.name.removeprefix("step-")): path for path in folder.glob("step-*")}
    return dict(sorted(found.items()))
