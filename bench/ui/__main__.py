"""How fast the page is, in headless Chromium: `make bench-ui`. The last line is JSON.

The gateway is the tests' own, which writes at a set pace, so that the figures are the page's and no model's. Page,
gateway and this program are processes of their own. Measured are
- Enter to the first visible word, of a thought and of a response without one, against the same request by the API (ms)
- time between frames from the first word of an answer to its last, streamed into a conversation of 200 turns (ms); the
  answer has a thought, paragraphs, a long list, a long table and a long block of code
- what a first visit loads (KB over the wire), and when one can type
- what the browser's heap and the page's server gain over 500 turns (MB)
of the page, of a plain gr.Chatbot (frames only) and, where its environment is named, of Open WebUI.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
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
    found: dict[str, Any] = {}

    def told(name: str, figures: Any) -> None:
        found[name] = figures
        print(f"{chat.name}: {name}: {json.dumps(figures)}", flush=True)

    scripts.says(["so "] * 3, ["word "] * 5, 0.0)
    measures.first_visit(browser, chat)  # the server's own first time: imports, templates
    told("first_visit", measures.first_visit(browser, chat))
    page = browser.new_page()

    def fresh(address: str = chat.program.url) -> None:
        page.goto(address)
        page.wait_for_selector(chat.box, timeout=measures.PATIENCE_MS)
        page.wait_for_function(chat.ready, timeout=measures.PATIENCE_MS)
        page.wait_for_timeout(SETTLED_MS)

    scripts.says([], ["word "] * 20, WORD_PAUSE)
    fresh()
    told("first_word", measures.first_word(page, chat, chat.response, by_api(gateway), given.times))
    if chat.thought:
        scripts.says(["so "] * 12, ["word "] * 5, WORD_PAUSE)
        fresh()
        told("first_thought", measures.first_word(page, chat, chat.thought, by_api(gateway), given.times, steps=True))
    scripts.says(given.thought, given.answer, STREAM_PAUSE)
    fresh(long)
    page.wait_for_selector(chat.response, timeout=measures.PATIENCE_MS)
    page.wait_for_timeout(2000)
    told("frames", measures.frames(page, chat))
    scripts.says(["so "] * 3, ["word "] * 5, 0.0)
    fresh()
    told("memory", measures.memory(page, chat, given.memory_turns))
    page.close()
    scripts.forget()
    return found


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

    from playwright.sync_api import TimeoutError as PageTimeout
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
            chat = chatbot(program)
            scripts.says(given.thought, given.answer, STREAM_PAUSE)
            page = browser.new_page()
            page.goto(program.url)
            page.wait_for_selector("text=question 0", timeout=measures.PATIENCE_MS)
            page.wait_for_timeout(2000)
            try:
                result["chatbot"] = {"frames": measures.frames(page, chat)}
            except PageTimeout as error:  # it may stream as badly as that; ours is measured by now
                result["chatbot"] = {"failed": error.message}
            print(f"chatbot: {json.dumps(result['chatbot'])}", flush=True)
            page.close()
        if other is not None:
            with open_webui(folder, gateway, other) as program:
                theirs = OpenWebUi(program)
                address = theirs.long_talk(given.turns)
                try:
                    result["open_webui"] = measure(browser, theirs.chat, address, scripts, gateway, given)
                except PageTimeout as error:  # its page changes from version to version; ours is measured by now
                    result["open_webui"] = {"failed": error.message}
        browser.close()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
