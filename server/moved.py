"""A home that was moved, or brought back from a backup to another place, keeps its checkpoints.

Rows name folders in full, since engines and trainer read them by path. What is not there any more, and lies in this
home under its name with the files that the row knows, is named anew.
"""

import json
import logging
from pathlib import Path

from db.queries import checkpoints
from db.session import Database

log = logging.getLogger(__name__)


def follow(database: Database, home: Path) -> list[str]:
    """Have rows name the folders of this home where theirs are gone. Returns the checkpoints' names.

    Raises DatabaseUnavailable.
    """
    folder = (home / "checkpoints").resolve()
    found = []
    with database.transaction() as session:
        for row in checkpoints.list_checkpoints(session):
            here = folder / row.name
            if row.kind == "base" or not row.path or Path(row.path).is_dir() or not _is_of(here, row.manifest or {}):
                continue
            log.warning("%s is not in %s any more; it is in %s, and is used from there", row.name, row.path, here)
            row.path = str(here)
            found.append(row.name)
    return found


def _is_of(folder: Path, manifest: dict[str, object]) -> bool:
    """Whether a folder says that it holds what the row knows: another database's checkpoint may have its name."""
    try:
        said = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return bool(said["files"] == manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
