"""What happens when somebody writes, stops, edits, steps or rates: the page's chat events, against the gateway.

A `Tab` is the state of one open page, kept by Gradio per browser session; nothing here outlives it but answers in the
making, which belong to the browser.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import gradio as gr

from cli.client import GatewayError
from ui.answer import Phase
from ui.exports import as_json, as_markdown
from ui.gate import Gate
from ui.people import People
from ui.stream import Running, RunningAnswers
from ui.tree import Conversation, Row
from ui.words import Words

TITLE = 60  # characters of a conversation's name made from its first message
Value = dict[str, Any]
Update = Any  # a value for a channel, or gr.skip()


@dataclass
class Tab:
    """One open page. `place` stands in for a conversation's id until the gateway has given one."""

    conversation: Conversation = field(default_factory=Conversation)
    place: str = ""

    def show(self, conversation: Conversation) -> None:
        """Turn to another conversation."""
        self.conversation = conversation
        self.place = conversation.id or f"new-{uuid4().hex}"


def shortened(text: str) -> str:
    """The first words of a message, as a conversation's name."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE else line[:TITLE].rsplit(" ", 1)[0] + "…"


class Chat:
    """The chat's event handlers. Built once per process; who is asking comes with each request."""

    def __init__(self, people: People, answers: RunningAnswers, words: Words) -> None:
        self._people, self._answers, self._say = people, answers, words

    # -- answers

    async def answer(self, tab: Tab, event: gr.EventData, request: gr.Request) -> AsyncIterator[Value]:
        """Begin an answer (send, edit, again), or watch one that is under way (attach); yields the page's frames."""
        asked: Mapping[str, Any] = event._data
        browser = self._people.browser(request.cookies)
        running = self._answers.at(browser, tab.place)
        if asked["do"] == "attach":
            if running is None:
                return
            prompt = self._prompt_of(tab, running)
        elif running is not None:
            yield self._refused(asked, self._say("answering"))
            return
        else:
            try:
                prompt = self._prompt(tab.conversation, asked)
            except KeyError:
                yield self._refused(asked, self._say("gone"))
                return
            running = self._begin(tab, browser, prompt, asked)
        conversation = tab.conversation
        start = {
            "key": asked.get("key") or uuid4().hex,
            "index": len(conversation.path) - (0 if asked["do"] == "again" else 1),
            "user": None if asked["do"] == "again" else {"id": prompt.id, "text": prompt.text},
        }
        async for frame in running.watch():
            if frame["conversation"] and conversation.id is None:
                conversation.id = frame["conversation"]
                self._answers.put(browser, conversation.id, running)
                if tab.conversation is conversation:
                    tab.place = conversation.id
            if running.answer.phase.over and frame["phase"] == running.answer.phase.value:
                frame["settled"] = self._settle(conversation, prompt, frame)
            yield {**start, **frame}

    def _begin(self, tab: Tab, browser: str, prompt: Row, asked: Mapping[str, Any]) -> Running:
        gate, conversation = self._people.gate(browser), tab.conversation
        messages = conversation.messages(until=prompt.id)
        options = {"conversation": conversation.id, "think": asked.get("think"), "consent": asked.get("consent")}
        running = Running(lambda transport: gate.stream(transport, messages, options), gate.transport())
        running.prompt = prompt.text
        self._answers.put(browser, tab.place, running)
        running.start(on_end=lambda: self._answers.drop(running))
        return running

    def _prompt(self, conversation: Conversation, asked: Mapping[str, Any]) -> Row:
        """The user's row that is to be answered. Raises KeyError when the tab has lost the row that is meant."""
        if asked["do"] == "again":
            old = conversation.rows[asked["id"]]
            if old.parent is None:
                raise KeyError(asked["id"])
            conversation.path = conversation.path[: conversation.path.index(old.id)]
            if not old.text and (old.error or old.generation is None):
                conversation.drop(old)
            return conversation.rows[old.parent]
        if asked["do"] == "edit":
            parent = conversation.rows[asked["id"]].parent
        else:
            parent = conversation.path[-1] if conversation.path else None
        row = Row("user", str(asked["text"]), parent)
        conversation.add(row)
        return row

    def _prompt_of(self, tab: Tab, running: Running) -> Row:
        """The row that a running answer belongs to, put back if the record does not have it yet."""
        shown = tab.conversation.shown()
        if shown and shown[-1].role == "user" and shown[-1].text == running.prompt:
            return shown[-1]
        row = Row("user", running.prompt, shown[-1].id if shown else None)
        tab.conversation.add(row)
        return row

    def _settle(self, conversation: Conversation, prompt: Row, frame: Mapping[str, Any]) -> Value:
        """Put the answer into the tree; what its row needs to look finished."""
        ending = "stopped" if frame["phase"] == Phase.STOPPED else frame["finish"] or "interrupted"
        row = Row(
            role="assistant",
            text=frame["text"],
            parent=prompt.id,
            thought=frame["thought"],
            model=frame["model"],
            generation=frame["generation"],
            seconds=frame["seconds"],
            thought_tokens=frame["thought_tokens"],
            ending=ending,
            error=frame["error"],
        )
        position = conversation.add(row)
        user, answer = conversation.view(position - 1)[:2]
        return {"row": {**answer, "html": ""}, "user": user}

    def _refused(self, asked: Mapping[str, Any], sentence: str) -> Value:
        row = {"id": "", "text": "", "thought": "", "error": sentence, "model": "", "generation": None}
        return {
            "key": asked.get("key"), "index": 0, "user": None, "phase": Phase.FAILED.value, "thought": "", "blocks": [],
            "tail": "", "conversation": None, "settled": {"row": row, "user": None},
        }  # fmt: skip

    def stop(self, tab: Tab, request: gr.Request) -> None:
        """End this tab's answer where it is."""
        running = self._answers.at(self._people.browser(request.cookies), tab.place)
        if running is not None:
            running.stop()

    # -- everything else

    async def boot(self, tab: Tab, event: gr.EventData, request: gr.Request) -> tuple[Update, Update, Update]:
        """The first values of a page: its conversation, the side bar, who is looking."""
        browser = self._people.browser(request.cookies)
        gate = self._people.gate(browser)
        me = await asyncio.to_thread(self._me, gate, browser)
        if me.get("need_key") or me.get("toast"):
            return gr.skip(), gr.skip(), me
        transcript, _, trouble = await self.open(tab, event, request)
        return transcript, await asyncio.to_thread(self._side, gate), me if trouble == gr.skip() else {**me, **trouble}

    async def open(self, tab: Tab, event: gr.EventData, request: gr.Request) -> tuple[Update, Update, Update]:
        """Turn to the conversation in the address, or to a fresh one."""
        name = event._data.get("conversation")
        browser = self._people.browser(request.cookies)
        try:
            if name:
                tab.show(await asyncio.to_thread(self._people.gate(browser).conversation, name))
            else:
                tab.show(Conversation())
        except GatewayError as error:
            tab.show(Conversation(id=name))
            sentence = self._say("not_found") if error.status == 404 else error.message
            return self._transcript(tab), gr.skip(), self._told(sentence)
        attach = self._answers.at(browser, tab.place) is not None
        if not attach:
            tab.conversation.close_gap()
        return self._transcript(tab, attach=attach), gr.skip(), gr.skip()

    async def side(self, tab: Tab, request: gr.Request) -> Update:
        """The side bar after an answer. A conversation that has no name yet gets its first words for one."""
        gate = self._people.gate(self._people.browser(request.cookies))
        shown = tab.conversation.shown()
        name = shortened(shown[0].text) if shown else ""

        def named() -> Update:
            lines = gate.conversations()
            mine = next((line for line in lines if line["id"] == tab.conversation.id), None)
            if mine is not None and not mine["title"] and name:
                gate.call("PATCH", f"/api/conversations/{mine['id']}", {"title": name})
                mine["title"] = name
            return {"n": time.monotonic_ns(), "lines": lines}

        try:
            return await asyncio.to_thread(named)
        except GatewayError:
            return gr.skip()  # the answer above has told the trouble already

    async def act(self, tab: Tab, event: gr.EventData, request: gr.Request) -> tuple[Update, Update, Update]:
        """One of the small things: step, rate, rename, pin, delete, export, consent, forget."""
        browser = self._people.browser(request.cookies)
        gate = self._people.gate(browser)
        try:
            return await asyncio.to_thread(self._act, gate, browser, tab, event._data)
        except GatewayError as error:
            return gr.skip(), gr.skip(), self._told(error.message)

    def _act(self, gate: Gate, browser: str, tab: Tab, asked: Mapping[str, Any]) -> tuple[Update, Update, Update]:
        what, target = asked["do"], f"/api/conversations/{asked.get('conversation')}"
        if what == "step":
            if asked["id"] not in tab.conversation.rows:
                return gr.skip(), gr.skip(), self._told(self._say("gone"))
            return self._transcript(tab, tab.conversation.step(asked["id"], int(asked["by"]))), gr.skip(), gr.skip()
        if what == "rate":
            opinion = {"rating": asked["rating"], "tags": asked.get("tags") or [], "words": asked.get("words") or ""}
            gate.call("POST", f"/api/generations/{asked['generation']}/feedback", opinion)
            if asked["id"] in tab.conversation.rows:
                tab.conversation.rows[asked["id"]].rating = int(asked["rating"])
            return gr.skip(), gr.skip(), gr.skip()
        if what == "export":
            return gr.skip(), gr.skip(), self._told(download=self._export(gate, asked))
        if what in ("consent", "forget_me"):
            if what == "consent":
                gate.call("PUT", "/api/me/consent", {"consent": asked["consent"]})
            else:
                gate.call("DELETE", "/api/me/data")
            done = self._say("consent_saved" if what == "consent" else "deleted_data")
            return gr.skip(), self._side(gate), {**self._me(gate, browser), **self._told(done)}
        if what == "delete":
            gate.call("DELETE", target)
        else:
            change = {"rename": "title", "pin": "pinned", "chat_consent": "consent"}[what]
            gate.call("PATCH", target, {change: asked[change]})
        return gr.skip(), self._side(gate), gr.skip()

    def _export(self, gate: Gate, asked: Mapping[str, Any]) -> Value:
        conversation = gate.conversation(asked["conversation"])
        name = "".join(letter if letter.isalnum() else "-" for letter in conversation.title).strip("-")[:60] or "chat"
        if asked["form"] == "json":
            return {"name": f"{name}.json", "type": "application/json", "text": as_json(conversation)}
        return {"name": f"{name}.md", "type": "text/markdown", "text": as_markdown(conversation, self._say)}

    def _me(self, gate: Gate, browser: str) -> Value:
        try:
            return {**gate.me(), "need_key": False, "signed": self._people.signed_in(browser)}
        except GatewayError as error:
            return {"need_key": True} if error.status == 401 else self._told(error.message)

    def _side(self, gate: Gate) -> Value:
        return {"n": time.monotonic_ns(), "lines": gate.conversations()}

    def _transcript(self, tab: Tab, keep: int = 0, attach: bool = False) -> Value:
        conversation = tab.conversation
        return {
            "n": time.monotonic_ns(),
            "keep": keep,
            "rows": conversation.view(keep),
            "attach": attach,
            "consent": conversation.consent or "",
        }

    def _told(self, sentence: str = "", download: Value | None = None) -> Value:
        return {"n": time.monotonic_ns(), "toast": sentence, "download": download}
