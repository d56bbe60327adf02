"""The right to work on a round, kept by a heartbeat; and the two ways in which work is cut short."""

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4


class Interrupted(BaseException):
    """Work ends here and now, and can be resumed. Not an Exception: nothing in between may take it for a failure."""


class Stopped(Interrupted):
    """The process was asked to end."""


class LeaseLost(Interrupted):
    """The round was cancelled, or belongs to another trainer now."""


class Heartbeat:
    """Extends a lease from a thread of its own, for as long as the block runs.

    `beat` extends it and tells whether it was still ours. When it was not, LeaseLost is raised in the main thread at
    once, by a signal: a step of minutes must not go on writing to a round that somebody else works on.
    """

    def __init__(self, beat: Callable[[], bool], lease_seconds: float) -> None:
        self._beat, self._interval = beat, lease_seconds / BEATS_PER_LEASE
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._before: Any = None

    def __enter__(self) -> "Heartbeat":
        self._before = signal.signal(signal.SIGUSR1, self._lost)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._before)

    def _run(self) -> None:
        from db.errors import DatabaseUnavailable

        while not self._done.wait(self._interval):
            try:
                ours = self._beat()
            except DatabaseUnavailable as error:  # the lease outlives a few missed beats; then it is lost by itself
                log.warning("no heartbeat: %s", error)
                continue
            if not ours:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)  # also wakes it from a wait
                return

    @staticmethod
    def _lost(number: int, frame: FrameType | None) -> None:
        raise LeaseLost("the round was cancelled, or another trainer has it")


def stop_on_signals() -> None:
    """SIGTERM and SIGINT raise Stopped in the main thread, once; while that is dealt with, more change nothing."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
