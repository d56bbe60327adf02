"""The chats that are measured, and how one drives each."""

from typing import Any

import httpx

from bench.ui.measures import Chat
from bench.ui.programs import Program
from bench.ui.texts import OLD_TURN


def count(selector: str) -> str:
    """A function in JavaScript: how many elements there are."""
    return f"() => document.querySelectorAll({selector!r}).length"


def ours(program: Program) -> Chat:
    """The page."""
    return Chat(
        name="ruminate",
        program=program,
        ready="() => window.ruminate?.me?.consent",
        box="#message",
        thought=count(".row.live .thought-text:not(:empty)"),
        response=count(".row.assistant .md > :not(.tail), .row.assistant .md > .tail > *"),
        sent="() => !document.querySelector('#message').value",
        busy="() => window.ruminate.answering()",
        said="() => document.querySelector('#rows > :last-child .md')?.textContent.trim() ?? ''",
        new="#new",
    )


def chatbot(program: Program) -> Chat:
    """A plain gr.Chatbot (bench.ui.chatbot), of which only the frames are measured."""
    return Chat(
        name="chatbot",
        program=program,
        ready="() => true",
        box="#box textarea",
        thought=None,
        response=count("[data-testid=bot] .md > *"),
        sent="() => true",  # Gradio leaves the box as it is
        busy="() => false",
        said="() => [...document.querySelectorAll('[data-testid=bot]')].at(-1)?.textContent.trim() ?? ''",
        new="",
    )


# It keeps only the last few messages in the document, so those that stood last with words are counted by their ids.
ANSWERS = """() => { const seen = window.answers ??= new Set();
  const last = [...document.querySelectorAll('.message-listitem')].at(-1);
  const said = [...(last?.querySelectorAll('.chat-assistant .markdown-prose') ?? [])].at(-1);
  if (said?.textContent.trim()) seen.add(last.querySelector('[id^=message-]').id);
  return seen.size; }"""


class OpenWebUi:
    """Open WebUI 0.12 without sign-in. It folds a thought away, so only responses are timed.

    Its release notes are marked as read: it shows them to an administrator in a dialog that takes the first Enter.
    """

    def __init__(self, program: Program) -> None:
        self.chat = Chat(
            name="open-webui",
            program=program,
            ready="() => [...document.querySelectorAll('button')].some((one) => one.textContent.includes('ruminate'))",
            box="#chat-input",
            thought=None,
            response=ANSWERS,
            sent="() => !document.querySelector('#chat-input').textContent.trim()",
            busy="() => !document.querySelector('.message-listitem:last-child .chat-assistant')"
            " || !document.querySelector('.message-listitem:last-child button[aria-label=Copy]')",
            said="() => [...document.querySelectorAll('.chat-assistant .markdown-prose')].at(-1)?.textContent.trim()"
            " ?? ''",
            new="#sidebar-new-chat-button",
        )
        signed = self._post("auths/signin", {"email": "", "password": ""}, None)
        self._token = str(signed["token"])
        self._post("users/user/settings/update", {"ui": {"showChangelog": False}}, self._token)

    def _post(self, path: str, body: Any, token: str | None) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.chat.program.url}/api/v1/{path}"
        return httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status().json()

    def long_talk(self, turns: int) -> str:
        """Store a conversation of so many turns, as its page would; its address."""
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
        made = self._post("chats/new", {"chat": talk}, self._token)
        return f"{self.chat.program.url}/c/{made['id']}"
