"""The gateway behind the benchmark, as a process of its own: the tests' own, which writes at a set pace.

Beside that one's routes there are two to set what it answers and to make it remember a long conversation. Of what it
was asked it keeps nothing, for whole histories at each turn would grow with the square of the turns.
"""

import argparse
import sys
from typing import Any

import uvicorn
from fastapi import Request

from bench.screenshots import ROOT
from bench.ui.texts import OLD_TURN

sys.path.insert(0, str(ROOT / "tests"))
from support.fake_chat_gateway import FakeGateway, Script  # noqa: E402


class Forgetful(list[dict[str, Any]]):
    """A list that keeps nothing."""

    def append(self, one: dict[str, Any]) -> None:
        """Forget it."""


def long_talk(turns: int) -> dict[str, Any]:
    """A conversation of `turns` questions and answers as the gateway tells it."""
    messages: list[dict[str, Any]] = []
    for number in range(turns):
        for role, content in (("user", f"question {number}"), ("assistant", f"{OLD_TURN}\n\nThat was {number}.")):
            parent = messages[-1]["id"] if messages else None
            messages.append({"id": f"m{len(messages)}", "parent_id": parent, "role": role, "content": content})
        made = {"id": f"g{number}", "model": "ruminate-v2", "reasoning": "so " * 150, "ending": "complete"}
        messages[-1]["generation"] = made
    return {"id": "long", "title": "long", "pinned": False, "consent": None, "messages": messages}


def create_gateway() -> FakeGateway:
    """The gateway with its two further routes."""
    gateway = FakeGateway()
    gateway.asked = Forgetful()

    @gateway.app.put("/bench/script")
    async def script(request: Request) -> dict[str, Any]:
        gateway.script = Script(**await request.json())
        return {}

    @gateway.app.put("/bench/talk/{turns}")
    def talk(turns: int) -> dict[str, Any]:
        gateway.conversations["long"] = long_talk(turns)
        return {"id": "long"}

    @gateway.app.delete("/bench/talks")
    def forget() -> dict[str, Any]:
        gateway.conversations.clear()
        return {}

    return gateway


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    uvicorn.run(create_gateway().app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
