"""What is measured of a chat in a browser: its first visit, the first word, frames while it streams, memory.

A `Chat` says how one drives it; the measures are the same for all.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.ui.programs import Program
from bench.ui.texts import END

PATIENCE_MS = 240_000  # a page that streams badly needs many times the answer's length
TAKEN_MS = 20_000  # after which a page has not taken what was sent: then nothing that follows is worth waiting for
WARM_TURNS = 20  # before memory is looked at

# Each frame as [when, milliseconds since the one before, whether the page changed in that time or in the time before,
# in which case what changed is drawn now].
WATCH = """() => { window.drawn = []; let last = null, fresh = 0; window.watching = true;
  new MutationObserver(() => { fresh = 2; })
    .observe(document.body, {childList: true, characterData: true, subtree: true});
  const step = (now) => { if (last !== null) window.drawn.push([now, now - last, fresh-- > 0]);
    last = now; window.watching && requestAnimationFrame(step); };
  requestAnimationFrame(step); }"""
# When the key went down, and when the first word could be seen; WORDS is the function that counts answers with words.
LOOK = """(box) => { window.seen = null; performance.clearResourceTimings(); const words = WORDS;
  document.querySelector(box).addEventListener('keydown', () => { window.pressed = performance.now(); },
    {once: true, capture: true});
  const look = () => { if (words() > window.before) window.seen = performance.now();
    else requestAnimationFrame(look); };
  window.before = words(); look(); }"""
# A stream that is open still, or is the one of the turn before, is in no list: then its two moments are null.
STEPS = """() => { const all = performance.getEntriesByType('resource');
  const found = all.filter((one) => one.startTime >= window.pressed);
  const [join, stream] = ['queue/join', 'queue/data'].map((name) => found.find((one) => one.name.includes(name)));
  const at = (one, moment) => one ? one[moment] - window.pressed : null;
  return {asked: at(join, 'startTime'), taken: at(join, 'responseEnd'),
    listening: at(stream, 'startTime'), first_byte: at(stream, 'responseStart')}; }"""

# The browser goes back to the conversation before; until the first frame in which its last words stand. SAID is the
# function that gives those.
TURN = """() => { window.turned = null; const said = SAID, began = performance.now(); history.back();
  const look = () => { if (said()) window.turned = performance.now() - began; else requestAnimationFrame(look); };
  requestAnimationFrame(look); }"""


@dataclass(frozen=True)
class Chat:
    """How one drives a chat page: by its selectors, and by functions in JavaScript."""

    name: str
    program: Program
    ready: str  # a function: whether one can write, and the page has all it needs
    box: str  # where one writes
    thought: str | None  # a function: a number that grows once a word of a thought is seen; None: it shows none
    response: str  # a function: a number that grows with each turn, once a word of the response is seen
    sent: str  # a function: whether what was written is sent
    busy: str  # a function: whether it is being answered
    said: str  # a function: the words of the answer that stands last, "" without one
    new: str  # what one presses for a new conversation

    def ask(self, page: Any, words: str = "hello") -> None:
        """Write and send, with one press of Enter: whoever times what follows times it from that press."""
        from playwright.sync_api import TimeoutError as PageTimeout

        page.fill(self.box, words)
        page.press(self.box, "Enter")
        try:
            page.wait_for_function(self.sent, timeout=TAKEN_MS, polling=200)
        except PageTimeout:
            raise RuntimeError(f"{self.name}: Enter in {self.box} did not send what was written there") from None

    def answered(self, page: Any) -> None:
        """Wait for the end of the answer."""
        page.wait_for_function(f"() => !({self.busy})()", timeout=PATIENCE_MS)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and greatest, with how many there were."""
    ordered = sorted(values)
    at = min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))
    found = {"p50": statistics.median(ordered), "p95": ordered[at], "max": ordered[-1]}
    return {name: round(value, 1) for name, value in found.items()} | {"count": len(ordered)}


def first_visit(browser: Any, chat: Chat) -> dict[str, Any]:
    """Bytes over the wire of a visit with an empty cache, and when the page could be typed into and was ready."""
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    loaded: list[float] = []
    session.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
    began = time.perf_counter()
    page.goto(chat.program.url)
    page.wait_for_selector(chat.box, timeout=PATIENCE_MS)
    typing = time.perf_counter() - began
    page.wait_for_function(chat.ready, timeout=PATIENCE_MS)
    ready = time.perf_counter() - began
    page.wait_for_timeout(1000)
    context.close()
    kilobytes = round(sum(loaded) / 1024)
    return {"kilobytes": kilobytes, "requests": len(loaded), "typing_s": round(typing, 2), "ready_s": round(ready, 2)}


