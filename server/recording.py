"""Makes turns durable before their last bytes leave: in the database by group commit, or in the spool when it can't.

One thread writes; if it ends by itself, so does the process. What comes in while a commit runs is committed together
with the next one; a crowd goes to the spool at once, which takes it in a tenth of the time, and into the database when
it is quieter. A database that is down, slow or locked costs an answer at most `patience` seconds, once; afterwards
turns go to the spool until it is back. A full disk costs nobody an answer either: it is reported.
"""

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

from db.errors import DatabaseUnavailable, StorageError
from db.queries import turns
from db.session import Database
from db.values import Completion, Turn
from server.journal import Journal
from server.spool import Spool
from server.spool_lines import Record

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0  # how often a database that was down is tried again
BATCH = 256  # turns written together at most
CROWD = 32  # turns at once that a commit would keep waiting: some 15 ms on one core


Given = ParamSpec("Given")
Made = TypeVar("Made")
Noted = TypeVar("Noted")


@dataclass
class _Item:
    record: Record
    done: asyncio.Future[None]


class Recorder:
    """Use from the event loop: `begin` when a turn starts, `await complete` before its last bytes are sent.

    `ended` is called when nothing can be written any more.
    """

    def __init__(
        self, database: Database, journal: Journal, spool: Spool, patience: float, ended: Callable[[], None]
    ) -> None:
        self._database, self._journal, self._spool = database, journal, spool
        self._patience, self._ended = patience, ended
        self._queue: queue.SimpleQueue[_Item | Turn | None] = queue.SimpleQueue()
        self._down_until = 0.0
        self._busy_since = math.inf  # when the commit that runs just now began
        self._replay: Iterator[int] | None = None
        self._pending = True  # whether the spool may hold turns; the last process may have left some
        self._replayed = 0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._disk = ThreadPoolExecutor(2, "disk")  # its own: others may all be waiting for a database that hangs
        self._kept_out: str | None = None  # what keeps turns from the database
        self._unnoted: str | None = None  # what keeps them from the journal
        self._kept_back: str | None = None  # what of the last start the disk did not take
        self.recorded = 0
        self.spooled = 0

    def start(self) -> None:
        """Mark what the last process left as interrupted, then begin to write.

        What a full disk does not take of it stays in the journal until the database has it, and is reported.
        """
        left = [(turn, interrupted(turn)) for turn in self._journal.recover()]
        self._loop = asyncio.get_running_loop()
        try:
            if left:
                self._spool.append(left)
            self._spool.keep_aside(self._journal.unfit)
        except OSError as error:
            self.keep_back(f"what is open in the journal of the last start stays there for the next one: {error}")
            self._journal.start(keep=True)
            for record in left:
                self._queue.put(_Item(record, self._loop.create_future()))
        else:
            self._journal.start()
        if left:
            log.warning(
                "%d answers were broken off when this gateway last ended; they are recorded as interrupted", len(left)
            )
        self._thread.start()

    def keep_back(self, trouble: str) -> None:
        """Say until the end of this process that something on the disk waits for its next start."""
        log.error("%s", trouble)
        self._kept_back = trouble

    @property
    def trouble(self) -> str | None:
        """What keeps turns from where they belong just now, in words; None when all is well."""
        return self._kept_out or self._unnoted or self._kept_back

    @property
    def is_behind(self) -> bool:
        """Whether turns of this process are on their way: they wait on the disk, or the database can't be had."""
        return self._kept_out is not None or not self._spool.empty

    def begin(self, turn: Turn) -> None:
        """Note that a turn is being answered. A full disk costs nobody an answer: it is reported."""
        self._note(self._journal.begin, turn)

    def is_open(self, turn: Turn) -> bool:
        """Whether it has begun, and nothing that became of it is kept anywhere yet."""
        return self._journal.has(turn.request_id)

    def open(self, turn: Turn) -> None:
        """Let other gateways see by a row that it is being answered, for a turn that can be picked up again."""
        self._queue.put(turn)

    def abandon(self, turn: Turn) -> None:
        """It came to nothing: no engine took it. There is nothing to record."""
        self._note(self._journal.end, [turn.request_id])

    async def aside(self, work: Callable[Given, Made], *given: Given.args, **more: Given.kwargs) -> Made:
        """Do on a thread what the end of an answer waits for; there it never stands behind a database that hangs. It is
        done also when whoever waits for it leaves."""
        return await asyncio.shield(asyncio.wrap_future(self._disk.submit(work, *given, **more)))

    async def complete(self, turn: Turn, completion: Completion) -> None:
        """Return once the turn is durable, or once neither the database nor the disk could take it (reported)."""
        if time.monotonic() - self._busy_since > self._patience:  # a commit hangs: don't queue up behind it
            await self.aside(self._to_spool, [(turn, completion)])
            return
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Item((turn, completion), done))
        try:
            async with asyncio.timeout(self._patience):
                await done
        except TimeoutError:
            self._report(f"the database took longer than {self._patience:g} s; turns go to the spool")
            await self.aside(self._to_spool, [(turn, completion)])

    def close(self) -> None:
        """Write what is left, and end. Call when no more turns can come."""
        self._queue.put(None)
        self._thread.join()
        self._disk.shutdown()
        self._journal.close()

    @property
    def waiting(self) -> int:
        """Turns in the spool."""
        return self._spool.depth()

    def _run(self) -> None:
        try:
            self._write()
        except BaseException:
            log.critical("turns are recorded no more; this gateway ends", exc_info=True)
            self._busy_since = -math.inf  # until then they go to the spool at once
            self._ended()

    def _write(self) -> None:
        ending = False
        while not ending:
            quiet = self._pending and time.monotonic() >= self._down_until
            items, ending = self._next(0.0 if quiet else RETRY_SECONDS)
            if items:
                self._keep([item.record for item in items])
                self._loop.call_soon_threadsafe(_resolve, [item.done for item in items])
            if quiet and not ending and len(items) < CROWD:
                self._replay_some()

    def _next(self, seconds: float) -> tuple[list[_Item], bool]:
        """What waits to be written, at most BATCH, and whether it is the end."""
        items: list[_Item] = []
        try:
            item = self._queue.get(timeout=seconds) if seconds else self._queue.get_nowait()
            while item is not None:
                if isinstance(item, Turn):
                    self._show(item)  # in the order of the queue: its end comes later
                else:
                    items.append(item)
                if len(items) == BATCH:
                    return items, False
                item = self._queue.get_nowait()
        except queue.Empty:
            return items, False
        return items, True

    def _show(self, turn: Turn) -> None:
        """A row that can't be written is missed by other gateways only, and written at the turn's end."""
        if time.monotonic() < self._down_until:
            return
        self._busy_since = time.monotonic()
        try:
            with self._database.transaction() as session:
                turns.begin_turn(session, turn)
        except DatabaseUnavailable as error:
            self._down(error)
        except Exception:
            log.exception("that turn %s is being answered can't be written", turn.request_id)
        finally:
            self._busy_since = math.inf

    def _keep(self, records: list[Record]) -> None:
        down = time.monotonic() < self._down_until
        if (down or len(records) > CROWD) and (self._to_spool(records, last=down) or down):
            return
        self._busy_since = time.monotonic()
        try:
            self._record(records)
        except DatabaseUnavailable as error:
            self._down(error)
            self._to_spool(records)
        else:
            if not self._pending:
                self._kept_out = None
        finally:
            self._busy_since = math.inf

    def _record(self, records: list[Record]) -> None:
        """One transaction for all of them; when one is refused by the database itself, each on its own."""
        try:
            with self._database.transaction() as session:
                refused = turns.record_many(session, records)
        except DatabaseUnavailable:
            raise
        except Exception:
            if len(records) == 1:
                log.exception("turn %s can't be recorded", records[0][0].request_id)
                try:
                    self._spool.set_aside(records)
                except OSError as error:
                    self._report(f"turn {records[0][0].request_id} is lost, the disk does not take it: {error}")
                self._note(self._journal.end, [records[0][0].request_id])
                return
            for record in records:
                self._record([record])
            return
        for one in refused:
            log.warning("turn %s is not recorded: %s", one.request_id, one.why)
        self.recorded += len(records) - len(refused)
        self._note(self._journal.end, [turn.request_id for turn, _ in records])

    def _replay_some(self) -> None:
        """One batch from the spool into the database, so that fresh turns never wait for a long replay."""
        if self._replay is None:
            self._replay = self._spool.replay(self._record)
        try:
            self._replayed += next(self._replay)
            return
        except StopIteration:
            self._pending = False
            if not self._spool.empty:  # looked at after the line above: another thread may have spooled a turn
                self._pending = True
            if self._replayed:
                log.info("%d spooled turns are in the database now", self._replayed)
            self._replayed = 0
            self._kept_out = None if not self._pending else self._kept_out
        except DatabaseUnavailable as error:
            self._down(error)
        except OSError as error:
            self._report(f"the spool can't be read: {error}")
            self._down_until = time.monotonic() + RETRY_SECONDS
        self._replay = None

    def _to_spool(self, records: list[Record], last: bool = True) -> bool:
        """Whether they are on the disk now. `last`: there is nowhere else to put them."""
        try:
            self._spool.append(records)
        except OSError as error:
            if not last:
                return False
            lost = ", ".join(turn.request_id for turn, _ in records)
            self._report(f"neither the database nor the disk takes turns ({error}); lost: {lost}")
            return False
        self.spooled += len(records)
        self._pending = True
        self._note(self._journal.end, [turn.request_id for turn, _ in records])
        return True

    def _note(self, write: Callable[[Noted], None], what: Noted) -> None:
        """Write the journal. A disk that takes nothing is reported: then a crash leaves less to tell of."""
        try:
            write(what)
            self._unnoted = None
        except OSError as error:
            trouble = f"the journal of open turns can't be written: {error}"
            if self._unnoted is None:
                log.error("%s", trouble)
            self._unnoted = trouble

    def _down(self, error: StorageError) -> None:
        self._down_until = time.monotonic() + RETRY_SECONDS
        self._report(f"{error} Turns go to the spool meanwhile.")

    def _report(self, trouble: str) -> None:
        if trouble != self._kept_out:
            log.error("%s", trouble)
        self._kept_out = trouble


def _resolve(these: list[asyncio.Future[None]]) -> None:
    for done in these:
        if not done.done():  # else its turn went to the spool: the wait was too long
            done.set_result(None)


def interrupted(turn: Turn, reasoning: str = "", response: str = "") -> Completion:
    """How a turn ended that nobody waited for, or that its gateway did not outlive."""
    return Completion(turn.request_id, reasoning, response, "interrupted", datetime.now(UTC))


def numbered(turn: Turn, index: int, generation_id: str) -> Turn:
    """The turn of a further choice of the same request (`n` above 1): an answer of its own beside the first."""
    return turn if index == 0 else replace(turn, request_id=f"{turn.request_id}-{index}", generation_id=generation_id)
