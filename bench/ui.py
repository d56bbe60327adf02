"""How fast the page is, in headless Chromium: `make bench-ui`. The last line is JSON.

The gateway is the tests' own, which writes at a set pace, so that the figures are the page's and no model's:
- Enter to the first visible word, against the same request by the API (ms, median and 95th percentile)
- time between frames while an answer streams into a conversation of 200 turns (ms), ours and a plain gr.Chatbot's
- what a first visit loads (KB over the wire), and when one can type
- what the browser's and the server's memory gain over 500 turns

Open WebUI is not measured beside it.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench.screenshots import CHROMIUM, FLAGS, ROOT

TURN = "Here is **a plan** for it:\n\n1. soup with leek and cream\n2. rice with peas\n\n```python\nprint('soup')\n```\n"
STEPS = """() => { const found = performance.getEntriesByType('resource');
  const [join, stream] = ['queue/join', 'queue/data'].map((name) => found.findLast((one) => one.name.includes(name)));
  return {asked: join.startTime, taken: join.responseEnd, listening: stream.startTime, first_byte: stream.responseStart,
    seen: window.seen}; }"""
FRAMES = """() => { window.gaps = []; let last = performance.now();
  const step = (now) => { window.gaps.push(now - last); last = now; window.watching && requestAnimationFrame(step); };
  window.watching = true; requestAnimationFrame(step); }"""


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and greatest."""
    ordered = sorted(values)
    at = min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))
    return {"p50": round(statistics.median(ordered), 1), "p95": round(ordered[at], 1), "max": round(ordered[-1], 1)}


def first_word(page: Any, gateway: Any, address: str, times: int) -> dict[str, Any]:
    """Enter to the first visible word of the thought, and the first piece by the API, taken in turns.

    `steps_ms` are medians from Enter on: when the page asked its server, had that taken, listened to the stream, got
    its first byte.
    """
    from cli.client import GatewayClient

    shown: list[float] = []
    by_api: list[float] = []
    steps: list[dict[str, float]] = []
    with GatewayClient(address) as client:
        for _ in range(times):
            began = time.perf_counter()
            for delta in client.stream_chat([{"role": "user", "content": "hello"}]):
                if delta.reasoning:
                    by_api.append((time.perf_counter() - began) * 1000)
                    break
            page.evaluate(
                """() => { window.seen = null; performance.clearResourceTimings();
                document.querySelector('#message').addEventListener('keydown',
                  () => { window.pressed = performance.now(); }, {once: true, capture: true});
                const look = () => { const t = document.querySelector('.row.live .thought-text');
                  if (t && t.textContent) window.seen = performance.now(); else requestAnimationFrame(look); };
                look(); }"""
            )
            page.fill("#message", "hello")
            page.press("#message", "Enter")
            page.wait_for_function("() => window.seen")
            shown.append(page.evaluate("window.seen - window.pressed"))
            answered(page)
            pressed = page.evaluate("window.pressed")
            steps.append({name: at - pressed for name, at in page.evaluate(STEPS).items()})
    medians = statistics.median(shown) - statistics.median(by_api)
    return {
        "page_ms": percentiles(shown),
        "api_ms": percentiles(by_api),
        "added_ms_at_the_median": round(medians, 1),
        "steps_ms": {name: round(statistics.median(one[name] for one in steps), 1) for name in steps[0]},
    }


def answered(page: Any) -> None:
    page.wait_for_function("() => !window.ruminate.answering()", timeout=120_000)


def long_talk(gateway: Any, turns: int) -> str:
    """A conversation of `turns` questions and answers in the gateway's memory; its id."""
    messages: list[dict[str, Any]] = []
    for number in range(turns):
        for role, content in (("user", f"question {number}"), ("assistant", f"{TURN}\n\nThat was {number}.")):
            parent = messages[-1]["id"] if messages else None
            messages.append({"id": f"m{len(messages)}", "parent_id": parent, "role": role, "content": content})
            if role == "assistant":
                made = {"id": f"g{number}", "model": "ruminate-v2", "reasoning": "so " * 150, "ending": "complete"}
                messages[-1]["generation"] = made
    gateway.conversations["long"] = {
        "id": "long",
        "title": "long",
        "pinned": False,
        "consent": None,
        "messages": messages,
    }
    return "long"


def frames(page: Any, send: Any) -> dict[str, float]:
    """Gaps between the browser's frames from `send` until its answer has ended."""
    page.evaluate(FRAMES)
    send()
    page.evaluate("window.watching = false")
    return percentiles(page.evaluate("window.gaps.slice(1)"))


def ours(page: Any, url: str, gateway: Any, turns: int) -> dict[str, float]:
    """Frames of the page while it streams into a conversation of `turns` turns."""
    page.goto(f"{url}/?c={long_talk(gateway, turns)}")
    page.wait_for_function(f"() => document.querySelectorAll('.row').length === {2 * turns}", timeout=60_000)

    def send() -> None:
        page.fill("#message", "and now?")
        page.press("#message", "Enter")
        page.wait_for_selector(".row.live .md .tail *", timeout=60_000)
        answered(page)

    return frames(page, send)