def first_word(
    page: Any, chat: Chat, word: str, by_api: Callable[[], float], times: int, steps: bool = False
) -> dict[str, Any]:
    """Enter to the first visible word (`word` counts them), and the first piece by the API, taken in turns, in ms.

    `steps`: with medians of when the page asked its server, had that taken, listened to the stream, got its first byte.
    """
    shown: list[float] = []
    direct: list[float] = []
    taken: list[dict[str, float | None]] = []
    for _ in range(times):
        direct.append(by_api())
        page.evaluate(LOOK.replace("WORDS", word), chat.box)
        chat.ask(page)
        page.wait_for_function("() => window.seen", timeout=PATIENCE_MS)
        shown.append(page.evaluate("window.seen - window.pressed"))
        chat.answered(page)
        if steps:
            taken.append(page.evaluate(STEPS))
    added = statistics.median(shown) - statistics.median(direct)
    figures: dict[str, Any] = {
        "page_ms": percentiles(shown),
        "api_ms": percentiles(direct),
        "added_ms_at_the_median": round(added, 1),
    }
    for step in taken[0] if taken else ():
        known = [at for one in taken if (at := one[step]) is not None]
        figures.setdefault("steps_ms", {})[step] = round(statistics.median(known), 1) if known else None
    return figures


def frames(page: Any, chat: Chat) -> dict[str, Any]:
    """Milliseconds between frames from the first words of an answer to its last, over all of them and over those alone
    in which something changed."""
    begun = chat.thought or chat.response
    before = page.evaluate(begun)
    chat.ask(page, "and now?")
    page.wait_for_function(f"() => ({begun})() > {before}", timeout=PATIENCE_MS, polling=100)
    page.evaluate(WATCH)
    page.wait_for_function(f"() => ({chat.said})().endsWith({END!r})", timeout=PATIENCE_MS, polling=500)
    page.evaluate("window.watching = false")
    drawn = page.evaluate("window.drawn")
    chat.answered(page)
    return streamed(drawn)


def streamed(drawn: list[tuple[float, float, bool]]) -> dict[str, Any]:
    """What the frames say, without those after the last change."""
    last = max((index for index, (_, _, changed) in enumerate(drawn) if changed), default=-1)
    within = drawn[: last + 1]
    if not within:
        raise RuntimeError("the page changed nothing while it streamed; its selectors may be out of date")
    return {
        "seconds": round((within[-1][0] - within[0][0]) / 1000, 1),
        "all_ms": percentiles([gap for _, gap, _ in within]),
        "changing_ms": percentiles([gap for _, gap, changed in within if changed]),
    }


def turning(page: Any, chat: Chat, times: int) -> dict[str, Any]:
    """Milliseconds from turning back to the conversation that `page` shows to its last words, from a new one and
    without loading the page."""
    took: list[float] = []
    for _ in range(times):
        page.evaluate("(name) => document.querySelector(name).click()", chat.new)
        page.wait_for_function(f"() => !({chat.said})()", timeout=PATIENCE_MS)
        page.wait_for_timeout(300)  # the new one is there as well
        page.evaluate(TURN.replace("SAID", chat.said))
        page.wait_for_function("() => window.turned", timeout=PATIENCE_MS)
        took.append(page.evaluate("window.turned"))
        page.wait_for_timeout(300)
    return percentiles(took)


def memory(page: Any, chat: Chat, turns: int) -> dict[str, float]:
    """MB gained over `turns` short turns in one page: the browser's heaps (of scripts and of the document's elements),
    collected, and the page's own server."""
    session = page.context.new_cdp_session(page)

    def now() -> tuple[float, float]:
        session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")
        return (heap["usedSize"] + heap["embedderHeapUsedSize"]) / 2**20, chat.program.resident_mb()

    def turn() -> None:
        before = page.evaluate(chat.response)
        chat.ask(page)
        page.wait_for_function(f"() => ({chat.response})() > {before}", timeout=PATIENCE_MS)
        chat.answered(page)

    for _ in range(min(WARM_TURNS, turns)):
        turn()
    heap, resident = now()
    for _ in range(turns):
        turn()
    heap_after, resident_after = now()
    return {
        "turns": turns,
        "browser_mb": round(heap_after - heap, 1),
        "server_mb": round(resident_after - resident, 1),
        "server_resident_mb": round(resident_after, 1),
    }
