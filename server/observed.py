"""What each engine has, as rows that all gateways share. Only the holder of the lease writes them.

A row that says `loaded` stands only while the adapter was probed since it was last loaded: the holder deletes the row
before it loads or unloads, and writes it after the probe. So who first asks an engine what it lists and then reads the
rows may send requests to what stands in both.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from db.queries import deployments, leases
from db.session import Database
from server.lease import ENGINES
from server.lookups import Lookups


@dataclass(frozen=True)
class Verdict:
    """What came of loading an adapter on an engine: `ok`, or why not. `final`: not worth another attempt until
    the engine is started again."""

    ok: bool
    detail: str
    final: bool = False


class Observed:
    """The rows of all engines. Every method raises DatabaseUnavailable; those that write, LeaseTaken as well."""

    def __init__(self, database: Database, lookups: Lookups, holder: str) -> None:
        self._database, self._lookups, self._holder = database, lookups, holder

    async def read(self, engine: str) -> dict[str, Verdict]:
        """What `engine` has or failed at, by the adapter's name. Bounded: engines are looked at also without rows."""
        return await self._lookups.ask(self._read, engine)

    async def write(self, engine: str, changes: Mapping[str, Verdict | None]) -> None:
        """Put down what came of these adapters on `engine`; None: nothing is known of it (any more)."""
        await asyncio.to_thread(self._write, engine, changes)

    def _read(self, engine: str) -> dict[str, Verdict]:
        with self._database.reading() as session:
            rows = deployments.observed(session)
        return {row.checkpoint_name: Verdict(row.state == "loaded", row.detail) for row in rows if row.engine == engine}

    def _write(self, engine: str, changes: Mapping[str, Verdict | None]) -> None:
        with self._database.transaction() as session:
            leases.require(session, ENGINES, self._holder)
            for name, verdict in changes.items():
                if verdict is None:
                    deployments.unobserve(session, engine, name)
                else:
                    deployments.observe(session, engine, name, "loaded" if verdict.ok else "failed", verdict.detail)