def chatbot(page: Any, address: str, turns: int) -> dict[str, float]:
    """The same stream into gr.Chatbot with as many turns, yielding the history as Gradio's guide shows it."""
    import gradio as gr
    from support.fake_chat_gateway import serving

    from cli.client import GatewayClient

    history: list[Any] = []
    for number in range(turns):
        history += [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": TURN}]

    def reply(message: str, shown: list[Any]) -> Iterator[list[Any]]:
        shown = [*shown, {"role": "user", "content": message}, {"role": "assistant", "content": ""}]
        sent = 0.0
        with GatewayClient(address) as client:
            for delta in client.stream_chat([{"role": "user", "content": message}]):
                shown[-1]["content"] += delta.reasoning + delta.content
                if time.monotonic() - sent > 0.04:
                    sent = time.monotonic()
                    yield shown
        yield [*shown, {"role": "assistant", "content": "the end"}]

    with gr.Blocks(analytics_enabled=False) as blocks:
        talk = gr.Chatbot(history)
        box = gr.Textbox(elem_id="box")
        box.submit(reply, [box, talk], [talk])
    from fastapi import FastAPI

    theme = gr.themes.Base(font=["sans-serif"], font_mono=["monospace"])
    with serving(gr.mount_gradio_app(FastAPI(), blocks, path="/", theme=theme, run_history=False)) as url:
        page.goto(url)
        page.wait_for_selector("text=question 0", timeout=60_000)
        page.wait_for_timeout(2000)

        def send() -> None:
            page.fill("#box textarea", "and now?")
            page.press("#box textarea", "Enter")
            page.wait_for_selector("text=the end", timeout=240_000)

        return frames(page, send)


def first_visit(browser: Any, url: str) -> dict[str, Any]:
    """Bytes over the wire of a visit with an empty cache, and when the page could be typed into and was ready."""
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    loaded: list[float] = []
    session.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
    began = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("#message")
    typing = time.perf_counter() - began
    page.wait_for_function("() => window.ruminate?.me?.consent")
    ready = time.perf_counter() - began
    page.wait_for_timeout(1000)
    context.close()
    kilobytes = round(sum(loaded) / 1024)
    return {"kilobytes": kilobytes, "requests": len(loaded), "typing_s": round(typing, 2), "ready_s": round(ready, 2)}


def memory(page: Any, gateway: Any, turns: int) -> dict[str, float]:
    """MB gained over `turns` short turns in one page: the browser's heap, collected, and the server's resident set."""
    import psutil

    process = psutil.Process()
    session = page.context.new_cdp_session(page)

    def now() -> tuple[float, float]:
        session.send("HeapProfiler.collectGarbage")
        used = session.send("Runtime.getHeapUsage")["usedSize"]
        return used / 2**20, process.memory_info().rss / 2**20

    def turn() -> None:
        page.fill("#message", "hello")
        page.press("#message", "Enter")
        answered(page)

    for _ in range(20):
        turn()
    heap, resident = now()
    for _ in range(turns):
        turn()
    heap_after, resident_after = now()
    return {"turns": turns, "browser_mb": round(heap_after - heap, 1), "server_mb": round(resident_after - resident, 1)}


def main() -> int:
    """Measure; print a line for each figure and JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200, help="length of the conversation that is streamed into")
    parser.add_argument("--memory-turns", type=int, default=500)
    parser.add_argument("--times", type=int, default=30, help="how often the first word is timed")
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))

    from playwright.sync_api import sync_playwright
    from support.fake_chat_gateway import FakeGateway, Script, serving

    from ui.app import create_app
    from ui.settings import UiSettings

    gateway = FakeGateway()
    result: dict[str, Any] = {"bench": "ui"}
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(serving(gateway.app))
        url = stack.enter_context(serving(create_app(UiSettings(gateway=address))))
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        first_visit(browser, url)  # the server's own first time: imports, templates
        result["first_visit"] = first_visit(browser, url)
        print("first visit:", result["first_visit"], flush=True)
        page = browser.new_page()
        page.goto(url)
        page.wait_for_function("() => window.ruminate?.me?.consent")
        gateway.script = Script(pause=0.02)
        result["first_word"] = first_word(page, gateway, address, given.times)
        print("first word:", result["first_word"], flush=True)
        gateway.script = Script(
            ["so "] * 100, [f"word{n} " + ("\n\n" * (n % 20 == 19)) for n in range(300)], pause=0.02
        )
        result["frame_ms"] = ours(page, url, gateway, given.turns)
        print(f"frames, {given.turns} turns:", result["frame_ms"], flush=True)
        result["frame_ms_chatbot"] = chatbot(page, address, given.turns)
        print(f"frames, gr.Chatbot with {given.turns} turns:", result["frame_ms_chatbot"], flush=True)
        page.goto(url)
        page.wait_for_function("() => window.ruminate?.me?.consent")
        gateway.script = Script(["so "] * 3, ["word "] * 5, pause=0.0)
        result["memory"] = memory(page, gateway, given.memory_turns)
        print("memory:", result["memory"], flush=True)
        browser.close()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
