"""Waits until engines have what they are to have, or have let go of what they are not to have any more.

What that is they read from the rows, and their keepers see to it; here is how long it may take, and what of their
verdicts is a refusal.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from server.catalog import Weights
from server.engine import settle
from server.errors import ApiError, unavailable
from server.full import FullWeights
from server.ground import Grounds
from server.keeper import Adapter, Keeper
from server.lease import Lease
from server.wanting import adapter_of

PACE_SECONDS = 0.05  # between two looks of a gateway that waits for another one's keepers


class Reach:
    """All engines, as they are added and removed: `keepers` may change."""

    def __init__(
        self, keepers: Sequence[Keeper], lease: Lease, ground: Grounds, load_seconds: float, drain_seconds: float
    ) -> None:
        self._keepers, self._lease, self._ground = keepers, lease, ground
        self._load_seconds, self._drain_seconds = load_seconds, drain_seconds

    async def ahead(self, target: Weights) -> None:
        """Wait until one engine answers as this checkpoint, which stands on other weights than live does.

        What engines that have them say decides; one that can't get them is a refusal.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_seconds + 2 * self._load_seconds
        while (left := deadline - loop.time()) > 0:
            healthy = [keeper for keeper in self._keepers if keeper.engine.healthy]
            if not healthy:
                raise unavailable("no engine is up; try again in a moment")
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, self._load_seconds)):
                    await _each_look(healthy)
            if any(keeper.engine.serves(target.model) for keeper in healthy):
                return
            for keeper in healthy:
                wants: list[Adapter | FullWeights] = [self._ground.weights(target, keeper.engine.base_id)]
                wants += [adapter_of(target)] if target.kind == "adapter" else []
                for verdict in map(keeper.verdict, wants):
                    if verdict is not None and not verdict.ok:
                        message = f"engine {keeper.engine.url} does not take {target.name}: {verdict.detail}"
                        raise ApiError(422, message, code="weights_refused")
            if self._lease.role == "follows":
                await asyncio.sleep(PACE_SECONDS)
        raise unavailable(f"no engine had {target.name} within {self._drain_seconds + 2 * self._load_seconds:g} s")

    async def everywhere(self, adapter: Adapter, one: bool = False) -> list[str]:
        """Wait until every healthy engine has the adapter, or `one` of them where that is enough. A dead one does not
        block; it gets it when it comes back. Returns those that have it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._load_seconds
        late = [keeper for keeper in self._keepers if keeper.engine.healthy]
        while True:
            if not late:
                raise unavailable("no engine is up; try again in a moment")
            try:
                async with asyncio.timeout(deadline - loop.time()):
                    await _each_look(late, adapter, one)
            except TimeoutError:
                late_urls = ", ".join(keeper.engine.url for keeper in late)
                raise unavailable(f"{late_urls} did not load {adapter.name} in {self._load_seconds:g} s") from None
            healthy = [keeper for keeper in self._keepers if keeper.engine.healthy]
            verdicts = [(keeper, keeper.verdict(adapter)) for keeper in healthy]
            having = [keeper.engine.url for keeper, verdict in verdicts if verdict is not None and verdict.ok]
            late = [keeper for keeper, verdict in verdicts if verdict is None]
            for keeper, verdict in verdicts:
                if verdict is not None and not verdict.ok and not (one and (having or late)):
                    message = f"engine {keeper.engine.url} does not take {adapter.name}: {verdict.detail}"
                    raise ApiError(422, message, code="adapter_refused")
            if having and (one or not late):
                return having
            if self._lease.role == "follows":
                await asyncio.sleep(PACE_SECONDS)

    async def gone(self, name: str) -> None:
        """Wait until no healthy engine has this adapter. Raises ApiError 503 when one still has it in the end."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._load_seconds
        having = [keeper for keeper in self._keepers if keeper.engine.healthy]  # one may be loading it just now
        while having:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline - loop.time()):
                    await _each_look(having)
            having = self.having(name)
            if having and loop.time() >= deadline:
                urls = ", ".join(keeper.engine.url for keeper in having)
                raise unavailable(f"{urls} still has {name} after {self._load_seconds:g} s; ask again")
            if having:
                await asyncio.sleep(PACE_SECONDS)

    def having(self, name: str) -> list[Keeper]:
        """Those whose healthy engine has an adapter of this name, proven or not."""
        return [keeper for keeper in self._keepers if keeper.engine.healthy and keeper.lists(name)]


async def _each_look(keepers: Iterable[Keeper], adapter: Adapter | None = None, one: bool = False) -> None:
    """Return after a look of each, or of any `one`."""
    looks = [asyncio.create_task(keeper.next_look(adapter)) for keeper in keepers]
    try:
        await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED if one else asyncio.ALL_COMPLETED)
    finally:
        await settle(looks)
