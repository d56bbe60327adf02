"""Which adapters every engine should have: live, previous and canary by the row, and what gateways wish beside them.

The answer comes from the rows as `server.catalog` last read them, so that all gateways give the same. Loads nothing.
"""

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from db.errors import DatabaseUnavailable
from db.queries import wishes
from db.session import Database
from server.catalog import ALIAS, Catalog, Weights, Wish
from server.errors import ApiError, invalid, unavailable
from server.keeper import Adapter

log = logging.getLogger(__name__)

MAX_ADAPTERS = 7  # what engines are started for: live, previous, canary, candidate, two of a round, one guest
MAX_STEPS = 2  # adapters of a running round: its newest two steps, or what its gate measures
MAX_GUESTS = 1  # published checkpoints that somebody pins, beside live and previous
KINDS = (wishes.CANDIDATE, wishes.STEP, wishes.GUEST)  # what is wished, most important first
NAME = re.compile(r"^round-[a-z0-9][a-z0-9.-]*$")


class Wanting:
    """The wishes of all gateways, and the writing of this one's. `told` is called after each change.

    A candidate is wished for `seconds`, again and again while its deployment runs: one whose gateway died is let go,
    and at once where `ended` says that it did.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        by: str,
        seconds: float,
        ended: Callable[[str], bool],
        told: Callable[[], None],
    ) -> None:
        self._database, self._catalog, self._by = database, catalog, by
        self._seconds, self._ended, self._told = seconds, ended, told
        self._candidates: set[str] = set()  # of deployments that run here

    def adapters(self) -> list[Adapter]:
        """What every engine should have just now, most important first: never more than it was started for.

        Of what is wished beside that, as by two gateways that deploy at once, what came last waits.
        """
        state = self._catalog.wanted
        serving = [] if state is None else [state.live, state.previous, state.canary]
        found = {one.model: adapter_of(one) for one in serving if one is not None and _is_adapter(one)}
        for wish in sorted(self._catalog.wishes, key=lambda one: KINDS.index(one.kind)):
            adapter = self._wished(wish)
            if adapter is not None:
                found.setdefault(adapter.name, adapter)
        return list(found.values())[:MAX_ADAPTERS]

    @asynccontextmanager
    async def candidate(self, target: Weights) -> AsyncIterator[None]:
        """Want it for as long as the block runs. Raises ApiError 503 without a database."""
        path = "" if target.path is None else str(target.path.resolve())
        self._candidates.add(target.model)
        try:
            await self._write(self._wish, wishes.CANDIDATE, target.model, path)
            renewing = asyncio.create_task(self._renew(target.model))
            try:
                yield
            finally:
                renewing.cancel()
        finally:
            self._candidates.discard(target.model)
            with suppress(ApiError):  # else it runs out by itself
                await self._write(self._unwish, wishes.CANDIDATE, target.model)

    async def guest(self, adapter: Adapter) -> None:
        """Want a published checkpoint that somebody pinned, in the place of the one before."""
        await self._write(self._wish, wishes.GUEST, adapter.name, adapter.path, MAX_GUESTS)

    async def step(self, name: str, path: str) -> Adapter:
        """Want an adapter of a running round, `path` as an engine would tell it. Raises ApiError: 400 for its name, 409
        when it has another path."""
        if not NAME.match(name):
            raise invalid(f"adapter name {name!r}: expected round-<id>-step-<k>", "name")
        await self._catalog.refresh()
        for wish in self._catalog.wishes:
            if wish.name == name and wish.path != path:
                message = f"{name} is loaded from {wish.path}; a name is never reused"
                raise ApiError(409, message, code="name_in_use")
        await self._write(self._wish, wishes.STEP, name, path, MAX_STEPS)
        return Adapter(name, path)

    async def no_step(self, name: str) -> bool:
        """Take it back. False: it was not wanted."""
        return await self._write(self._unwish, wishes.STEP, name)

    async def tidy(self, steps: bool = True) -> None:
        """Let go of what has nobody to take it back: candidates of gateways that have ended, this one's former self
        among them, and `steps` whose files are gone, as of a round that was broken off."""
        kinds = (wishes.CANDIDATE, wishes.STEP) if steps else (wishes.CANDIDATE,)
        asked = [wish for wish in self._catalog.wishes if wish.kind in kinds and wish.name not in self._candidates]
        if asked:
            for wish, why in await asyncio.to_thread(self._left, asked):
                log.info("%s is wanted no more: %s", wish.name, why)
                with suppress(ApiError):
                    await self._write(self._unwish, wish.kind, wish.name, wish.by)

    def _left(self, asked: list[Wish]) -> list[tuple[Wish, str]]:
        gone = [(wish, "its files are gone") for wish in asked if wish.kind == wishes.STEP and not _has_files(wish)]
        dead = [wish for wish in asked if wish.kind == wishes.CANDIDATE]
        return gone + [(one, "its gateway ended") for one in dead if one.by == self._by or self._ended(one.by)]

    def _wished(self, wish: Wish) -> Adapter | None:
        if wish.kind == wishes.STEP:
            return Adapter(wish.name, wish.path)
        known = self._catalog.known(wish.name.removeprefix(f"{ALIAS}-"))
        return None if known is None or not _is_adapter(known) else adapter_of(known)

    async def _renew(self, name: str) -> None:
        while True:
            await asyncio.sleep(self._seconds / 3)
            with suppress(DatabaseUnavailable):
                await asyncio.to_thread(self._renewed, name)

    async def _write(self, change: Callable[..., bool], *what: object) -> bool:
        try:
            done = await asyncio.to_thread(change, *what)
        except DatabaseUnavailable as error:
            raise unavailable(f"engines can't be told what to load: {error}", "database_unavailable") from error
        await self._catalog.refresh()
        self._told()
        return done

    def _wish(self, kind: str, name: str, path: str, most: int | None = None) -> bool:
        seconds = self._seconds if kind == wishes.CANDIDATE else None
        with self._database.transaction() as session:
            wishes.wish(session, kind, name, path, self._by, seconds)
            if most is not None:
                wishes.keep_newest(session, kind, most)
        return True

    def _unwish(self, kind: str, name: str, by: str | None = None) -> bool:
        with self._database.transaction() as session:
            return wishes.unwish(session, kind, name, by)

    def _renewed(self, name: str) -> None:
        with self._database.transaction() as session:
            wishes.renew(session, wishes.CANDIDATE, name, self._by, self._seconds)


def _has_files(wish: Wish) -> bool:
    return os.path.isdir(wish.path)


def _is_adapter(one: Weights) -> bool:
    return one.kind == "adapter" and one.path is not None


def adapter_of(one: Weights) -> Adapter:
    """What engines should have for these weights, by their row."""
    assert one.path is not None
    return Adapter(one.model, str(one.path.resolve()), one.manifest.get("probe"))
