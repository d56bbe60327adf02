"""Which engines there are: those of the settings, and what was added and removed while gateways run, by the rows.

Every gateway follows the rows, so that they agree. A removed engine gets nothing more; what it writes goes on to its
end. Whether an engine is in order is its keeper's business.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp

from db.base import weights_hash
from server.catalog import Catalog
from server.engine import Engine, EngineFailed
from server.errors import ApiError
from server.keeper import Keeper
from server.manifest import config_hash, if_readable
from server.swap import Swap

log = logging.getLogger(__name__)

Run = Callable[[Keeper], asyncio.Task[None]]


class Fleet:
    """The engines of this gateway. `run` starts the work of a keeper."""

    def __init__(
        self, given: Sequence[str], catalog: Catalog, swap: Swap, session: aiohttp.ClientSession, run: Run
    ) -> None:
        self.given = tuple(dict.fromkeys(given))
        self._catalog, self._swap, self._session, self._run = catalog, swap, session, run
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin with what is wanted now, and follow the rows from now on."""
        self._catalog.read = self.agree
        self.agree()

    @property
    def wanted(self) -> list[str]:
        """Their URLs as the rows say now."""
        changed = self._catalog.engines
        added = [url for url, wanted in changed.items() if wanted and url not in self.given]
        return [url for url in self.given if changed.get(url, True)] + added

    def agree(self) -> None:
        """Make the engines those that are wanted."""
        wanted, here = self.wanted, {keeper.engine.url: keeper for keeper in self._swap.keepers}
        for url in wanted:
            if url not in here:
                self._tasks[url] = self._run(self._swap.join(Engine(url, self._session)))
        for url, keeper in here.items():
            if url not in wanted:
                log.info("engine %s is removed", url)
                self._tasks.pop(url).cancel()
                self._swap.leave(keeper)

    async def examine(self, url: str) -> None:
        """Ask an engine that is to be added. Raises ApiError 422 unless it answers and has the others' base model."""
        engine = Engine(url, self._session)
        try:
            await engine.observe()
        except EngineFailed as error:
            raise _unfit(f"{error}; start it, then add it") from error
        known = next((one.engine.base for one in self._swap.keepers if one.engine.base is not None), None)
        if engine.base is None:
            raise _unfit(f"engine {url} lists no base model")
        if known is None:
            return
        if engine.base.id != known.id:
            raise _unfit(f"engine {url} serves {engine.base.id!r}, the others {known.id!r}; start it with the same")
        for told in (config_hash, weights_hash):
            hashes = [await asyncio.to_thread(if_readable, told, Path(card.root)) for card in (engine.base, known)]
            if None not in hashes and hashes[0] != hashes[1]:
                raise _unfit(f"the base model of engine {url} in {engine.base.root} is not the one in {known.root}")


def _unfit(message: str) -> ApiError:
    return ApiError(422, message, code="engine_unfit", param="url")
