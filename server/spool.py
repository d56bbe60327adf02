"""Turns on this machine's disk: those being answered, and finished ones that the database could not take yet.

`Journal` holds what is being answered, so that a killed gateway knows at its next start which answers it broke off. Its
lines outlive the process without fsync. `Spool` holds finished turns through power cuts (fsync) until they are
replayed; the database drops one that it has already, which makes it exactly once. Neither interprets a turn.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from db.values import Completion, Turn
from server.claim import Claim

_COMPACT_BYTES = 1 << 20  # the journal is rewritten with its open turns alone once it is this large
_FILE_BYTES = 16 << 20  # a spool file is closed at this size, so that a replay frees disk as it goes

_TIMES = ("ended_at", "first_token_at", "thought_ended_at")

Record = tuple[Turn, Completion]


def _encode(kind: str, value: Any) -> bytes:
    return orjson.dumps({kind: value}) + b"\n"


def _turn(value: dict[str, Any]) -> Turn:
    return Turn(**(value | {"started_at": datetime.fromisoformat(value["started_at"])}))


def _completion(value: dict[str, Any]) -> Completion:
    known = {name: value[name] for name in _TIMES if value.get(name)}  # a line of an older version has fewer of them
    return Completion(**(value | {name: datetime.fromisoformat(time) for name, time in known.items()}))


def _record(line: dict[str, Any]) -> Record:
    turn, completion = line["record"]
    return _turn(turn), _completion(completion)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines only: the last one may have been cut off by a kill or a full disk."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                continue


class Journal:
    """The turns being answered. Written on the event loop: a line costs microseconds; nothing waits for the disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / "open.jsonl"
        self._open: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._size = 0
        self._fd = -1

    def recover(self) -> list[Turn]:
        """The turns that the last process of this gateway left unanswered. Call once, before `start`."""
        turns: dict[str, Turn] = {}
        if self._path.exists():
            for line in _lines(self._path):
                if "begin" in line:
                    turns[line["begin"]["request_id"]] = _turn(line["begin"])
                else:
                    turns.pop(line["end"], None)
        return list(turns.values())

    def start(self) -> None:
        """Begin an empty journal; what was recovered must be recorded elsewhere by now."""
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)

    def begin(self, turn: Turn) -> None:
        """Note a turn. Raises OSError when the disk takes nothing."""
        line = _encode("begin", turn)
        with self._lock:
            self._open[turn.request_id] = line
            self._write(line)

    def end(self, request_ids: list[str]) -> None:
        """These turns are durable elsewhere, or are not to be kept."""
        with self._lock:
            for request_id in request_ids:
                self._open.pop(request_id, None)
            self._write(b"".join(_encode("end", request_id) for request_id in request_ids))
            if self._size > _COMPACT_BYTES:
                self._compact()

    def erase(self, forget: Callable[[Turn], bool]) -> int:
        """Remove the turns that `forget` names from the disk, with all that have ended. Returns how many were open."""
        with self._lock:
            mine = self._fd >= 0
            if not mine:  # that of a gateway which is gone
                if not self._path.exists():
                    return 0
                self._open = {turn.request_id: _encode("begin", turn) for turn in self.recover()}
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            gone = [key for key, line in self._open.items() if forget(_turn(orjson.loads(line)["begin"]))]
            for key in gone:
                del self._open[key]
            self._compact()
            if not mine:
                os.close(self._fd)
                self._fd = -1
            return len(gone)

    def _write(self, data: bytes) -> None:
        os.write(self._fd, data)
        self._size += len(data)

    def _compact(self) -> None:
        aside = self._path.with_suffix(".new")
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        data = b"".join(self._open.values())
        os.write(fd, data)
        os.replace(aside, self._path)
        os.close(self._fd)
        # Twice what is open, so that many long answers at once don't rewrite the file at every end.
        self._fd, self._size = fd, -len(data)

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                if not self._open:
                    os.ftruncate(self._fd, 0)
                os.close(self._fd)
                self._fd = -1


class Spool:
    """Finished turns that wait for the database, oldest file first."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self._lock = threading.Lock()
        self._current: Path | None = None
        self._count = max((int(path.stem.split("-")[1]) for path in self.files()), default=0)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("turns-*.jsonl"))

    @property
    def empty(self) -> bool:
        return not self.files()

    def depth(self) -> int:
        """Turns that wait."""
        waiting = 0
        for path in self.files():
            with suppress(FileNotFoundError):  # replayed to its end just now
                waiting += path.read_bytes().count(b"\n")
        return waiting

    def append(self, records: list[Record]) -> None:
        """On disk for good when it returns. Raises OSError when it could not be written."""
        data = b"".join(_encode("record", record) for record in records)
        with self._lock:
            path = self._current
            fresh = path is None or not path.exists() or path.stat().st_size > _FILE_BYTES
            if path is None or fresh:
                self._count += 1
                path = self.folder / f"turns-{self._count:08d}.jsonl"
            self._current = None  # a line that is cut off by a full disk must be the last of its file
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                if os.write(fd, data) != len(data):
                    raise OSError(f"{path}: the disk took a part of a turn only")
                os.fsync(fd)
            finally:
                os.close(fd)
            if fresh:
                self._sync_folder()
            self._current = path

    def replay(self, record: Callable[[list[Record]], None], batch: int = 50) -> Iterator[int]:
        """Hand every waiting turn to `record`, a batch each time it is advanced; a file goes once all of it was taken.

        What `record` raises ends the replay; the file stays and is replayed whole the next time. Yields batch sizes.
        """
        for path in self.files():
            with self._lock:
                if path == self._current:
                    self._current = None  # later turns go to a new file
            records = [_record(line) for line in _lines(path)]
            for start in range(0, len(records), batch):
                record(records[start : start + batch])
                yield len(records[start : start + batch])
            path.unlink()

    def erase(self, forget: Callable[[Turn], bool]) -> int:
        """Remove the turns that `forget` names from the disk, for good. Returns how many."""
        erased = 0
        with self._lock:
            for path in self.files():
                kept, gone = [], 0
                with suppress(FileNotFoundError):  # replayed to its end just now
                    for line in _lines(path):
                        if forget(_turn(line["record"][0])):
                            gone += 1
                        else:
                            kept.append(orjson.dumps(line) + b"\n")
                if gone:
                    aside = path.with_suffix(".new")
                    aside.write_bytes(b"".join(kept))
                    os.replace(aside, path)
                    erased += gone
        return erased

    def _sync_folder(self) -> None:
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def inherit(own: Spool, root: Path, completed: Callable[[Turn], Completion]) -> int:
    """Take over what gateways that are gone left under `root`; `completed` says how an unanswered turn ended.

    A gateway that the system gives another port at each start has another folder at each start. Returns the turns.
    """
    taken = 0
    for folder in sorted(path for path in root.glob("gateway-*") if path.is_dir() and path != own.folder):
        claim = Claim(folder)
        try:
            if not claim.take():
                continue
            records = [(turn, completed(turn)) for turn in Journal(folder).recover()]
            for path in Spool(folder).files():
                records += [_record(line) for line in _lines(path)]
            if records:
                own.append(records)
            shutil.rmtree(folder)
            taken += len(records)
        finally:
            claim.release()
    return taken
