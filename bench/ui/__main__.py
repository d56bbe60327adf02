"""How fast the page is, in headless Chromium: `make bench-ui`. The last line is JSON.

The gateway is the tests' own, which writes at a set pace, so that the figures are the page's and no model's. Page,
gateway and this program are processes of their own. Measured are
- Enter to the first visible word, of a thought and of a response without one, against the same request by the API (ms)
- time between frames from the first word of an answer to its last, streamed into a conversation of 200 turns (ms); the
  answer has a thought, paragraphs, a long list, a long table and a long block of code
- turning back to that conversation from a new one, until its last words are seen (ms)
- what a first visit loads (KB over the wire), and when one can type
- what the browser's heap and the page's server gain over 500 turns (MB)
of the page, of a plain gr.Chatbot (frames only) and, where its environment is named, of Open WebUI.

All are driven alike: the box is filled, and one press of Enter sends. Whatever is timed begins with that press; where
it leaves the box full, the measure fails. A measure that fails says why in its place, and the others go on. Each chat
stands as its own users have it: of a long conversation Open WebUI draws the last messages, older ones when one scrolls.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from bench.screenshots import CHROMIUM, FLAGS
from bench.ui import measures
from bench.ui.chats import OpenWebUi, chatbot, ours
from bench.ui.measures import Chat
from bench.ui.programs import open_webui, open_webui_of, the_chatbot, the_gateway, the_page
from bench.ui.texts import ANSWER, END, THOUGHT, pieces

WORD_PAUSE, STREAM_PAUSE = 0.02, 0.01  # seconds between two pieces
SETTLED_MS = 2000  # for a page that draws its box anew once all its parts are there; what was typed would be lost


class Scripts:
    """Sets what the gateway answers next."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway

    def says(self, thought: list[str], response: list[str], pause: float) -> None:
        """Set the next answers."""
        self._put("script", {"thought": thought, "response": response, "pause": pause})

    def talk(self, turns: int) -> str:
        """Have it remember a conversation of so many turns, under this id."""
        return str(self._put(f"talk/{turns}", None)["id"])

    def forget(self) -> None:
        """Conversations that were measured are no part of the next measure."""
        httpx.delete(f"{self._gateway}/bench/talks").raise_for_status()

    def _put(self, path: str, body: Any) -> Any:
        return httpx.put(f"{self._gateway}/bench/{path}", json=body).raise_for_status().json()


def by_api(gateway: str) -> Callable[[], float]:
    """A function that asks by the API and tells after how many milliseconds the first words came."""
    from cli.client import GatewayClient

    def once() -> float:
        with GatewayClient(gateway) as client:
            began = time.perf_counter()
            for delta in client.stream_chat([{"role": "user", "content": "hello"}]):
                if delta.reasoning or delta.content:
                    return (time.perf_counter() - began) * 1000
        raise RuntimeError("the gateway sent no words")

    return once


def measure(browser: Any, chat: Chat, long: str, scripts: Scripts, gateway: str, given: argparse.Namespace) -> Any:
    """All that is measured of a whole chat; `long` is the address of its long conversation."""
    home = chat.program.url

    @contextlib.contextmanager
    def fresh(address: str = home) -> Iterator[Any]:
        page = browser.new_page()
        try:
            page.goto(address)
            page.wait_for_selector(chat.box, timeout=measures.PATIENCE_MS)
            page.wait_for_function(chat.ready, timeout=measures.PATIENCE_MS)
            page.wait_for_timeout(SETTLED_MS)
            yield page
        finally:
            page.close()

    def first_visit() -> Any:
        scripts.says(["so "] * 3, ["word "] * 5, 0.0)
        measures.first_visit(browser, chat)  # the server's own first time: imports, templates
        return measures.first_visit(browser, chat)

    def first_word() -> Any:
        scripts.says([], ["word "] * 20, WORD_PAUSE)
        with fresh() as page:
            return measures.first_word(page, chat, chat.response, by_api(gateway), given.times)

    def first_thought() -> Any:
        assert chat.thought is not None
        scripts.says(["so "] * 12, ["word "] * 5, WORD_PAUSE)
        with fresh() as page:
            return measures.first_word(page, chat, chat.thought, by_api(gateway), given.times, steps=True)

    def frames() -> Any:
        scripts.says(given.thought, given.answer, STREAM_PAUSE)
        with fresh(long) as page:
            page.wait_for_function(f"() => ({chat.response})() > 0", timeout=measures.PATIENCE_MS)
            page.wait_for_timeout(SETTLED_MS)
            return measures.frames(page, chat)

    def turning() -> Any:
        with fresh(long) as page:
            page.wait_for_function(f"() => ({chat.said})()", timeout=measures.PATIENCE_MS)
            page.wait_for_timeout(SETTLED_MS)
            return measures.turning(page, chat, given.times)

    def memory() -> Any:
        scripts.says(["so "] * 3, ["word "] * 5, 0.0)
        with fresh() as page:
            return measures.memory(page, chat, given.memory_turns)

    wanted = [first_visit, first_word, *([first_thought] if chat.thought else []), frames, turning, memory]
    found = {one.__name__: told(chat, one) for one in wanted}
    scripts.forget()
    return found


