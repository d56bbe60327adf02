"""Short questions to the database on the way of a request: on threads of their own, and for a bounded time.

A database that hangs (a server that was stopped, a network that drops packets) raises no error by itself. Here it
counts as down after a while, and one question at a time finds out when it answers again; what hangs keeps its thread.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from db.errors import DatabaseUnavailable

THREADS = 8  # each has a connection while it asks
RETRY_SECONDS = 1.0  # how often a database that hangs is asked again

Asked = ParamSpec("Asked")
Found = TypeVar("Found")


class Lookups:
    """`url` is the database's, for the error; `seconds`, how long a question may take."""

    def __init__(self, url: str, seconds: float, threads: int = THREADS) -> None:
        self._url, self._seconds = url, seconds
        self._threads = ThreadPoolExecutor(threads, "lookup")
        self._hangs = False
        self._again = 0.0

    async def ask(self, question: Callable[Asked, Found], *args: Asked.args, **kwargs: Asked.kwargs) -> Found:
        """What `question` returns, on a thread. Raises DatabaseUnavailable also when it gives no answer in time."""
        if self._hangs:
            if time.monotonic() < self._again:
                raise self._late()
            self._again = time.monotonic() + self._seconds + RETRY_SECONDS  # this one asks for all
        asked = asyncio.wrap_future(self._threads.submit(question, *args, **kwargs))
        try:
            async with asyncio.timeout(self._seconds):
                found = await asked
        except TimeoutError:
            self._hangs, self._again = True, time.monotonic() + RETRY_SECONDS
            raise self._late() from None
        except Exception:
            self._hangs = False  # it was heard of, or its absence
            raise
        self._hangs = False
        return found

    def close(self) -> None:
        """Ask nothing more. What hangs is waited for at the end of the process only, by Python."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _late(self) -> DatabaseUnavailable:
        cause = f"it gave no answer within {self._seconds:g} s"
        return DatabaseUnavailable(self._url, cause, "It is too slow or blocked: look at its load and its locks.")
