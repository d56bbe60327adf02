"""The chats that are measured, and how one drives each."""

from typing import Any

import httpx

from bench.ui.measures import Chat
from bench.ui.programs import Program
from bench.ui.texts import OLD_TURN


def ours(program: Program) -> Chat:
    """The page."""
    return Chat(
        name="ruminate",
        program=program,
        ready="() => window.ruminate?.me?.consent",
        box="#message",
        thought=".row.live .thought-text:not(:empty)",
        response=".row.assistant .md > :not(.tail), .row.assistant .md > .tail > *",
        busy="() => window.ruminate.answering()",
        said="() => document.querySelector('#rows > :last-child .md').textContent.trim()",
    )


def chatbot(program: Program) -> Chat:
    """A plain gr.Chatbot (bench.ui.chatbot), of which only the frames are measured."""
    return Chat(
        name="chatbot",
        program=program,
        ready="() => true",
        box="#box textarea",
        thought=None,
        response="[data-testid=bot] .md > *",
        busy="() => false",
        said="() => [...document.querySelectorAll('[data-testid=bot]')].at(-1).textContent.trim()",
    )


class OpenWebUi:
    """Open WebUI 0.12 without sign-in. It folds a thought away, so only responses are timed."""

    def __init__(self, program: Program) -> None:
        self.chat = Chat(
            name="open-webui",
            program=program,
            ready="() => [...document.querySelectorAll('button')].some((one) => one.textContent.includes('ruminate'))",
            box="#chat-input",
            thought=None,
            response=".chat-assistant .markdown-prose > *",
            busy="() => !document.querySelector('.message-listitem:last-child .chat-assistant')"
            " || !document.querySelector('.message-listitem:last-child button[aria-label=Copy]')",
            said="() => [...document.querySelectorAll('.chat-assistant .markdown-prose')].at(-1).textContent.trim()",
        )

    def long_talk(self, turns: int) -> str:
        """Store a conversation of so many turns, as its page would; its address."""
        url = self.chat.program.url
        signed = httpx.post(f"{url}/api/v1/auths/signin", json={"email": "", "password": ""}, timeout=60)
        token = signed.raise_for_status().json()["token"]
        messages: dict[str, Any] = {}
        before: str | None = None
        for number in range(turns):
            for role, content in (("user", f"question {number}"), ("assistant", OLD_TURN)):
                name = f"{role}-{number}"
                one: dict[str, Any] = {
                    "id": name,
                    "parentId": before,
                    "childrenIds": [],
                    "role": role,
                    "content": content,
                }
                more = {"model": "ruminate", "modelName": "ruminate", "modelIdx": 0, "done": True}
                messages[name] = one | {"timestamp": 1_790_000_000 + number} | (more if role == "assistant" else {})
                if before is not None:
                    messages[before]["childrenIds"].append(name)
                before = name
        history = {"messages": messages, "currentId": before}
        talk = {"title": "long", "models": ["ruminate"], "history": history, "messages": list(messages.values())}
        made = httpx.post(
            f"{url}/api/v1/chats/new", json={"chat": talk}, headers={"Authorization": f"Bearer {token}"}, timeout=60
        )
        return f"{url}/c/{made.raise_for_status().json()['id']}"
