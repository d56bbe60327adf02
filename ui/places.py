"""What happens around the chat: turning to a conversation, the side bar, the small things, what is the person's own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import gradio as gr

from cli.client import GatewayError
from ui.chat import Chat
from ui.compare import as_shown
from ui.exports import as_json, as_markdown
from ui.gate import Gate, within
from ui.learnt import in_words
from ui.people import People
from ui.tab import Tab, Update, Value, failed, stale, told, transcript
from ui.titles import shortened
from ui.tree import Conversation
from ui.troubles import needs_key, passes, plain
from ui.words import Words


class Places:
    """The handlers. Built once per process; who is asking comes with each request."""

    def __init__(self, people: People, chat: Chat, words: Words) -> None:
        self._people, self._chat, self._say = people, chat, words

    async def boot(self, tab: Tab, event: gr.EventData, request: gr.Request) -> tuple[Update, ...]:
        """The first values of a page: its conversation, the side bar, who is looking.

        Where the page has turned elsewhere meanwhile, the conversation is left to that.
        """
        showing = str(event._data["showing"])
        browser = self._people.browser(request.cookies)
        gate = self._people.gate(browser)
        tab.showing, tab.wanted = "", showing
        try:
            me = await asyncio.to_thread(self._me, gate, browser)
        except GatewayError as error:
            return *self._trouble(showing, error), tab
        rows, trouble = gr.skip(), gr.skip()
        if tab.wanted == showing:
            rows, _, trouble, _ = await self.open(tab, event, request)
        side = await asyncio.to_thread(self._side_or_none, gate)
        return rows, side, me if trouble == gr.skip() else {**me, **trouble}, tab

    async def open(self, tab: Tab, event: gr.EventData, request: gr.Request) -> tuple[Update, ...]:
        """Turn to the conversation in the address, or to a fresh one.

        The tab is given back as an output: only then does Gradio know how long it may keep it.
        """
        asked: Mapping[str, Any] = event._data
        browser = self._people.browser(request.cookies)
        tab.showing = ""  # until it is read, nothing can be sent to it
        tab.wanted = asked["showing"]
        return *await asyncio.to_thread(self._open, tab, browser, asked), tab

    def _open(self, tab: Tab, browser: str, asked: Mapping[str, Any]) -> tuple[Update, Update, Update]:
        name, showing = str(asked.get("conversation") or ""), str(asked["showing"])
        conversation, first = Conversation(), False
        try:
            if name:
                conversation = self._people.gate(browser).conversation(name)
        except (KeyError, TypeError):  # an address made by hand led to something else, or it is another gateway's shape
            return failed(showing), gr.skip(), told(plain(self._say, None))
        except GatewayError as error:
            first = error.status == 404 and self._chat.begun(browser, name)
            if not first:
                return self._trouble(showing, error)
            conversation = Conversation(id=name)
        if tab.wanted != showing:  # the page has gone on meanwhile
            return gr.skip(), gr.skip(), gr.skip()
        conversation.follow(str(asked.get("tip") or ""))
        tab.show(conversation, browser, showing)
        attach = self._chat.returns(tab, browser)
        if first and not attach:  # the first answer has ended meanwhile: now the gateway has a record
            return self._open(tab, browser, asked)
        if not attach:
            conversation.close_gap()
        return transcript(tab, attach=attach), gr.skip(), gr.skip()

    def _trouble(self, showing: str, error: GatewayError) -> tuple[Update, Update, Update]:
        """A conversation could not be read: the page asks for a key, waits until the gateway is back, or says why."""
        if needs_key(error):
            return failed(showing), gr.skip(), {"need_key": True}
        if passes(error):
            return failed(showing, away=True), gr.skip(), gr.skip()
        sentence = self._say("not_found") if error.status == 404 else plain(self._say, error)
        return failed(showing), gr.skip(), told(sentence)

    async def side(self, tab: Tab, request: gr.Request) -> AsyncIterator[Update]:
        """The side bar after an answer: at once with first words for a name, then with the name that is being made.

        It says what is live by now: a page stays open for days, and checkpoints change under it.
        """
        gate = self._people.gate(self._people.browser(request.cookies))
        conversation, naming = tab.answered or tab.conversation, tab.naming
        try:
            side = await asyncio.to_thread(self._side, gate)
            asked = next((row.text for row in conversation.shown() if row.role == "user"), None)
            for line in side["lines"]:
                if line["id"] == conversation.id and not line["title"] and asked is not None:
                    line["title"] = shortened(asked) or self._say("picture")
            yield side
            if naming is None:
                return
            title = await asyncio.shield(asyncio.wrap_future(naming))
            if title:
                conversation.title = title
                yield await asyncio.to_thread(self._side, gate)
        except GatewayError:
            yield gr.skip()  # the answer above has told the trouble already

    async def act(self, tab: Tab, event: gr.EventData, request: gr.Request) -> tuple[Update, Update, Update]:
        """One of the small things: step, rate, keep, choose, rename, pin, delete, export, learnt, consent, forget."""
        browser = self._people.browser(request.cookies)
        gate = self._people.gate(browser)
        try:
            return await asyncio.to_thread(self._act, gate, browser, tab, event._data)
        except GatewayError as error:
            me: Value = {"need_key": True} if needs_key(error) else told(plain(self._say, error))
            if event._data["do"] == "rate":  # the page has shown it as taken
                row = tab.conversation.rows.get(event._data["id"])
                me["rated"] = {"generation": event._data["generation"], "rating": row.rating if row else None}
            return gr.skip(), gr.skip(), me

    def _act(self, gate: Gate, browser: str, tab: Tab, asked: Mapping[str, Any]) -> tuple[Update, Update, Update]:
        what, target = asked["do"], f"/api/conversations/{within(asked.get('conversation'))}"
        if what in ("step", "choose") and not tab.shows(browser, asked):
            return stale(str(asked.get("showing") or "")), gr.skip(), gr.skip()
        if what == "step":
            if asked["id"] not in tab.conversation.rows:
                return stale(tab.showing), gr.skip(), gr.skip()
            changed = tab.conversation.step(asked["id"], int(asked["by"]))
            return transcript(tab, changed, turned=True), gr.skip(), gr.skip()
        if what == "search":
            found = {"words": asked["words"], "lines": gate.search(asked["words"])}
            return gr.skip(), {"n": time.monotonic_ns(), "found": found}, gr.skip()
        if what == "choose":
            position, sentence = self._chat.choose(tab, gate, browser, asked)
            if position is None and tab.conversation.id is not None:  # chosen in another tab: the record has it
                return stale(tab.showing), gr.skip(), gr.skip()
            rows = transcript(tab, position, turned=True) if position is not None else gr.skip()
            return rows, gr.skip(), told(sentence)
        if what == "rate":
            rating, path = int(asked["rating"]) or None, f"/api/generations/{within(asked['generation'])}/feedback"
            if rating is None:  # the thumb was pressed again
                gate.call("DELETE", path)
            else:
                said = {"tags": asked.get("tags") or [], "words": asked.get("words") or ""}
                said["shown"] = {**as_shown(asked), "blind": False}
                gate.call("POST", path, {"rating": rating, **said})
            if asked["id"] in tab.conversation.rows:
                tab.conversation.rows[asked["id"]].rating = rating
            return gr.skip(), gr.skip(), gr.skip()
        if what == "keep":
            return gr.skip(), gr.skip(), self._keep(gate, tab, asked)
        if what == "learnt":
            found, live = gate.learnt(asked["conversation"]), str(asked.get("live") or "")
            return (
                gr.skip(),
                gr.skip(),
                told(learnt={"conversation": asked["conversation"], "parts": in_words(self._say, found, live)}),
            )
        if what == "export":
            return gr.skip(), gr.skip(), told(download=self._export(gate, asked))
        if what == "take_data":
            text = json.dumps({"conversations": gate.own_data()}, ensure_ascii=False, indent=2) + "\n"
            return (
                gr.skip(),
                gr.skip(),
                told(download={"name": "ruminate.json", "type": "application/json", "text": text}),
            )
        if what in ("consent", "forget_me"):
            if what == "consent":
                gate.call("PUT", "/api/me/consent", {"consent": asked["consent"]})
            else:
                self._chat.end(browser)  # what is being written would be recorded after all else is deleted
                gate.call("DELETE", "/api/me/data")
            done = self._say("consent_saved" if what == "consent" else "deleted_data")
            forgotten = {"forgotten": what == "forget_me"}
            return gr.skip(), self._side(gate), {**self._me(gate, browser), **told(done), **forgotten}
        if what == "delete":
            self._chat.end(browser, asked["conversation"])
            gate.call("DELETE", target)
        elif what == "chat_consent":
            self._chat.consent(tab, gate, browser, asked)
        else:
            change = {"rename": "title", "pin": "pinned"}[what]
            gate.call("PATCH", target, {change: asked[change]})
        return gr.skip(), self._side(gate), gr.skip()

    def _keep(self, gate: Gate, tab: Tab, asked: Mapping[str, Any]) -> Value:
        """Have the gate ask for an answer again (good, never), or no more (kind ""). Raises GatewayError."""
        kind, path = asked["kind"] or None, f"/api/generations/{within(asked['generation'])}/regression"
        try:
            if kind:
                gate.call("PUT", path, {"kind": kind})
            else:
                gate.call("DELETE", path)
        except GatewayError as error:
            if error.status == 400:  # whole it is, or the page would not have offered it: what is left is consent
                return told(self._say("keep_refused"))
            raise
        if asked["id"] in tab.conversation.rows:
            tab.conversation.rows[asked["id"]].kept = kind
        said = {"good": "kept_good", "never": "kept_never"}.get(kind or "", "keep_dropped")
        return told(self._say(said), kept={"generation": asked["generation"], "kind": kind})

    def _export(self, gate: Gate, asked: Mapping[str, Any]) -> Value:
        conversation = gate.conversation(asked["conversation"])
        conversation.follow(str(asked.get("tip") or ""))
        name = "".join(letter if letter.isalnum() else "-" for letter in conversation.title).strip("-")[:60] or "chat"
        if asked["form"] == "json":
            return {"name": f"{name}.json", "type": "application/json", "text": as_json(conversation)}
        return {"name": f"{name}.md", "type": "text/markdown", "text": as_markdown(conversation, self._say)}

    def _me(self, gate: Gate, browser: str) -> Value:
        return {**gate.me(), "need_key": False, "signed": self._people.signed_in(browser)}

    def _side_or_none(self, gate: Gate) -> Update:
        try:
            return self._side(gate)
        except GatewayError:  # the conversation, or a sentence, is there all the same
            return gr.skip()

    def _side(self, gate: Gate) -> Value:
        return {"n": time.monotonic_ns(), **gate.side()}
