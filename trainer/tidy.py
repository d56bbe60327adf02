"""What rounds leave on disk: much while they are open, a few kilobytes when they have ended, however they did.

A round that failed or was cancelled can leave its states behind, and a trainer that was killed what it was writing
aside: `sweep` finds them. An adapter that an engine may still hold is unloaded before its files go, because a missing
folder is fatal to it.
"""

import logging
import shutil
from pathlib import Path

from db.errors import NotFound
from db.queries import checkpoints, rounds
from db.session import Database
from trainer.gateway import Gateway, GatewayError

log = logging.getLogger(__name__)

WORKING_FILES = ("states", "versions", "pairs", "best", "candidate", "start")
"""What a round keeps on disk only while it is open; the checkpoint has its adapter then."""
ASIDE = ".*.aside"
"""What has not got its name yet, as `trainer.files` and whoever uses it write it."""


def tidy(folder: Path, gateway: Gateway) -> None:
    """Delete what only an open round needs. Raises GatewayError, with all of it still there, when none answers."""
    for version in folder.glob("versions/round-*"):
        gateway.unload_adapter(version.name)
    for path in _left(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sweep(database: Database, gateway: Gateway, home: Path) -> list[int]:
    """Tidy after every round that has ended. Returns their ids. What can't be done now is left to the next time."""
    swept = []
    for folder in sorted((home / "rounds").glob("[0-9]*")):
        if folder.name.isdecimal() and _left(folder) and _ended(database, int(folder.name)):
            try:
                tidy(folder, gateway)
            except GatewayError as error:
                log.warning("the files of round %s stay for now: %s", folder.name, error)
                continue
            swept.append(int(folder.name))
    for aside in (home / "checkpoints").glob(ASIDE):
        if _put_down(database, aside.name.removeprefix(".").removesuffix(".aside")):
            shutil.rmtree(aside, ignore_errors=True)
    return swept


def _left(folder: Path) -> list[Path]:
    return [folder / name for name in WORKING_FILES if (folder / name).exists()] + list(folder.glob(ASIDE))


def _put_down(database: Database, checkpoint: str) -> bool:
    """Whether nobody writes this checkpoint's files any more: its round has ended."""
    with database.reading() as session:
        row = checkpoints.find_checkpoint(session, checkpoint)
    return row is not None and row.round_id is not None and _ended(database, row.round_id)


def _ended(database: Database, round_id: int) -> bool:
    with database.reading() as session:
        try:
            return not rounds.get_round(session, round_id).open
        except NotFound:
            return False  # of another database: not ours to delete
