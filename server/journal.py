"""The turns being answered, on this machine's disk, so that a killed gateway knows at its next start which answers it
broke off. Its lines outlive the process without fsync."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import orjson

from db.values import Turn
from server.spool_lines import UNFIT, about, asked, encode, put, turn_of, unanswered

_COMPACT_BYTES = 1 << 20  # it is rewritten with its open turns alone once it is this large

log = logging.getLogger(__name__)


class Journal:
    """Written on the event loop: a line costs microseconds; nothing waits for the disk."""

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
        self._left = unanswered(self._path)
        for line in self._left.values():
            try:
                turns.append(turn_of(orjson.loads(line)["begin"]))
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
        line = encode("begin", turn)
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
            self._write(b"".join(encode("end", request_id) for request_id in request_ids))
            if self._size > _COMPACT_BYTES:
                self._compact()

    def erase(self, forget: Callable[[Turn], bool]) -> int:
        """Remove the turns that `forget` names from the disk, with all that have ended. Returns how many were open."""
        with self._lock:
            mine = self._fd >= 0
            if not mine:  # that of a gateway which is gone
                if not self._path.exists():
                    return 0
                self._open = unanswered(self._path)
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            gone = [key for key, line in self._open.items() if forget(about(asked(orjson.loads(line))))]
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
            put(self._fd, data)
        except OSError:
            self._behind = True
            raise
        self._size += len(data)

    def _compact(self) -> None:
        aside = self._path.with_suffix(".new")
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        data = b"".join(self._open.values())
        try:
            put(fd, data)
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
