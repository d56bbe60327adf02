"""Removes the files of checkpoints that nobody needs. First the row gives up its path, then the files go.

A process that dies in between leaves files that no row names; the next pruning takes them away.
"""

import asyncio
import logging
import os
import shutil
from pathlib import Path

from db.queries import retention
from server.catalog import ALIAS
from server.gateway import Gateway

log = logging.getLogger(__name__)

PRUNED = ".pruned"  # the end of a folder's name while it is being deleted, so that half of one is never a checkpoint


async def prune(gateway: Gateway, keep: int) -> list[str]:
    """Keep the files of the `keep` newest checkpoints and of those in use. Returns the names whose files went."""
    async with gateway.swap.changing:  # what becomes live meanwhile is loaded already
        engines = [keeper.engine for keeper in gateway.swap.keepers]
        names = {name for engine in engines for name in (*engine.loaded, engine.in_place) if name is not None}
        names |= {adapter.name for adapter in gateway.swap.wanted()}
        used = {name.removeprefix(f"{ALIAS}-") for name in names}
        given_up = await asyncio.to_thread(_release, gateway, keep, used)
        await gateway.catalog.refresh()  # from now on a request for one is refused in words
        await asyncio.to_thread(_sweep, gateway)
    if given_up:
        log.info("pruned %s", ", ".join(given_up))
    return given_up


def _release(gateway: Gateway, keep: int, used: set[str]) -> list[str]:
    home = _folder(gateway)
    with gateway.database.transaction() as session:
        given_up = retention.release(session, keep, used)
    for name, path in given_up:
        if Path(path).resolve().parent != home:
            log.warning("%s: its files lie outside of %s and are left there: %s", name, home, path)
    return [name for name, _ in given_up]


def _sweep(gateway: Gateway) -> None:
    """Delete the folders of all that has no path any more, also what an earlier pruning did not get to."""
    home = _folder(gateway)
    if not home.is_dir():
        return
    with gateway.database.reading() as session:
        names = retention.without_files(session)
    for name in names:
        if (home / name).is_dir():
            os.replace(home / name, home / f".{name}{PRUNED}")
    for folder in home.glob(f".*{PRUNED}"):
        shutil.rmtree(folder)


def _folder(gateway: Gateway) -> Path:
    return (gateway.settings.home / "checkpoints").resolve()
