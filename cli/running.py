"""Whether a house runs on a home: a lock that its supervisor holds, which ends with it however it ends."""

import fcntl
import os
from pathlib import Path


def is_running(home: Path) -> bool:
    """Whether a supervisor holds the home; also true where that can't be told."""
    try:
        descriptor = os.open(lock_file(home), os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def lock_file(home: Path) -> Path:
    """The file whose lock it is; it stays, and says nothing."""
    return home / "run" / "house.lock"
