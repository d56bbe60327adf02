"""Turns on this machine's disk: those being answered, and finished ones that the database could not take yet.

`Journal` holds what is being answered, so that a killed gateway knows at its next start which answers it broke off. Its
lines outlive the process without fsync. `Spool` holds finished turns through power cuts (fsync) until they are
replayed; the database drops one that it has already, which makes it exactly once. Neither interprets a turn.
A line that is no turn, as another version may have written it, is set aside: it holds up nothing and is not lost.
"""

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from db.values import Completion, Turn
from server.claim import Claim

_COMPACT_BYTES = 1 << 20  # the journal is rewritten with its open turns alone once it is this large
ASIDE = "aside.jsonl"  # in a gateway's folder: lines that no replay could read or record
UNFIT = (TypeError, KeyError, ValueError, AttributeError)  # what reading a line of another form raises
LONG_AGO = datetime.min.replace(tzinfo=UTC)  # when a turn began that does not say when
_FILE_BYTES = 16 << 20  # a spool file is closed at this size, so that a replay frees disk as it goes

_TIMES = ("ended_at", "first_token_at", "thought_ended_at")

Record = tuple[Turn, Completion]

log = logging.getLogger(__name__)


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


def _lines(path: Path) -> Iterator[tuple[bytes, Any]]:
    """Whole lines only, as they are and read: the last one may have been cut off by a kill or a full disk."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield line, orjson.loads(line)
            except orjson.JSONDecodeError:
                continue


def _records(path: Path) -> tuple[list[Record], list[bytes]]:
    """The turns of a spool's file, and the lines that are none."""
    found, unfit = [], []
    for line, value in _lines(path):
        try:
            found.append(_record(value))
        except UNFIT as error:
            log.error("%s: this line is no turn of this version (%r): %s…", path, error, line[:80].decode("latin-1"))
            unfit.append(line)
    return found, unfit


def _about(value: Any) -> Turn:
    """Whose a noted turn is and where, in whatever form: for those who ask whether to forget it."""
    try:
        return _turn(value)
    except UNFIT:
        told = value if isinstance(value, dict) else {}
        one, answer, user, begun = (
            str(told.get(name)) for name in ("request_id", "generation_id", "user_id", "started_at")
        )
        at = LONG_AGO
        with suppress(ValueError):
            at = datetime.fromisoformat(begun)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return Turn(one, answer, user, (), 0, "", at, conversation_id=told.get("conversation_id"))


def _unanswered(path: Path) -> dict[str, bytes]:
    """The lines of a journal's turns that did not end, by request id, and those that are no turns."""
    found: dict[str, bytes] = {}
    if path.exists():
        for number, (line, value) in enumerate(_lines(path)):
            try:
                if "begin" in value:
                    found[value["begin"]["request_id"]] = line
                else:
                    found.pop(value["end"], None)
            except UNFIT:
                found[f"line {number}"] = line
    return found


def _asked(line: Any) -> Any:
    """The turn in a line of a spool's file or a journal; None where there is none."""
    try:
        return line["begin"] if "begin" in line else line["record"][0]
    except (TypeError, KeyError, IndexError):
        return None


