"""Runs answers: a thread reads the gateway, any number of page visits watch at a steady frame rate.

An answer goes on when its tab closes or reloads: it belongs to the browser (and its conversation), and whoever comes
back watches the rest. The gateway records it all the same; nothing here is a second truth.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Generic, Protocol, TypeVar

import httpx

from cli.client import Delta, GatewayError
from ui.answer import Answer, Phase
from ui.pictures import Content
from ui.troubles import needs_key

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


def always() -> bool:
    """Somebody is looking."""
    return True


Tell = Callable[[GatewayError | None], str]
Watcher = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Running:
    """One answer in the making. `watch` may be used from any number of places."""

    def __init__(self, open_stream: Opener, transport: httpx.BaseTransport, tell: Tell) -> None:
        """`tell` puts an error into words; None: a defect of ours."""
        self.answer = Answer(started=time.monotonic())
        self.prompt: Content = ""  # what it answers, for a page that comes back to it
        self.naming: Future[str] = Future()  # the name that its conversation gets at its end; "" for none
        self.key = ""  # by which a page knows the answer, however often it comes back to it
        self.need_key = False  # whether it failed for want of a key
        self._tell = tell
        self._open = open_stream
        self._transport = Interruptible(transport)
        self._lock = threading.Lock()
        self._watchers: set[Watcher] = set()
        self._stopped = False
        self._thread = threading.Thread(target=self._read, name="answer", daemon=True)

    def start(self, on_end: Callable[[], None], on_place: Callable[[str], None] = lambda name: None) -> None:
        """Begin reading. In the reader's thread, `on_place` gets the conversation's id when it is first known, and
        `on_end` runs after the last piece."""
        self._on_end, self._on_place = on_end, on_place
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

    def watch(self, wanted: Callable[[], bool] = always, on: Executor | None = None) -> AsyncIterator[dict[str, Any]]:
        """Frames from now on, the last one final, drawn by threads of `on`. While not `wanted` there are none."""
        return frames(drawing(self.frame, on), lambda: self.over, [self], wanted)

    def tell(self, watcher: "Watcher", wanted: bool = True) -> None:
        """Wake `watcher` at news, or no longer."""
        (self._watchers.add if wanted else self._watchers.discard)(watcher)

    def _read(self) -> None:
        try:
            for delta in self._open(self._transport):
                with self._lock:
                    if self._stopped:
                        break
                    known = self.answer.conversation_id
                    self.answer.feed(delta, time.monotonic())
                if known is None and self.answer.conversation_id is not None:
                    self._on_place(self.answer.conversation_id)
                self._wake()
            with self._lock:
                self.answer.finish(time.monotonic(), stopped=self._stopped)
        except GatewayError as error:
            with self._lock:
                if not self._stopped:  # cutting the connection looks like an error here, and is none
                    self.need_key = needs_key(error)
                    self.answer.fail(self._tell(error), time.monotonic())
        finally:
            with self._lock:
                if not self.answer.phase.over:  # a defect of ours, which the thread's traceback will name
                    self.answer.fail(self._tell(None), time.monotonic())
            self._on_end()
            self._wake()

    def _wake(self) -> None:
        for loop, news in list(self._watchers):
            with contextlib.suppress(RuntimeError):  # the watcher's loop has closed with its server
                loop.call_soon_threadsafe(news.set)


Draw = Callable[[], Awaitable[dict[str, Any]]]


def drawing(frame: Callable[[], dict[str, Any]], on: Executor | None) -> Draw:
    """`frame` made by a thread: a long one must not hold up everybody else's."""
    return lambda: asyncio.get_running_loop().run_in_executor(on, frame)


async def frames(
    draw: Draw, over: Callable[[], bool], sources: Sequence[Running], wanted: Callable[[], bool] = always
) -> AsyncIterator[dict[str, Any]]:
    """What `draw` gives whenever a source has news, FRAMES_PER_SECOND a second at most, until the last when `over`.

    While the frames are not `wanted` none is drawn; the iteration ends with the answer all the same.

    The first piece is given at once: an empty frame before it comes only after FIRST_PIECE_S, and delays nothing.
    """

    def begun() -> bool:
        return any(source.begun for source in sources)

    news, loop = asyncio.Event(), asyncio.get_running_loop()
    watcher = (loop, news)
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
            shown, empty = loop.time(), not begun()
            last = over()  # asked before the frame is made, which is then whole
            if wanted():
                yield await draw()
            if last:
                return
            await news.wait()
            if not empty:
                await asyncio.sleep(max(0.0, shown + 1 / FRAMES_PER_SECOND - loop.time()))
    finally:
        for source in sources:
            source.tell(watcher, wanted=False)


class Findable(Protocol):
    """An answer in the making, or two."""

    @property
    def over(self) -> bool:
        """Whether no more can come."""

    def stop(self) -> None:
        """End it where it is."""


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

    def end(self, browser: str, place: str | None = None) -> None:
        """Stop and forget what a browser has, at `place` or at all: it was deleted, or somebody signs out."""
        with self._lock:
            found = [key for key in self._running if key[0] == browser and place in (None, key[1])]
            ending = [self._running.pop(key) for key in found]
        for running in ending:
            running.stop()
