"""Which gateway of a home this process is: a folder that it holds by a lock for as long as it lives.

The system lets go of the lock when the process ends, however it ends; so others of this machine see who is gone.
"""

import fcntl
import os
import socket
from pathlib import Path

MOST_GATEWAYS = 64  # of one home and port


class Claim:
    """Holds a gateway's folder for as long as the process lives: nobody else may replay it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "lock"
        self._fd = _opened(self._file)

    def take(self) -> bool:
        """Whether nobody else holds it. Where another gateway took the folder away meanwhile, with what the last one
        left, the lock is that of a file which nobody else will find: it is not held."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self._fd), os.stat(self._file))
        except (BlockingIOError, FileNotFoundError):
            return False

    def release(self) -> None:
        os.close(self._fd)

    @property
    def name(self) -> str:
        """Of the gateway that holds it. One that is started again on the same folder goes on under the same name."""
        return f"{socket.gethostname()}:{self.folder.resolve()}"


def _opened(file: Path, again: bool = True) -> int:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    except FileNotFoundError:  # its folder was taken away just now
        if not again:
            raise
        return _opened(file, again=False)


def has_ended(name: str) -> bool:
    """Whether no process of this machine is the gateway of this name any more. False where that can't be told."""
    host, _, path = name.partition(":")
    folder = Path(path)
    try:
        if host != socket.gethostname() or not folder.parent.is_dir():
            return False
        if not folder.is_dir():
            return True  # another gateway has taken over what it left
        claim = Claim(folder)
    except OSError:  # as of another user's folder
        return False
    try:
        return claim.take()
    finally:
        claim.release()


def claim_free(folder: Path) -> Claim:
    """Claim `folder` or, where another gateway of this home holds it, the first free one of those named after it.

    Gateways in containers have the same port and may share a home. Raises OSError when there is none.
    """
    for number in range(1, MOST_GATEWAYS + 1):
        claim = Claim(folder if number == 1 else folder.with_name(f"{folder.name}-{number}"))
        if claim.take():
            return claim
        claim.release()
    raise OSError(f"{folder} and {MOST_GATEWAYS - 1} more are in use by other gateways; give this one another port")
