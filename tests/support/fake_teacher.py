"""A small OpenAI-compatible API: answers chat completions by a function, and counts what is under way at once."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], dict[str, Any]]


class FakeTeacher:
    """`answer(prompt)` gives status, headers and JSON. `asked`: prompts in the order in which they came."""

    def __init__(self, answer: Callable[[str], Reply], seconds: float = 0.0) -> None:
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.most = self._now = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                with lock:
                    outer.asked.append(prompt)
                    outer.bodies.append(body)
                    outer.keys.add(self.headers.get("Authorization"))
                    outer._now += 1
                    outer.most = max(outer.most, outer._now)
                time.sleep(seconds)
                status, headers, reply = answer(prompt)
                data = json.dumps(reply).encode()
                with lock:
                    outer._now -= 1
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def says(content: str | None, finish: str = "stop", **message: Any) -> Reply:
    """An answer of 100 tokens to a prompt of 50."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 50, "completion_tokens": 100}}
