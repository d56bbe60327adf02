"""How many prompts are recorded and may be trained on, for whoever looks at the house.

To count them the whole record is looked through. While it is short that is done each time; of a long one the last count
is told at once, and it is counted again beside that, for a small share of the time.
"""

import logging
import threading
import time

from db.errors import DatabaseUnavailable
from db.queries import curation
from db.session import Database

log = logging.getLogger(__name__)

SHORT = 10_000
"""Recorded prompts that are counted in no time."""
SHARE = 0.02
"""Of the time at most is spent on counting a long record."""


class PromptCounts:
    """Ask from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counting = threading.Lock()
        self._found: tuple[int, int] | None = None
        self._took = 0.0
        self._again = 0.0  # from when on it is counted anew, by the monotonic clock

    def begin(self) -> None:
        """Count beside whoever asks, unless it is being done; at a start, so that nobody waits for the first time."""
        if self._counting.acquire(blocking=False):
            threading.Thread(target=self._beside, name="prompts", daemon=True).start()

    def get(self) -> tuple[int, int]:
        """(recorded, trainable). The first time it takes what it takes. Raises DatabaseUnavailable."""
        found = self._found
        if found is None or found[0] < SHORT:
            with self._counting:
                if self._found is found:  # else another one has counted meanwhile
                    self._count()
                assert self._found is not None
                return self._found
        if time.monotonic() >= self._again:
            self.begin()
        return found

    def _beside(self) -> None:
        try:
            self._count()
        except DatabaseUnavailable as error:
            self._again = time.monotonic() + self._took / SHARE
            log.warning("the prompts are counted later: %s", error)
        finally:
            self._counting.release()

    def _count(self) -> None:
        began = time.monotonic()
        with self._database.reading() as session:
            found = curation.count_prompts(session)
        self._took = time.monotonic() - began
        self._again = time.monotonic() + self._took / SHARE
        self._found = found
