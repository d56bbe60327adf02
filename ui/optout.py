"""Keeps a conversation out of training that was begun so: says it to the gateway as soon as that has the conversation.

Each request carries the wish for its own turn. Only the conversation's own consent holds for what comes later, in
another tab or browser, and it can be set once the gateway has recorded the first turn.
"""

import threading
import time
from collections.abc import Callable

from cli.client import GatewayError
from ui.gate import Gate

AGAIN_S = 0.3  # between tries; the first record of a turn takes about as long
TRIES = 40  # after the answer has ended, when the record is complete: a database may be slow


def keep_out(gate: Gate, conversation: str, wish: Callable[[], str | None], over: Callable[[], bool]) -> None:
    """Set the conversation's consent to `wish`, in the background, until the gateway has taken it."""

    def work() -> None:
        left = TRIES
        while left:
            said = wish()
            try:
                gate.call("PATCH", f"/api/conversations/{conversation}", {"consent": said})
            except GatewayError:
                left -= over()
                time.sleep(AGAIN_S)
            else:
                if said == wish():
                    return

    threading.Thread(target=work, name="consent", daemon=True).start()
