"""The policy's versions on the engine while it is trained: saved under a name of its own, loaded, sampled, retired.

At most two of a round are loaded. A name is never used twice and a folder never rewritten; files outlive their name by
one version, because a missing folder is fatal to an engine.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from trainer.files import fresh_folder
from trainer.gateway import Arrived, GatewayError, Sample
from trainer.policy import copy_weights, save_weights
from trainer.work import Work

LOADED = 2


class Versions:
    """The versions of one round in one trainer."""

    def __init__(self, work: Work) -> None:
        self._work, self._root = work, work.folder / "versions"
        self._loaded: list[Path] = []
        self._retired: list[Path] = []

    def clear(self) -> None:
        """Retire whatever an earlier attempt left on the engine and on disk."""
        for folder in sorted(self._root.glob("round-*")) if self._root.is_dir() else []:
            self._work.gateway.unload_adapter(folder.name)
        fresh_folder(self._root)
        self._loaded, self._retired = [], []

    def publish(self, model: Any, step: int) -> str:
        """Save the weights as they are after `step` updates, and load it. Returns its name.

        Before the first update it is the parent, which is served already: that one samples then.
        """
        if step == 0:
            return self._work.parent.served_as
        return self._load(save_weights(model, self._root / self._work.version(step), self._work))

    def publish_copy(self, adapter: Path, step: int) -> str:
        """Load finished weights under the name of `step`. Returns its name."""
        return self._load(copy_weights(adapter, self._root / self._work.version(step), self._work))

    def sample(self, prompts: list[list[int]], n: int, max_tokens: int, temperature: float, seed: int) -> list[Sample]:
        """`n` completions of each prompt by the newest version; loads it again where an engine has lost it."""
        return self.sampler(prompts, n, max_tokens, temperature, seed)()

    def sampler(
        self,
        prompts: list[list[int]],
        n: int,
        max_tokens: int,
        temperature: float,
        seed: int,
        arrived: Arrived | None = None,
    ) -> Callable[[], list[Sample]]:
        """The same to be called later, by the version that is the newest now; until then it must not be retired.

        `arrived` is told of each completion when it has ended.
        """
        newest = self._loaded[-1] if self._loaded else None
        name = newest.name if newest else self._work.parent.served_as
        gateway = self._work.gateway
        options: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        ask = partial(gateway.sample, name, prompts, n, **options, arrived=arrived)

        def ask_again() -> list[Sample]:
            try:
                return ask()
            except GatewayError as error:
                if error.status != 404 or newest is None:
                    raise
            gateway.load_adapter(newest.name, newest)
            return ask()

        return ask_again

    def _load(self, folder: Path) -> str:
        while self._retired:
            shutil.rmtree(self._retired.pop())
        while len(self._loaded) >= LOADED:
            self._work.gateway.unload_adapter(self._loaded[0].name)
            self._retired.append(self._loaded.pop(0))
        self._work.gateway.load_adapter(folder.name, folder)
        self._loaded.append(folder)
        return folder.name
