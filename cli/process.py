"""One supervised process: started in a group of its own, logged to a file, restarted with backoff, ended for sure.

Knows nothing of what the process does; readiness is a function that the owner gives.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)  # the n-th restart in a row waits so long
_STABLE_S = 60.0  # after so long up, the next death counts as the first again
_PR_SET_PDEATHSIG = 1  # Linux: a child gets a signal when its parent dies, so that kill -9 of the parent leaves nobody
_REFUSAL = 2  # how our rooms end when things are wrong as they are: a setting, a port, the database
_LOG_LIMIT = 20 * 2**20  # a log over 20 MiB is set aside as .1, at a start and while its process runs


class Supervised:
    """A process and what became of it. `tick` is to be called a few times a second by one owner."""

    def __init__(
        self,
        name: str,
        command: list[str],
        env: dict[str, str],
        log: Path,
        ready: Callable[[], bool],
        on_event: Callable[[str], None],
    ) -> None:
        self.name, self.command, self.env, self.log = name, command, env, log
        self._ready, self._on_event = ready, on_event
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self._restart_at = 0.0
        self.started_at = 0.0
        self.is_ready = self._was_ready = False
        self.refused = False
        """It ended with exit code 2 before it was ever ready, and is not started again: that would change nothing."""

    @property
    def pid(self) -> int | None:
        """The process id, or None while it is down."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def failed_starts(self) -> int:
        """How often in a row it died before it was ready or soon after."""
        return self._deaths

    def start(self) -> None:
        """Start it, in a process group of its own so that Ctrl-C reaches only its owner.

        In the session of its owner: Linux with autogroups gives each session, however many processes it has, an equal
        share of the cores, and a reader in one session waited a second and more for what another one had written.
        """
        with self._open_log() as sink:
            self._process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self.started_at, self.is_ready = time.monotonic(), False

    def tick(self) -> None:
        """Notice readiness and death; restart when the backoff is over."""
        now = time.monotonic()
        if self._process is None:
            if self._restart_at and now >= self._restart_at:
                self._restart_at = 0.0
                try:
                    self.start()
                except OSError as error:  # no memory or no process is left just now
                    self._again(now, f"{self.name} could not be started ({error.strerror})")
            return
        code = self._process.poll()
        if code is None:
            self._bound_log()
            if not self.is_ready and self._ready():
                self.is_ready = self._was_ready = True
                if self._deaths:
                    self._on_event(f"{self.name} is back after {now - self.started_at:.0f} s")
            if self.is_ready and now - self.started_at > _STABLE_S:
                self._deaths = 0
            return
        _signal_group(self._process.pid, signal.SIGKILL)  # children that it left behind
        self._process = None
        self.is_ready = False
        if code == _REFUSAL and not self._was_ready:
            self._deaths += 1
            self.refused = True
            return
        self._again(now, f"{self.name} ended ({_how(code)})")

    def _again(self, now: float, why: str) -> None:
        wait = _BACKOFF_S[min(self._deaths, len(_BACKOFF_S) - 1)]
        self._deaths += 1
        self._restart_at = now + wait
        self._on_event(f"{why}; starting it again in {wait:.0f} s (log: {self.log})")

    def _open_log(self) -> BinaryIO:
        """Its log, with the start noted. A disk that is full costs the log, never the process."""
        try:
            if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
                self.log.replace(self._log_before)
            sink = self.log.open("ab", buffering=0)
        except OSError:
            return open(os.devnull, "ab", buffering=0)
        with suppress(OSError):
            sink.write(f"--- {self.name} started {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        return sink

    @property
    def _log_before(self) -> Path:
        return self.log.with_suffix(self.log.suffix + ".1")

    def _bound_log(self) -> None:
        """Set a log that has grown too large aside while its process, which appends, goes on writing to it.

        What it writes between the copy and the cut is lost; all of it is where the disk has no room for the copy.
        """
        try:
            if self.log.stat().st_size <= _LOG_LIMIT:
                return
        except OSError:
            return
        try:
            shutil.copyfile(self.log, self._log_before)
        except OSError:
            with suppress(OSError):
                self._log_before.unlink()
        with suppress(OSError):
            os.truncate(self.log, 0)

    def ask_to_end(self) -> None:
        """Send SIGTERM to the process and its children, and restart it no more."""
        self._restart_at = 0.0
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGTERM)

    def ended(self) -> bool:
        """Whether the process and all of its group are gone."""
        if self._process is None:
            return True
        self._process.poll()
        return not _group_alive(self._process.pid)

    def kill(self) -> None:
        """End what is left of it at once."""
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=5)

    def last_lines(self, count: int = 8) -> str:
        """The end of its log, for an error message."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-count:])

    def last_sentence(self) -> str:
        """The last thing that it wrote since it was started; empty if nothing."""
        lines = [line.strip() for line in self.last_lines(40).splitlines() if line.strip()]
        return "" if not lines or lines[-1].startswith(f"--- {self.name} started") else lines[-1]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return  # the whole group is gone already, which is what a signal was to bring about


def _group_alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
