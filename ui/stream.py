"""Runs answers: a thread reads the gateway, any number of page visits watch at a steady frame rate.

An answer goes on when its tab closes or reloads: it belongs to the browser (and its conversation), and whoever comes
back watches the rest. The gateway records it all the same; nothing here is a second truth.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

import httpx

from cli.client import Delta, GatewayError
from ui.answer import Answer, Phase
from ui.pictures import Content

FRAMES_PER_SECOND = 25  # smooth to the eye, and a page of 200 turns still draws each in time
FIRST_PIECE_S = 0.2  # how long the first frame waits for the first piece, for an empty one only costs on its way

Opener = Callable[["Interruptible"], Iterator[Delta]]


class Interruptible(httpx.BaseTransport):
    """An HTTP transport whose one connection another thread may cut: the way to stop an answer that is silent."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self._socket: socket.socket | None = None
        self._cut = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, remembering the connection it goes over."""
        request.extensions = {**request.extensions, "trace": self._trace}
        return self._inner.handle_request(request)

    def cut(self) -> None:
        """End the connection now; the reader sees a transport error."""
        self._cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # already closed by the other side
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back."""
        self._inner.close()

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._socket = info["return_value"].get_extra_info("socket")
            if self._cut:
                self.cut()


Watcher = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Running:
    """One answer in the making. `watch` may be used from any number of places."""

    def __init__(self, open_stream: Opener, transport: httpx.BaseTransport) -> None:
        self.answer = Answer(started=time.monotonic())
        self.prompt: Content = ""  # what it answers, for a page that comes back to it
        self.naming: Future[str] = Future()  # the name that its conversation gets at its end; "" for none
        self._open = open_stream
        self._transport = Interruptible(transport)
        self._lock = threading.Lock()
        self._watchers: set[Watcher] = set()
        self._stopped = False
        self._thread = threading.Thread(target=self._read, name="answer", daemon=True)

    def start(self, on_end: Callable[[], None]) -> None:
        """Begin reading; `on_end` runs in the reader's thread after the last piece."""
        self._on_end = on_end
        self._thread.start()

    def stop(self) -> None:
        """End the answer where it is. The gateway sees the connection close and frees the engine."""
        self._stopped = True
        with self._lock:
            self.answer.finish(time.monotonic(), stopped=True)
        self._transport.cut()
        self._wake()

    def frame(self) -> dict[str, Any]:
        """The answer as it is now."""
        with self._lock:
            return self.answer.frame(time.monotonic())

    @property
    def begun(self) -> bool:
        """Whether a first piece has come, or the end."""
        return self.answer.phase is not Phase.WAITING

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.answer.phase.over

    def watch(self) -> AsyncIterator[dict[str, Any]]:
        """Frames from now on, the last one final."""
        return frames(self.frame, lambda: self.over, [self])

    def tell(self, watcher: "Watcher", wanted: bool = True) -> None:
        """Wake `watcher` at news, or no longer."""
        (self._watchers.add if wanted else self._watchers.discard)(watcher)

    def _read(self) -> None:
        try:
            for delta in self._open(self._transport):
                with self._lock:
                    if self._stopped:
                        break
                    self.answer.feed(delta, time.monotonic())
                self._wake()
            with self._lock:
                self.answer.finish(time.monotonic(), stopped=self._stopped)
        except GatewayError as error:
            with self._lock:
                if not self._stopped:  # cutting the connection looks like an error here, and is none
                    self.answer.fail(error.message, time.monotonic())
        finally:
            with self._lock:
                if not self.answer.phase.over:  # a defect of ours, which the thread's traceback will name
                    self.answer.fail("the page could not read the answer; try again", time.monotonic())
            self._on_end()
            self._wake()

    def _wake(self) -> None:
        for loop, news in list(self._watchers):
            with contextlib.suppress(RuntimeError):  # the watcher's loop has closed with its server
                loop.call_soon_threadsafe(news.set)


async def frames(
    of: Callable[[], dict[str, Any]], over: Callable[[], bool], sources: Sequence[Running]
) -> AsyncIterator[dict[str, Any]]:
    """What `of` gives whenever a source has news, FRAMES_PER_SECOND a second at most, until the last when `over`.

    The first piece is given at once: an empty frame before it comes only after FIRST_PIECE_S, and delays nothing.
    """

    def begun() -> bool:
        return any(source.begun for source in sources)

    news = asyncio.Event()
    watcher = (asyncio.get_running_loop(), news)
    for source in sources:
        source.tell(watcher)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_PIECE_S):
                while not begun():
                    await news.wait()
                    news.clear()
        while True:
            news.clear()
            shown, empty = time.monotonic(), not begun()
            last = over()  # asked before the frame is made, which is then whole
            yield of()
            if last:
                return
            await news.wait()
            if not empty:
                await asyncio.sleep(max(0.0, shown + 1 / FRAMES_PER_SECOND - time.monotonic()))
    finally:
        for source in sources:
            source.tell(watcher, wanted=False)


class Findable(Protocol):
    """An answer in the making, or two."""

    @property
    def over(self) -> bool:
        """Whether no more can come."""


Found = TypeVar("Found", bound=Findable)


class RunningAnswers(Generic[Found]):
    """The answers in the making, by browser and conversation, so that a reload finds its own and nobody else's.

    What is over stays until it is dropped: two answers wait for a choice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], Found] = {}

    def put(self, browser: str, place: str, running: Found) -> None:
        """Make `running` findable at `place`, a conversation's id or, before it has one, its tab's own."""
        with self._lock:
            self._running[browser, place] = running

    def at(self, browser: str, place: str) -> Found | None:
        """What is kept at `place`, if anything is."""
        with self._lock:
            return self._running.get((browser, place))

    def drop(self, running: Found) -> None:
        """Forget an answer that has ended, or been chosen."""
        with self._lock:
            for key in [key for key, value in self._running.items() if value is running]:
                del self._running[key]
