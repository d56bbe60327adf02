"""What happens when somebody writes, asks again, compares or stops: the page's answers, against the gateway.

Answers in the making belong to the browser, not to the tab: whoever comes back finds them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

import gradio as gr

from cli.client import GatewayError
from ui.answer import Phase
from ui.compare import SIDES, Pair, as_shown
from ui.files import MOST_CHARACTERS, TooLong, given, joined, parted
from ui.gate import Gate, within
from ui.optout import keep_out
from ui.people import People
from ui.pictures import MOST, BadPictures, apart
from ui.pictures import given as given_pictures
from ui.stream import Running, RunningAnswers
from ui.tab import Tab, Value, stale
from ui.titles import Titles
from ui.tree import Conversation, Row
from ui.troubles import needs_key, plain
from ui.words import Words

DRAWING = 2  # threads that draw frames, all answers together; they hold the processor, not a connection
WISHES = 1000  # conversations whose consent is remembered until the gateway has it


class Chat:
    """The handlers of answers. Built once per process; who is asking comes with each request."""

    def __init__(self, people: People, answers: RunningAnswers[Running | Pair], titles: Titles, words: Words) -> None:
        self._people, self._answers, self._titles, self._say = people, answers, titles, words
        self._wishes: dict[str, str | None] = {}  # consents of conversations that were just begun
        self._drawing = ThreadPoolExecutor(DRAWING, thread_name_prefix="drawing")

    async def answer(self, tab: Tab, event: gr.EventData, request: gr.Request) -> AsyncIterator[Value]:
        """Begin an answer (send, edit, again), or watch one that is under way (attach); yields the page's frames.

        Frames go out while the page shows this conversation. The answer of one that it has left is only awaited.
        """
        asked: Mapping[str, Any] = event._data
        browser = self._people.browser(request.cookies)
        lost = {**stale(str(asked.get("showing") or "")), "key": asked.get("key") or ""}
        if not tab.shows(browser, asked):
            yield lost
            return
        running = self._kept(tab, browser)
        if asked["do"] == "attach":
            if running is None:  # it has ended since: the record has it
                yield lost
                return
            prompt = self._prompt_of(tab, running)
        elif running is not None:
            yield self._refused(asked, self._say("choose_first" if running.over else "answering"))
            return
        else:
            try:
                mode, models = await self._models(browser, asked)
                if not tab.shows(browser, asked):  # the page has turned elsewhere while the gateway was asked
                    yield lost
                    return
                if self._kept(tab, browser) is not None:  # another tab's message was quicker
                    yield self._refused(asked, self._say("answering"))
                    return
                if not models:
                    yield self._refused(asked, self._say("no_previous"))
                    return
                prompt = self._prompt(tab.conversation, asked)
            except KeyError:
                yield lost
                return
            except GatewayError as error:
                yield self._refused(asked, plain(self._say, error), need_key=needs_key(error))
                return
            except TooLong as error:
                yield self._refused(asked, self._say("files_too_long", size=error.size, most=MOST_CHARACTERS))
                return
            except BadPictures:
                yield self._refused(asked, self._say("pictures_bad", most=MOST))
                return
            running = self._begin(tab, browser, prompt, asked, models, mode)
        conversation = tab.conversation
        start = {
            "showing": tab.showing,
            "key": running.key,
            "index": len(conversation.path) - (0 if asked["do"] == "again" else 1),
            "user": None if asked["do"] == "again" else {"id": prompt.id, **_words(prompt)},
        }
        async for frame in running.watch(lambda: tab.shows(browser, asked), self._drawing):
            if Phase(frame["phase"]).over:
                frame["settled"] = self._settle(conversation, prompt, running)
                frame["need_key"] = running.need_key
            yield {**start, **frame}
        tab.answered, tab.naming = conversation, running.naming

    def stop(self, tab: Tab, request: gr.Request) -> None:
        """End this tab's answer where it is."""
        running = self._kept(tab, self._people.browser(request.cookies))
        if running is not None:
            running.stop()

    def begun(self, browser: str, name: str) -> bool:
        """Whether the browser has an answer in the making there: a first one is in no record before its end."""
        running = self._answers.at(browser, name)
        return running is not None and not running.over

    def returns(self, tab: Tab, browser: str) -> bool:
        """Whether the conversation that the tab turned to has an answer in the making, or two that wait for a choice.

        What the record has of them already is hidden: the page shows them as they are now, and two without names.
        """
        running = self._kept(tab, browser)
        if running is not None:
            sides = running.sides if isinstance(running, Pair) else [running]
            tab.conversation.hide(side.answer.generation_id for side in sides if side.answer.generation_id)
            tab.conversation.consent = tab.conversation.consent or self._wishes.get(tab.place)
        return running is not None

    def consent(self, tab: Tab, gate: Gate, browser: str, asked: Mapping[str, Any]) -> None:
        """Say what may be done with one conversation. Raises GatewayError."""
        name, wish = str(asked["conversation"]), asked["consent"]
        if tab.conversation.id == name:
            tab.conversation.consent = wish
        if name in self._wishes:
            self._wishes[name] = wish
        try:
            gate.call("PATCH", f"/api/conversations/{within(name)}", {"consent": wish})
        except GatewayError as error:
            running = self._answers.at(browser, name)
            if error.status != 404 or running is None:
                raise
            self._keep_out(gate, name, wish, running)  # the gateway has yet to record its first turn

    def end(self, browser: str, place: str | None = None) -> None:
        """Stop and forget the browser's answers, at `place` or at all."""
        self._answers.end(browser, place)

    def choose(self, tab: Tab, gate: Gate, browser: str, asked: Mapping[str, Any]) -> tuple[int | None, str]:
        """Record a choice between two answers (left, right, tie, or skip for none) and go on with the better one.

        Gives the position from which the page changes, None where it does not, and a sentence. Raises GatewayError.
        """
        pair = self._kept(tab, browser)
        if not isinstance(pair, Pair) or not pair.over:
            return None, self._say("gone")
        choice, conversation = str(asked["choice"]), tab.conversation
        prompt = self._prompt_of(tab, pair)
        rows = [self._place(conversation, self._row(prompt, side)) for side in pair.sides]
        kept = conversation.id is not None and all(row.generation for row in rows)
        if choice != "skip" and kept:
            ids = {side: row.generation for side, row in zip(SIDES, rows, strict=True)}
            shown = {**as_shown(asked), "mode": pair.mode, "blind": True, "models": [row.model for row in rows]}
            gate.call("POST", "/api/comparisons", {**ids, "choice": choice, "shown": shown})
        self._answers.drop(pair)
        winner = rows[1 if choice == "right" else 0]
        if choice in SIDES:
            winner.chosen = True
        position = conversation.turn_to(winner)
        if choice == "skip":
            return position, ""
        other = rows[0 if choice == "right" else 1]
        what = "chosen_same" if winner.model == other.model else "chosen_tie" if choice == "tie" else "chosen_this"
        sentence = self._say(what, one=winner.model, other=other.model)
        return position, sentence if kept else f"{sentence} {self._say('chosen_unkept')}"

    # -- beginning

    def _kept(self, tab: Tab, browser: str) -> Running | Pair | None:
        """The answer in the making, or the two that wait for a choice."""
        found = self._answers.at(browser, tab.place)
        if found is None or not found.over:
            return found
        return found if isinstance(found, Pair) and found.comparable else None

    async def _models(self, browser: str, asked: Mapping[str, Any]) -> tuple[str, list[str]]:
        """What is compared, and who answers: the live checkpoint; twice; or it and another version (nobody without).
        Raises GatewayError."""
        mode = str(asked.get("compare") or "")
        if mode == "previous":
            return await asyncio.to_thread(self._people.gate(browser).rivals)
        return mode, ["ruminate"] * (2 if mode == "samples" else 1)

    def _begin(
        self, tab: Tab, browser: str, prompt: Row, asked: Mapping[str, Any], models: list[str], mode: str
    ) -> Running | Pair:
        gate, conversation = self._people.gate(browser), tab.conversation
        messages = conversation.messages(until=prompt.id)
        options = {key: asked.get(key) for key in ("think", "effort", "consent")}
        # Two answers at once to a first message must find the same conversation: then the page names it.
        options["conversation"] = conversation.id or (uuid4().hex if len(models) > 1 else None)
        made = [self._running(gate, messages, {**options, "model": model}) for model in models]
        for one in made:
            one.prompt = prompt.content
        running: Running | Pair = made[0] if len(made) == 1 else Pair(made, mode)
        running.key = str(asked.get("key") or uuid4().hex)
        untitled, fresh = not conversation.title, conversation.id is None
        if fresh:
            conversation.consent = options["consent"] or None

        def placed(name: str) -> None:
            self._answers.put(browser, name, running)
            if conversation.id is None:
                conversation.id = name
                if tab.conversation is conversation:
                    tab.place = name
                if conversation.consent:
                    self._keep_out(gate, name, conversation.consent, running)

        def ended() -> None:
            try:
                if not (isinstance(running, Pair) and running.comparable):
                    self._answers.drop(running)
            finally:
                answer = made[0].answer
                if untitled and answer.conversation_id:
                    said = answer.response if answer.phase is Phase.DONE else ""
                    question = next(apart(one["content"])[0] for one in messages if one["role"] == "user")
                    self._titles.begin(running.naming, gate, answer.conversation_id, question, said)
                else:
                    running.naming.set_result("")

        self._answers.put(browser, tab.place, running)
        running.start(ended, placed)
        return running

    def _keep_out(self, gate: Gate, conversation: str, wish: str | None, running: Running | Pair) -> None:
        """Have the gateway take the conversation's consent, once it has the conversation."""
        self._wishes[conversation] = wish
        while len(self._wishes) > WISHES:
            self._wishes.pop(next(iter(self._wishes)))
        keep_out(gate, conversation, lambda: self._wishes.get(conversation, wish), lambda: running.over)

    def _running(self, gate: Gate, messages: list[dict[str, Any]], options: dict[str, Any]) -> Running:
        tell = partial(plain, self._say)
        return Running(lambda transport: gate.stream(transport, messages, options), gate.transport(), tell)

    def _prompt(self, conversation: Conversation, asked: Mapping[str, Any]) -> Row:
        """The user's row that is to be answered. Raises KeyError when the tab has lost the row that is meant."""
        if asked["do"] == "again":
            old = conversation.rows[asked["id"]]
            if old.parent is None:
                raise KeyError(asked["id"])
            conversation.path = conversation.path[: conversation.path.index(old.id)]
            leads_on = any(row.parent == old.id for row in conversation.rows.values())
            if not old.text and (old.error or old.generation is None) and not leads_on:
                conversation.drop(old)
            return conversation.rows[old.parent]
        files, pictures = given(asked.get("files")), given_pictures(asked.get("pictures"))
        if asked["do"] == "edit":
            old = conversation.rows[asked["id"]]
            parent, files, pictures = old.parent, parted(old.text)[0], old.pictures
        else:
            parent = conversation.path[-1] if conversation.path else None
        row = Row("user", joined(files, str(asked["text"])), parent, pictures=pictures)
        conversation.add(row)
        return row

    def _prompt_of(self, tab: Tab, running: Running | Pair) -> Row:
        """The row that a running answer belongs to, put back if the record does not have it yet."""
        shown = tab.conversation.shown()
        if shown and shown[-1].role == "user" and shown[-1].content == running.prompt:
            return shown[-1]
        words, pictures = apart(running.prompt)
        row = Row("user", words, shown[-1].id if shown else None, pictures=pictures)
        tab.conversation.add(row)
        return row

    # -- ending

    def _settle(self, conversation: Conversation, prompt: Row, running: Running | Pair) -> Value:
        """What the page needs at the end. Two answers that can be compared wait; all else goes into the tree."""
        if isinstance(running, Pair):
            if running.comparable:
                return {"choose": True, "user": {"id": prompt.id, **_words(prompt)}}
            rows = [self._place(conversation, self._row(prompt, side)) for side in reversed(running.sides)]
            best = next((row for row in rows if row.text and not row.error), rows[-1])
            position = conversation.turn_to(best)
            return {"rows": conversation.view(position), "position": position}
        row = self._place(conversation, self._row(prompt, running))
        conversation.turn_to(row)
        return {"row": conversation.bare(row), "user": conversation.bare(prompt)}

    def _place(self, conversation: Conversation, row: Row) -> Row:
        """Put an answer into the tree, unless a reload has brought it from the record already."""
        for known in conversation.rows.values():
            if row.generation is not None and known.generation == row.generation:
                return known
        conversation.add(row)
        return row

    def _row(self, prompt: Row, running: Running) -> Row:
        frame = running.frame()
        stopped = frame["phase"] == Phase.STOPPED
        return Row(
            role="assistant",
            text=frame["text"],
            parent=prompt.id,
            thought=frame["thought"],
            model=frame["model"],
            generation=frame["generation"],
            seconds=frame["seconds"],
            thought_tokens=frame["thought_tokens"],
            ending="stopped" if stopped else frame["finish"] or "interrupted",
            error=frame["error"],
        )

    def _refused(self, asked: Mapping[str, Any], sentence: str, need_key: bool = False) -> Value:
        """Nothing has happened: the page puts back what it had, and may ask the same again."""
        return {
            "showing": asked["showing"], "key": asked.get("key") or "", "refused": sentence, "need_key": need_key,
        }  # fmt: skip


def _words(row: Row) -> Value:
    """A user's message as the page shows it: words, files folded, pictures."""
    files, words = parted(row.text)
    shown = [{"name": file.name, "text": file.text} for file in files]
    return {"text": words, "files": shown, "pictures": row.pictures}
