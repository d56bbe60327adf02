"""What rounds leave on disk: much while they are open, a few kilobytes when they have ended, however they did.

A round that failed or was cancelled can leave its states behind, and so can a trainer that was killed: `sweep` finds
them. An adapter that an engine may still hold is unloaded before its files go, because a missing folder is fatal to it.
"""

import logging
import shutil
from pathlib import Path

from db.errors import NotFound
from db.queries import rounds
from db.session import Database
from trainer.gateway import Gateway, GatewayError

log = logging.getLogger(__name__)

WORKING_FILES = ("states", "versions", "pairs", "best", "candidate", "start")
"""What a round keeps on disk only while it is open; the checkpoint has its adapter then."""


def tidy(folder: Path, gateway: Gateway) -> None:
    """Delete what only an open round needs. Raises GatewayError, with all of it still there, when none answers."""
    for version in folder.glob("versions/round-*"):
        gateway.unload_adapter(version.name)
    for name in WORKING_FILES:
        shutil.rmtree(folder / name, ignore_errors=True)


def sweep(database: Database, gateway: Gateway, home: Path) -> list[int]:
    """Tidy after every round that has ended. Returns their ids. What can't be done now is left to the next time."""
    swept = []
    for folder in sorted((home / "rounds").glob("[0-9]*")):
        if any((folder / name).exists() for name in WORKING_FILES) and _ended(database, int(folder.name)):
            try:
                tidy(folder, gateway)
            except GatewayError as error:
                log.warning("the files of round %s stay for now: %s", folder.name, error)
                continue
            swept.append(int(folder.name))
    return swept


def _ended(database: Database, round_id: int) -> bool:
    with database.reading() as session:
        try:
            return not rounds.get_round(session, round_id).open
        except NotFound:
            return False  # of another database: not ours to delete