def measure_chatbot(browser: Any, chat: Chat, scripts: Scripts, given: argparse.Namespace) -> Any:
    """The frames of the plain gr.Chatbot, which begins with its long conversation."""

    def frames() -> Any:
        scripts.says(given.thought, given.answer, STREAM_PAUSE)
        with contextlib.closing(browser.new_page()) as page:
            page.goto(chat.program.url)
            page.wait_for_selector("text=question 0", timeout=measures.PATIENCE_MS)
            page.wait_for_timeout(SETTLED_MS)
            return measures.frames(page, chat)

    return {"frames": told(chat, frames)}


def told(chat: Chat, one: Callable[[], Any]) -> Any:
    """What a measure found, printed as well. One that fails tells why in its place, and leaves the others theirs."""
    from playwright.sync_api import Error

    try:
        figures = one()
    except (Error, RuntimeError) as error:
        figures = {"failed": str(error)}
    print(f"{chat.name}: {one.__name__}: {json.dumps(figures)}", flush=True)
    return figures


def main() -> int:
    """Measure; print a line for each figure and JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200, help="length of the conversation that is streamed into")
    parser.add_argument("--memory-turns", type=int, default=500)
    parser.add_argument("--times", type=int, default=30, help="how often the first word is timed")
    parser.add_argument("--open-webui", metavar="FOLDER", help="virtual environment that has Open WebUI")
    parser.add_argument("--smoke", action="store_true", help="show that it runs: little of everything, no figures")
    given = parser.parse_args()
    given.thought, given.answer = THOUGHT, pieces(ANSWER)
    if given.smoke:
        given.turns, given.memory_turns, given.times = 3, 3, 2
        given.thought, given.answer = THOUGHT[:3], [*pieces(ANSWER[:200]), "\n\n", END]
    other = open_webui_of(given.open_webui)

    from playwright.sync_api import sync_playwright

    result: dict[str, Any] = {"bench": "ui"}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gateway = stack.enter_context(the_gateway(folder)).url
        scripts = Scripts(gateway)
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with the_page(folder, gateway) as program:
            chat = ours(program)
            address = f"{program.url}/?c={scripts.talk(given.turns)}"
            result["ruminate"] = measure(browser, chat, address, scripts, gateway, given)
        with the_chatbot(folder, gateway, given.turns) as program:
            result["chatbot"] = measure_chatbot(browser, chatbot(program), scripts, given)
        if other is not None:
            try:
                with open_webui(folder, gateway, other) as program:
                    theirs = OpenWebUi(program)
                    address = theirs.long_talk(given.turns)
                    result["open_webui"] = measure(browser, theirs.chat, address, scripts, gateway, given)
            except (RuntimeError, httpx.HTTPError) as error:
                # It did not start, or its API is another.
                result["open_webui"] = {"failed": str(error)}
        browser.close()
    print(json.dumps(result))
    return int(any("failed" in figures for figures in result["ruminate"].values()))


if __name__ == "__main__":
    sys.exit(main())
