"""Which weights each engine should have under its adapters: those of what is live, and one engine ahead in a swap.

Full weights take the place of the base on an engine, and adapters stand on the base alone. So a checkpoint of other
weights goes to one engine first, while the others answer; once it is live they follow, one after another. All of it
comes from the rows as `server.catalog` last read them. Changes no engine: `server.keeper` does.
"""

import asyncio
import os
from pathlib import Path

from db.queries import wishes
from db.queries.checkpoints import BASE_ID
from server.catalog import ALIAS, Catalog, Weights
from server.engine import Engine
from server.full import FullWeights
from server.pool import Pool


class Grounds:
    """What the keepers ask."""

    def __init__(self, catalog: Catalog, pool: Pool) -> None:
        self._catalog, self._pool = catalog, pool
        self.turns = asyncio.Lock()
        """Held by the keeper whose engine gets other weights: one after another, so that the rest goes on answering."""

    @property
    def changes(self) -> bool:
        """Whether engines may have other weights than they were started with."""
        return self._catalog.has_full

    @property
    def changing(self) -> bool:
        """Whether an engine gets other weights just now, or is about to."""
        return self._coming() is not None or any(self._astray(engine) for engine in self._pool.engines)

    def _astray(self, engine: Engine) -> bool:
        wanted = self.of(engine) if engine.healthy else None
        return wanted is not None and wanted.name != engine.in_place

    def of(self, engine: Engine) -> FullWeights | None:
        """What this engine should have; None before that is known."""
        state = self._catalog.wanted
        if state is None:
            return None
        coming = self._coming()
        one = state.live if coming is None or engine is not self._ahead(coming) else coming
        return self.weights(one, engine.base_id)

    def weights(self, one: Weights, base_id: str) -> FullWeights:
        """What an engine must have to answer as `one`."""
        if one.kind == "full":
            assert one.path is not None
            return FullWeights(one.model, str(one.path.resolve()), one.manifest.get("probe"))
        return FullWeights(base_id, probe=self._catalog.base_probe)

    @property
    def base(self) -> Path | None:
        """The folder of the base model; None where it is not on this machine, or not to be looked into."""
        roots = (Path(engine.base.root) for engine in self._pool.engines if engine.base is not None)
        return next((root for root in roots if os.path.isfile(root / "config.json")), None)

    @property
    def base_hash(self) -> str | None:
        """Of the base model's config.json; None where it is not known."""
        base = self._catalog.known(f"v{BASE_ID}")
        found = (base.manifest.get("base") or {}).get("config_hash") if base is not None else None
        return None if found is None else str(found)

    def _coming(self) -> Weights | None:
        """The candidate of a deployment, where engines must change their weights for it."""
        state = self._catalog.wanted
        for wish in self._catalog.wishes:
            known = self._catalog.known(wish.name.removeprefix(f"{ALIAS}-")) if wish.kind == wishes.CANDIDATE else None
            if known is not None and state is not None and known.ground != state.live.ground:
                return known
        return None

    def _ahead(self, coming: Weights) -> Engine | None:
        """The engine that has it already, or takes it before the others do."""
        healthy = [engine for engine in self._pool.engines if engine.healthy]
        there = (engine for engine in healthy if engine.in_place == coming.ground)
        going = (engine for engine in healthy if engine.reloading)
        return next(there, None) or next(going, None) or next(iter(healthy), None)
