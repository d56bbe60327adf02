"""Whether weights may go to an engine: their files are what the manifest says, and fit the base and the engines.

A deployment and every engine that it goes to ask this within seconds of each other, and an answer reads the files
whole. So weights that were found in order are not read again for a while, as long as their files stand as they did.
"""

import asyncio
import os
import time
from pathlib import Path

from db.base import weights_hash
from server.catalog import ALIAS, BASE, Weights
from server.errors import ApiError
from server.full import FullWeights
from server.ground import Grounds
from server.keeper import Adapter
from server.manifest import Unfit, check_adapter, check_checkpoint, config_hash
from server.wanting import adapter_of

KNOWN_SECONDS = 300.0  # full weights reach several engines one after another, each after it was drained

UNLIKE = (OSError, TypeError, AttributeError, KeyError, ValueError)
"""What reading files raises that are of another form, or of which one goes while they are read."""

Stand = tuple[tuple[str, int, int, int, int], ...]
Hashes = tuple[str | None, str | None]
"""Of the served base's configuration and weights, as far as they are known."""


class Inspection:
    """Looks at files before any engine does, and remembers what it found in order."""

    def __init__(self, ground: Grounds, max_rank: int) -> None:
        self._ground, self._max_rank = ground, max_rank
        self._known: dict[tuple[str, str, Hashes], tuple[Stand, float]] = {}  # how files stood, and when

    async def fit(self, target: Weights) -> None:
        """Raises ApiError 422 for a checkpoint that can't be deployed as it is."""
        if target.kind == "base":
            return
        if target.path is None:
            raise without_files(target)
        if not target.manifest.get("probe"):
            raise _unfit(Unfit(f"the row of {target.name} has no probe; publish it again"))
        await self._look(self._ground.weights(target, BASE) if target.kind == "full" else adapter_of(target))

    async def fit_step(self, name: str, path: str) -> str:
        """Where the files of a round's adapter really lie. Raises ApiError 422."""
        adapter = Adapter(name, await asyncio.to_thread(os.path.realpath, path))
        await self._look(adapter)
        return adapter.path

    def look(self, wanted: Adapter | FullWeights) -> None:
        """Raises Unfit. Blocks for as long as reading the files takes; to be called right before each load, so that an
        engine that restarts gets nothing that was altered since."""
        path, now, base = Path(wanted.path), time.monotonic(), self._ground.base
        shape, weights = hashes = _hashes(base)
        key = (wanted.path, wanted.name, hashes)
        stands = _stand(path)  # before they are read
        before, at = self._known.get(key, ((), 0.0))
        if stands and stands == before and now - at < KNOWN_SECONDS:
            return
        name = wanted.name.removeprefix(f"{ALIAS}-")
        try:
            if isinstance(wanted, FullWeights):
                check_checkpoint(path, name, shape, "full", base, base_weights=weights)
            elif wanted.probe is None:
                check_adapter(path, self._max_rank)
            else:
                check_checkpoint(path, name, shape, max_rank=self._max_rank, base_weights=weights)
        except UNLIKE as error:
            raise Unfit(f"{path}: its files are not as a checkpoint's are, or went meanwhile ({error!r})") from error
        # Never changed in place: several engines' keepers look at once, each on a thread.
        lately = {one: known for one, known in self._known.items() if now - known[1] < KNOWN_SECONDS}
        self._known = lately | {key: (stands, now)}

    async def _look(self, wanted: Adapter | FullWeights) -> None:
        try:
            await asyncio.to_thread(self.look, wanted)
        except Unfit as error:
            raise _unfit(error) from error


def _hashes(base: Path | None) -> Hashes:
    """Raises Unfit."""
    try:
        return (None, None) if base is None else (config_hash(base), weights_hash(base))
    except UNLIKE as error:
        raise Unfit(f"the base model in {base} is not readable ({error!r})") from error


def _stand(folder: Path) -> Stand:
    """Name, size, times and number of each file: what changes when somebody writes to it. Empty for no folder."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in found))


def without_files(target: Weights) -> ApiError:
    """For a checkpoint that no engine could load."""
    return ApiError(422, f"{target.name} has no files: not written yet, or pruned", code="checkpoint_unfit")


def _unfit(error: Unfit) -> ApiError:
    return ApiError(422, f"not loaded: {error}", code="checkpoint_unfit")
