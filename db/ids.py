"""Identifiers that sort by the time they were made (UUID version 7, RFC 9562), and nothing else."""

import os
import threading
import time
import uuid
from datetime import datetime

_AT_ONCE = 256  # random bytes asked of the system at once: each asking gives the interpreter away to another thread
_lock = threading.Lock()
_last = 0
_random = b""


def _forget_random() -> None:
    """A process that is forked must not make its parent's ids."""
    global _random
    _random = b""


os.register_at_fork(after_in_child=_forget_random)


def new_id() -> str:
    """A UUIDv7 as 36 characters. Ids made by one process are strictly increasing, also within a millisecond.

    Layout: 48 bits of Unix milliseconds, version, 12 bits of sub-millisecond count, variant, 62 random bits.
    """
    global _last, _random
    with _lock:
        ticks = max(time.time_ns() * 4096 // 1_000_000, _last + 1)  # 1/4096 ms: the 12 bits after the version
        _last = ticks
        if not _random:
            _random = os.urandom(_AT_ONCE)
        random, _random = int.from_bytes(_random[:8], "big") & ((1 << 62) - 1), _random[8:]
    value = ((ticks >> 12) << 80) | (0x7 << 76) | ((ticks & 0xFFF) << 64) | (0b10 << 62) | random
    return str(uuid.UUID(int=value))


def first_id_at(when: datetime) -> str:
    """No id made at `when` or later sorts before this one, and none made a millisecond earlier after it."""
    return str(uuid.UUID(int=(int(when.timestamp() * 1000) << 80) | (0x7 << 76) | (0b10 << 62)))


def made_at(identifier: str) -> float | None:
    """When `new_id` made it, in Unix seconds; None: it is not one of its."""
    try:
        value = uuid.UUID(identifier)
    except ValueError:
        return None
    return (value.int >> 80) / 1000 if value.version == 7 else None
