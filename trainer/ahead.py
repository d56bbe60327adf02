"""The next step's samples, drawn by the engine while this step is trained on.

A batch is then sampled by the policy as it was one update before the one that it trains; the truncated importance
weights count for that as they do for engine and trainer weighing a token differently. One draw at a time, on a thread
of its own, which waits for the gateway and for the scores of what came. Knows no prompts and no consent:
`trainer.rollout` does.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """At most one piece of work under way. Use as a context manager: when the block ends, so has the work.

    A block that is cut short (not by an Exception, but by a signal or a lost lease) does not wait for it.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._key: object = None
        self._found: T | None = None
        self._error: Exception | None = None

    def start(self, key: object, work: Callable[[], T]) -> None:
        """Begin `work`, to be fetched by `key`. What was begun before is waited for, and lost."""
        self.settle()

        def run() -> None:
            try:
                self._found = work()
            except Exception as error:  # noqa: BLE001 raised where it is fetched
                self._error = error

        self._key, self._found, self._error = key, None, None
        self._thread = threading.Thread(target=run, name="sampling ahead", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether something is under way."""
        return self._thread is not None and self._thread.is_alive()

    def settle(self) -> None:
        """Wait until nothing is under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def fetch(self, key: object) -> T | None:
        """What was begun under `key`, waited for; None where that was something else. Raises what the work raised."""
        self.settle()
        mine, found, error = self._key == key, self._found, self._error
        self._key, self._found, self._error = None, None, None
        if not mine:
            return None
        if error is not None:
            raise error
        return found

    def __enter__(self) -> "Ahead[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self.settle()
