"""Names for conversations: the model is asked for one, and where it answers nonsense the first words serve.

The turn that asks is of origin `title` and under consent `none`: no words of it are kept, nothing learns from it. A
name that a person gave is never replaced.
"""

import re
import threading
import time
from concurrent.futures import Future

from cli.client import GatewayError
from ui.files import parted
from ui.gate import Gate
from ui.words import Words

LONGEST = 60  # characters of a name; the side bar shows about thirty
MOST_WORDS = 9
AGAIN_S = 0.3  # between tries where the record has no conversation yet: an answer that was cut off comes there later
TRIES = 20
READ = 600  # characters of question and answer that the model is shown: small models have short contexts


def shortened(message: str) -> str:
    """The first words of a message, as a conversation's name; of one that is a file alone, the file's name."""
    files, words = parted(message)
    line = " ".join((words or (files[0].name if files else "")).split())
    return line if len(line) <= LONGEST else line[:LONGEST].rsplit(" ", 1)[0] + "…"


def usable(said: str, question: str, answer: str) -> str:
    """A model's reply as a name, or "" where it is none: too long, several things, or about something else."""
    lines = [line for line in said.splitlines() if line.strip()]
    if not lines or len(lines) > 2:
        return ""  # an answer to the question, not a name for it
    line = lines[0].strip().strip("\"'“”‘’«»*_` ")
    if line.endswith((",", "，", "、")):
        return ""  # the salutation of an answer that was cut
    line = re.sub(r"^(title|name)\s*:\s*", "", line.strip().strip("#*_ "), flags=re.IGNORECASE)
    line = " ".join(line.strip("\"'“”‘’«»*_` .").split())
    words = re.findall(r"[^\W_]+", line.casefold())
    if not words or len(line) > LONGEST or len(words) > MOST_WORDS or len(set(words)) < len(words) / 2:
        return ""
    if re.search(r"[<>{}|\\]|https?:", line):
        return ""
    talk = f"{question} {answer}".casefold()
    known = [word for word in words if len(word) > 2 and word[:4] in talk]
    return line[:1].upper() + line[1:] if known else ""


class Titles:
    """Makes names, one thread each."""

    def __init__(self, words: Words) -> None:
        self._say = words

    def begin(self, named: "Future[str]", gate: Gate, conversation: str, question: str, answer: str) -> None:
        """Name `conversation` in the background; `named` gets the name, or "" when it could not be given.

        Without an answer, which was stopped or failed, nobody is asked: the first words serve.
        """

        def work() -> None:
            name = ""
            try:
                for left in reversed(range(TRIES)):
                    try:
                        name = self._name(gate, conversation, question, answer)
                        break
                    except GatewayError as error:
                        if answer or error.status != 404 or not left:
                            raise
                        time.sleep(AGAIN_S)
            except GatewayError:
                pass  # deleted meanwhile, or the gateway is gone: a name is no reason to bother anybody
            finally:
                named.set_result(name)  # after a defect too, which the thread's traceback names: somebody waits

        threading.Thread(target=work, name="title", daemon=True).start()

    def _name(self, gate: Gate, conversation: str, question: str, answer: str) -> str:
        try:
            ask = self._say("title_ask", question=question[:READ], answer=answer[:READ])
            title = usable(gate.short_answer(ask, origin="title"), question, answer) if answer else ""
        except GatewayError:
            title = ""  # busy or refused: the first words serve
        wish = {"title": title or shortened(question) or self._say("picture"), "unless_titled": True}
        changed = gate.call("PATCH", f"/api/conversations/{conversation}", wish)
        return str(changed.get("title") or "")
