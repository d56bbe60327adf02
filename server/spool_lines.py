"""The lines in which turns lie on this machine's disk (see `server.journal` and `server.spool`), written and read.

A line that is no turn, as another version may have written it, is set aside: it holds up nothing and is not lost.
"""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from db.values import Completion, Turn

ASIDE = "aside.jsonl"  # in a gateway's folder: lines that no replay could read or record
UNFIT = (TypeError, KeyError, ValueError, AttributeError)  # what reading a line of another form raises
LONG_AGO = datetime.min.replace(tzinfo=UTC)  # when a turn began that does not say when

_TIMES = ("ended_at", "first_token_at", "thought_ended_at")

Record = tuple[Turn, Completion]

log = logging.getLogger(__name__)


def encode(kind: str, value: Any) -> bytes:
    """A line of this kind: begin, end or record."""
    return orjson.dumps({kind: value}) + b"\n"


def turn_of(value: dict[str, Any]) -> Turn:
    """Raises one of UNFIT where it is in another form."""
    return Turn(**(value | {"started_at": datetime.fromisoformat(value["started_at"])}))


def _completion(value: dict[str, Any]) -> Completion:
    known = {name: value[name] for name in _TIMES if value.get(name)}  # a line of an older version has fewer of them
    return Completion(**(value | {name: datetime.fromisoformat(time) for name, time in known.items()}))


def _record(line: dict[str, Any]) -> Record:
    turn, completion = line["record"]
    return turn_of(turn), _completion(completion)


def read_lines(path: Path) -> Iterator[tuple[bytes, Any]]:
    """Whole lines only, as they are and read: the last one may have been cut off by a kill or a full disk."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield line, orjson.loads(line)
            except orjson.JSONDecodeError:
                continue


def read_records(path: Path) -> tuple[list[Record], list[bytes]]:
    """The turns of a spool's file, and the lines that are none."""
    found, unfit = [], []
    for line, value in read_lines(path):
        try:
            found.append(_record(value))
        except UNFIT as error:
            log.error("%s: this line is no turn of this version (%r): %s…", path, error, line[:80].decode("latin-1"))
            unfit.append(line)
    return found, unfit


def about(value: Any) -> Turn:
    """Whose a noted turn is and where, in whatever form: for those who ask whether to forget it."""
    try:
        return turn_of(value)
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


def unanswered(path: Path) -> dict[str, bytes]:
    """The lines of a journal's turns that did not end, by request id, and those that are no turns."""
    found: dict[str, bytes] = {}
    if path.exists():
        for number, (line, value) in enumerate(read_lines(path)):
            try:
                if "begin" in value:
                    found[value["begin"]["request_id"]] = line
                else:
                    found.pop(value["end"], None)
            except UNFIT:
                found[f"line {number}"] = line
    return found


def asked(line: Any) -> Any:
    """The turn in a line of a spool's file or a journal; None where there is none."""
    try:
        return line["begin"] if "begin" in line else line["record"][0]
    except (TypeError, KeyError, IndexError):
        return None


def put(fd: int, data: bytes) -> None:
    """Raises OSError also when the disk took a part only."""
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync_folder(folder: Path) -> None:
    """Have what was made, renamed or removed in it be on the disk for good."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def put_aside(folder: Path, lines: list[bytes]) -> None:
    """Keep lines that nothing can be done with. Raises OSError."""
    if not lines:
        return
    fd = os.open(folder / ASIDE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        put(fd, b"".join(lines))
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(folder)
    log.error("%d lines were set aside in %s; nothing was done with them", len(lines), folder / ASIDE)
