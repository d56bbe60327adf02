"""Which checkpoints there are, which one is live, which one on trial, and what a requested model name means; which
engines were added and removed. Read from the database's rows.

Keeps the last state it read while the database is down. Loads nothing; `server.keeper` does.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from db.errors import DatabaseUnavailable
from db.queries import checkpoints, deployments, engines, wishes
from db.schema import Checkpoint
from db.session import Database
from server.errors import no_model, not_in_place, unavailable

log = logging.getLogger(__name__)

ALIAS = "ruminate"
BASE = f"{ALIAS}-v0"
"""What engines are started to serve."""
MOVING = ("candidate", "canary")  # states in which a checkpoint's files may still be written anew
SERVED = ("canary", "published", "retired")  # states in which users may ask for a checkpoint by name


@dataclass(frozen=True)
class Weights:
    """A checkpoint, as far as serving it goes. `path` is None for the base, which every engine has anyway."""

    id: int
    name: str
    kind: str
    state: str
    path: Path | None
    manifest: dict[str, Any]
    created_at: datetime

    @property
    def model(self) -> str:
        """The name that an engine knows it by, and that an answer's `model` tells."""
        return f"{ALIAS}-{self.name}"

    @property
    def asked_as(self) -> str:
        """What a request to an engine calls it. Full weights answer under the name that the engine was started with."""
        return BASE if self.kind == "full" else self.model

    @property
    def ground(self) -> str:
        """The weights that an engine must have to answer as this one: its own where they are full, else the base's."""
        return self.model if self.kind == "full" else BASE

    @property
    def is_served(self) -> bool:
        """Whether users may ask for it by name: it passed its gate, and its files were not pruned."""
        return self.kind == "base" or (self.state in SERVED and self.path is not None)


@dataclass(frozen=True)
class Wanted:
    """The newest deployment row: `live` answers, `previous` stays loaded for a rollback, and `canary`, where there is
    one, answers in its share of the conversations."""

    deployment_id: int
    live: Weights
    previous: Weights | None
    since: datetime
    reason: str
    by: str
    canary: Weights | None = None
    canary_share: float = 0.0

    def on_trial(self, conversation: str) -> bool:
        """Whether the canary answers in this conversation: always the same, and drawn anew for each canary."""
        if self.canary is None:
            return False
        drawn = hashlib.sha256(f"{self.canary.name}:{conversation}".encode()).digest()[:8]
        return int.from_bytes(drawn, "big") < self.canary_share * 2**64


@dataclass(frozen=True)
class Wish:
    """An adapter that is wanted beside what is deployed, by whichever gateway."""

    kind: str  # candidate | guest | step
    name: str  # as engines know it
    path: str
    by: str  # the gateway


def weights(row: Checkpoint, manifest: dict[str, Any]) -> Weights:
    """From a row of `checkpoints`, and its manifest apart."""
    path = Path(row.path) if row.path and row.kind != "base" else None
    return Weights(row.id, row.name, row.kind, row.state, path, manifest, row.created_at)


class Catalog:
    """The rows about checkpoints, as last read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_name: dict[str, Weights] = {}
        self._manifests: dict[int, dict[str, Any]] = {}  # of those that change no more: all together they are large
        self._reading = asyncio.Lock()
        self.wanted: Wanted | None = None
        self.wishes: tuple[Wish, ...] = ()  # oldest first
        self.engines: dict[str, bool] = {}  # what was changed about them while gateways run
        self.read: Callable[[], None] = lambda: None
        """Called after each reading."""
        self.trouble: str | None = None

    @property
    def has_full(self) -> bool:
        """Whether any checkpoint is of kind "full", so that an engine may have other weights than at its start."""
        return any(one.kind == "full" for one in self._by_name.values())

    @property
    def base_probe(self) -> dict[str, Any] | None:
        """By which an engine is known to serve the base: what a full checkpoint's probe says of it. None: no such."""
        whole = (one.manifest.get("probe") for one in self._by_name.values() if one.kind == "full")
        probe = next((probe for probe in whole if probe), None)
        if probe is None:
            return None
        kept = ("prompt_ids", "completion_ids", "logprobs_base")  # its parent is not the base's
        turned = [
            {k: one[k] for k in kept} | {"logprobs_candidate": one["logprobs_base"]} for one in probe["sequences"]
        ]
        return {"sequences": turned, "tolerance": probe["tolerance"]}

    @property
    def live(self) -> Weights | None:
        """What answers `ruminate`; None before the first deployment is read."""
        return None if self.wanted is None else self.wanted.live

    async def refresh(self) -> bool:
        """Read the rows again. Returns whether what is wanted changed; a database that is down changes nothing."""
        async with self._reading:  # one after the other: an older read that ends late would bring the old state back
            before = self._state()
            try:
                found = await asyncio.to_thread(self._read)
                self.trouble = None
            except DatabaseUnavailable as error:
                self.trouble = str(error)
                return False
            self._by_name, self.wishes, self.engines, self.wanted = found
            self.read()
        return before != self._state()

    def resolve(self, model: object) -> Weights:
        """The weights that a user's model name means now. Raises ApiError 404 for what they may not see."""
        if self.wanted is None:
            raise unavailable("the model is still being loaded; try again in a moment", "engine_starting")
        if model == ALIAS:
            return self.wanted.live
        found = self._by_name.get(model.removeprefix(f"{ALIAS}-")) if isinstance(model, str) else None
        if found is None or found.model != model or not found.is_served:
            raise no_model(model)
        if found.ground != self.wanted.live.ground:
            raise not_in_place(found.model, self.wanted.live.model)
        return found

    def known(self, name: str) -> Weights | None:
        """Any checkpoint by its own name ("v3"), published or not."""
        return self._by_name.get(name)

    def listed(self) -> list[Weights]:
        """What users may ask for by name, newest first."""
        ground = BASE if self.wanted is None else self.wanted.live.ground
        seen = [one for one in self._by_name.values() if one.is_served and one.ground == ground]
        return sorted(seen, key=lambda one: one.id, reverse=True)

    def _state(self) -> tuple[int | None, tuple[Wish, ...]]:
        return (None if self.wanted is None else self.wanted.deployment_id, self.wishes)

    def _read(self) -> tuple[dict[str, Weights], tuple[Wish, ...], dict[str, bool], Wanted | None]:
        """Sets nothing that others read: whoever waited may have left, and a later reading be there before it ends."""
        with self._database.reading() as session:
            wished = tuple(Wish(row.kind, row.name, row.path, row.by) for row in wishes.wanted(session))
            rows = checkpoints.list_checkpoints(session, manifests=False)
            current = deployments.current(session)
            changes = engines.changes(session)
            used: set[int | None] = {checkpoints.BASE_ID}
            if current is not None:
                used |= {current.live_checkpoint_id, current.previous_checkpoint_id, current.canary_checkpoint_id}
            moving = {row.id for row in rows if row.state in MOVING or row.id in used}
            read = checkpoints.manifests(session, moving | {row.id for row in rows} - self._manifests.keys())
        known = self._manifests | read
        self._manifests |= {key: manifest for key, manifest in read.items() if key not in moving}
        by_id = {row.id: weights(row, known[row.id]) for row in rows}
        wanted = self.wanted
        if current is not None:
            previous, canary = current.previous_checkpoint_id, current.canary_checkpoint_id
            wanted = Wanted(
                current.id,
                by_id[current.live_checkpoint_id],
                None if previous is None else by_id[previous],
                current.created_at,
                current.reason,
                current.by,
                None if canary is None else by_id[canary],
                current.canary_share,
            )
        return {one.name: one for one in by_id.values()}, wished, changes, wanted
