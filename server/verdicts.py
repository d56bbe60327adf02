"""What came of loading adapters and weights on one engine: as it was found here, and as all gateways read it.

Asks no engine; `server.keeper` does, and tells what it found. The rows are `server.observed`.
"""

import time
from collections.abc import Callable, Collection, Mapping

from server.lease import Lease
from server.observed import Observed, Verdict

RETRY_SECONDS = 5.0  # between attempts to load what an engine refused


class Verdicts:
    """Of the engine at `url`. `changed` is told when this gateway has changed what the shared rows say."""

    def __init__(self, url: str, lease: Lease, shared: Observed, changed: Callable[[], None]) -> None:
        self._url, self._lease, self._shared, self._changed = url, lease, shared, changed
        self._tried: dict[str, tuple[str, Verdict, float]] = {}  # name → (path, what came of it, when)
        self._told: dict[str, Verdict] = {}  # what the shared rows said when they were last read

    def note(self, name: str, path: str, verdict: Verdict) -> None:
        """This came of loading `name` from `path` just now."""
        self._tried[name] = (path, verdict, time.monotonic())

    def drop(self, name: str) -> None:
        """What was found here of this name does not hold any more."""
        self._tried.pop(name, None)

    def forget(self) -> None:
        """Nor does anything: the engine may be another process."""
        self._tried.clear()

    @property
    def is_final(self) -> bool:
        """Whether anything found here stands for as long as the engine's process does."""
        return any(verdict.final for _, verdict, _ in self._tried.values())

    def against(self, name: str, path: str) -> Verdict | None:
        """What speaks against `name` from `path`: by the rows where another gateway looks after the engine, else as it
        was found here."""
        if self._lease.role == "follows":
            told = self._told.get(name)
            return told if told is not None and not told.ok else None
        found = self._found(name, path)
        return found if found is not None and not found.ok else None

    def worth_trying(self, name: str, path: str) -> bool:
        """Whether to load it: not what was refused for good, or just now."""
        found = self._found(name, path)
        if found is None or found.ok:
            return True
        return not found.final and time.monotonic() - self._tried[name][2] > RETRY_SECONDS

    def said(self, name: str) -> str:
        """What came of it, in words."""
        _, found, _ = self._tried.get(name, ("", None, 0.0))
        found = found or self._told.get(name)
        return found.detail if found is not None else "not loaded yet"

    @property
    def told(self) -> Mapping[str, Verdict]:
        """What the shared rows say, as they were last read or written here."""
        return self._told

    async def read(self) -> None:
        """Read the shared rows. Raises DatabaseUnavailable."""
        self._told = await self._shared.read(self._url)

    async def tell(self, known: Mapping[str, Verdict | None]) -> None:
        """Make the shared rows say this, where they don't. Only the holder of the lease may; None: nothing is known.

        Raises DatabaseUnavailable, LeaseTaken.
        """
        changes = {name: verdict for name, verdict in known.items() if not _same(self._told.get(name), verdict)}
        if not changes or self._lease.role != "holds":
            return
        await self._shared.write(self._url, changes)
        for name, verdict in changes.items():
            if verdict is None:
                self._told.pop(name, None)
            else:
                self._told[name] = verdict
        self._changed()

    async def tell_nothing(self, names: Collection[str]) -> None:
        """Have the shared rows say nothing of these."""
        await self.tell(dict.fromkeys(names))

    def _found(self, name: str, path: str) -> Verdict | None:
        tried, verdict, _ = self._tried.get(name, ("", None, 0.0))
        return verdict if tried == path else None


def _same(told: Verdict | None, known: Verdict | None) -> bool:
    if told is None or known is None:
        return told is known
    return (told.ok, told.detail if not told.ok else "") == (known.ok, known.detail if not known.ok else "")