def _put(fd: int, data: bytes) -> None:
    """Raises OSError also when the disk took a part only."""
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sync(folder: Path) -> None:
    """Have what was made, renamed or removed in it be on the disk for good."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _set_aside(folder: Path, lines: list[bytes]) -> None:
    if not lines:
        return
    fd = os.open(folder / ASIDE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        _put(fd, b"".join(lines))
        os.fsync(fd)
    finally:
        os.close(fd)
    _sync(folder)
    log.error("%d lines were set aside in %s; nothing was done with them", len(lines), folder / ASIDE)


class Journal:
    """The turns being answered. Written on the event loop: a line costs microseconds; nothing waits for the disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / "open.jsonl"
        self._path.with_suffix(".new").unlink(missing_ok=True)  # of a rewriting that a crash cut short
        self._open: dict[str, bytes] = {}
        self._left: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._size = 0
        self._fd = -1
        self._behind = False  # the disk did not take something, which is in `_open` nevertheless
        self.unfit: list[bytes] = []

    def recover(self) -> list[Turn]:
        """The turns that the last process of this gateway left unanswered; what is none is in `unfit` then. Call once,
        before `start`."""
        turns, self.unfit = [], []
        self._left = _unanswered(self._path)
        for line in self._left.values():
            try:
                turns.append(_turn(orjson.loads(line)["begin"]))
            except UNFIT as error:
                log.error("%s: this line is no turn of this version (%r)", self._path, error)
                self.unfit.append(line)
        return turns

    def start(self, keep: bool = False) -> None:
        """Begin an empty journal; what was recovered must be recorded elsewhere by now, unless it is to `keep` that."""
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if keep else os.O_TRUNC), 0o600)
        if keep:
            self._open, self._behind = self._left, True

    def begin(self, turn: Turn) -> None:
        """Note a turn. Raises OSError when the disk takes nothing."""
        line = _encode("begin", turn)
        with self._lock:
            self._open[turn.request_id] = line
            self._write(line)

    def has(self, request_id: str) -> bool:
        """Whether a turn has begun and not ended."""
        return request_id in self._open

    @property
    def is_empty(self) -> bool:
        """Whether no turn is open."""
        return not self._open

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
                self._open = _unanswered(self._path)
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            gone = [key for key, line in self._open.items() if forget(_about(_asked(orjson.loads(line))))]
            for key in gone:
                del self._open[key]
            self._compact()
            if not mine:
                os.close(self._fd)
                self._fd = -1
            return len(gone)

    def _write(self, data: bytes) -> None:
        if self._behind:  # its last line may be half a line, and some are missing
            self._compact()
            return
        try:
            _put(self._fd, data)
        except OSError:
            self._behind = True
            raise
        self._size += len(data)

    def _compact(self) -> None:
        aside = self._path.with_suffix(".new")
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        data = b"".join(self._open.values())
        try:
            _put(fd, data)
            os.replace(aside, self._path)
        except OSError:
            os.close(fd)
            aside.unlink(missing_ok=True)
            raise
        os.close(self._fd)
        self._behind = False
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
                _put(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            if fresh:
                _sync(self.folder)
            self._current = path

    def replay(self, record: Callable[[list[Record]], None], batch: int = 50) -> Iterator[int]:
        """Hand every waiting turn to `record`, a batch each time it is advanced; a file goes once all of it was taken.

        What `record` raises ends the replay; the file stays and is replayed whole the next time. Yields batch sizes.
        """
        for path in self.files():
            with self._lock:
                if path == self._current:
                    self._current = None  # later turns go to a new file
            records, unfit = _records(path)
            for start in range(0, len(records), batch):
                record(records[start : start + batch])
                yield len(records[start : start + batch])
            with self._lock:
                if unfit:  # some may have been erased meanwhile
                    still = {line for line, _ in _lines(path)}
                    _set_aside(self.folder, [line for line in unfit if line in still])
                path.unlink()

    def set_aside(self, records: list[Record]) -> None:
        """Keep what the database refuses for a reason that nobody foresaw. Raises OSError when it can't be written."""
        self.keep_aside([_encode("record", record) for record in records])

    def keep_aside(self, lines: list[bytes]) -> None:
        """The same of lines that are no turns."""
        with self._lock:
            _set_aside(self.folder, lines)

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
                    for line, value in _lines(path):
                        if forget(_about(_asked(value))):
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
                _sync(self.folder)
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
        unfit = [line for line, _ in _lines(folder / ASIDE)] if (folder / ASIDE).exists() else []
        unfit += journal.unfit
        for path in Spool(folder).files():
            found, others = _records(path)
            records, unfit = records + found, unfit + others
        if records:
            own.append(records)
        own.keep_aside(unfit)
        # Another one may be claiming it just now. What stays is read again at the next start, and recorded once.
        shutil.rmtree(folder, ignore_errors=True)
        return len(records)
    finally:
        claim.release()
