"""Finished turns that the database could not take yet, on this machine's disk.

They outlive power cuts (fsync) until they are replayed; the database drops one that it has already, which makes it
exactly once. Nothing here interprets a turn.
"""

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from db.values import Completion, Turn
from server.claim import Claim
from server.journal import Journal
from server.spool_lines import (
    ASIDE,
    Record,
    about,
    asked,
    encode,
    put,
    put_aside,
    read_lines,
    read_records,
    sync_folder,
)

_FILE_BYTES = 16 << 20  # a spool file is closed at this size, so that a replay frees disk as it goes

log = logging.getLogger(__name__)


class Spool:
    """Finished turns that wait for the database, oldest file first."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        for left in (*folder.glob("turns-*.new"), (folder / ASIDE).with_suffix(".new")):
            left.unlink(missing_ok=True)  # of an erasing that a crash cut short: the file beside it is whole
        self._lock = threading.Lock()
        self._current: Path | None = None
        self._counted: dict[tuple[Path, int], tuple[int, int]] = {}  # by file and inode: bytes and lines
        self._count = max((int(path.stem.split("-")[1]) for path in self.files()), default=0)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("turns-*.jsonl"))

    @property
    def empty(self) -> bool:
        return not self.files()

    def depth(self) -> int:
        """Turns that wait. Of what was counted before only the end is read."""
        waiting, counted = 0, {}
        for path in self.files():
            with suppress(FileNotFoundError), path.open("rb") as file:  # replayed to its end just now
                inode = os.fstat(file.fileno()).st_ino  # another one once something was erased
                size, lines = self._counted.get((path, inode), (0, 0))
                file.seek(size)
                new = file.read()
                counted[path, inode] = (size + len(new), lines + new.count(b"\n"))
                waiting += counted[path, inode][1]
        self._counted = counted
        return waiting

    def append(self, records: list[Record]) -> None:
        """On disk for good when it returns. Raises OSError when it could not be written."""
        data = b"".join(encode("record", record) for record in records)
        with self._lock:
            path = self._current
            fresh = path is None or not path.exists() or path.stat().st_size > _FILE_BYTES
            if path is None or fresh:
                self._count += 1
                path = self.folder / f"turns-{self._count:08d}.jsonl"
            self._current = None  # a line that is cut off by a full disk must be the last of its file
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                put(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            if fresh:
                sync_folder(self.folder)
            self._current = path

    def replay(self, record: Callable[[list[Record]], None], batch: int = 50) -> Iterator[int]:
        """Hand every waiting turn to `record`, a batch each time it is advanced; a file goes once all of it was taken.

        What `record` raises ends the replay; the file stays and is replayed whole the next time. Yields batch sizes.
        """
        for path in self.files():
            with self._lock:
                if path == self._current:
                    self._current = None  # later turns go to a new file
            records, unfit = read_records(path)
            for start in range(0, len(records), batch):
                record(records[start : start + batch])
                yield len(records[start : start + batch])
            with self._lock:
                if unfit:  # some may have been erased meanwhile
                    still = {line for line, _ in read_lines(path)}
                    put_aside(self.folder, [line for line in unfit if line in still])
                path.unlink()

    def set_aside(self, records: list[Record]) -> None:
        """Keep what the database refuses for a reason that nobody foresaw. Raises OSError when it can't be written."""
        self.keep_aside([encode("record", record) for record in records])

    def keep_aside(self, lines: list[bytes]) -> None:
        """The same of lines that are no turns."""
        with self._lock:
            put_aside(self.folder, lines)

    def erase(self, forget: Callable[[Turn], bool]) -> int:
        """Remove the turns that `forget` names from the disk, for good. Returns how many."""
        return self._erase([*self.files(), self.folder / ASIDE], forget)

    def expire(self, before: datetime) -> int:
        """Remove what was set aside of turns that began before `before`, or don't say when. Returns how many."""
        return self._erase([self.folder / ASIDE], lambda turn: turn.started_at < before)

    def _erase(self, paths: list[Path], forget: Callable[[Turn], bool]) -> int:
        erased = 0
        with self._lock:
            for path in paths:
                kept, gone = [], 0
                with suppress(FileNotFoundError):  # replayed to its end just now
                    for line, value in read_lines(path):
                        if forget(about(asked(value))):
                            gone += 1
                        else:
                            kept.append(line)
                if gone:
                    aside = path.with_suffix(".new")
                    with aside.open("wb") as file:
                        file.write(b"".join(kept))
                        file.flush()
                        os.fsync(file.fileno())
                    os.replace(aside, path)
                    erased += gone
            if erased:
                sync_folder(self.folder)
        return erased


def inherit(
    own: Spool, root: Path, completed: Callable[[Turn], Completion], report: Callable[[str], None] = log.error
) -> int:
    """Take over what gateways that are gone left under `root`; `completed` says how an unanswered turn ended.

    A gateway that the system gives another port at each start has another folder at each start. What the disk does not
    take stays where it is for the next start, and is reported. Returns the turns.
    """
    taken = 0
    for folder in sorted(path for path in root.glob("gateway-*") if path.is_dir() and path != own.folder):
        try:
            taken += _take_over(own, folder, completed)
        except OSError as error:
            report(f"what a gateway left in {folder} stays there: {error}; free some space and start this one again")
    return taken


def _take_over(own: Spool, folder: Path, completed: Callable[[Turn], Completion]) -> int:
    """Nothing where that gateway lives."""
    claim = Claim(folder)
    try:
        if not claim.take():
            return 0
        journal = Journal(folder)
        records = [(turn, completed(turn)) for turn in journal.recover()]
        unfit = [line for line, _ in read_lines(folder / ASIDE)] if (folder / ASIDE).exists() else []
        unfit += journal.unfit
        for path in Spool(folder).files():
            found, others = read_records(path)
            records, unfit = records + found, unfit + others
        if records:
            own.append(records)
        own.keep_aside(unfit)
        # Another one may be claiming it just now. What stays is read again at the next start, and recorded once.
        shutil.rmtree(folder, ignore_errors=True)
        return len(records)
    finally:
        claim.release()
