"""A gateway for the page's tests: it streams OpenAI chunks at a set pace and keeps what it is told, in memory.

An honest stand-in for the wire only (paths, shapes, headers, statuses as the gateway has them); there is no model, and
answers are made from the question.
"""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from support.fake_rounds import START, checkpoint_view, metrics, round_view, story_view


@dataclass
class Script:
    """How the next answers look. Seconds are between pieces."""

    thought: list[str] = field(default_factory=lambda: [f"step {n} of the plan, " for n in range(1, 13)])
    response: list[str] = field(default_factory=lambda: ["Here is ", "a **plan**", ":\n\n", "1. soup\n", "2. rice\n"])
    more: dict[str, list[str]] = field(default_factory=dict)  # by model: what it says besides
    pause: float = 0.01
    first_pause: float = 0.0
    finish: str = "stop"
    refuse: tuple[int, str] | tuple[int, str, str] | None = None  # status, message, code
    break_after: int | None = None  # pieces, after which the engine fails
    hold_at: tuple[int, ...] = ()  # pieces, after each of which it waits until the test says `release()`


class FakeGateway:
    """The state and the routes. `key`: what a request must carry, or None to let everybody in."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self._released = threading.Semaphore(0)
        self.reset()
        self.app = FastAPI()
        self._routes()

    def reset(self) -> None:
        """Forget everything and answer as at first."""
        self.script = Script()
        self._released.release(100)  # whoever still waits
        self._released = threading.Semaphore(0)
        self.slow = 0.0  # seconds that reading a conversation takes
        self.slow_me = 0.0  # seconds that saying who asks takes
        self.before_it: tuple[int, str] | None = None  # status and page with which a proxy answers in its place
        self.asked: list[dict[str, Any]] = []
        self.asked_titles: list[dict[str, Any]] = []
        self.title = "and and and"  # what the model answers when it is asked for one: nonsense, as a tiny one does
        self.comparisons: list[dict[str, Any]] = []
        self.cancelled = 0
        self.consent = "train"
        self.role = "admin"
        self.kept: dict[str, dict[str, Any]] = {}  # answers that the gate asks for again, by generation
        self.learnt: dict[str, Any] = {}  # what differs from a conversation that no round has looked at
        self.live, self.previous = "v2", "v1"
        self.canary: str | None = None
        self.takes_pictures = False
        self.conversations: dict[str, dict[str, Any]] = {}
        self._begun: dict[str, dict[str, Any]] = {}  # whose first answer has yet to end: no record knows them
        self.feedback: list[dict[str, Any]] = []
        self.rounds = [round_view(1, "published", 40), round_view(2, "running", 17)]
        self.calls: list[tuple[str, str, Any]] = []
        self.seen: list[str] = []  # paths of what was only read

    def release(self) -> None:
        """Let an answer go on that is held."""
        self._released.release()

    # -- what a turn leaves behind

    def _message(self, talk: dict[str, Any], parent: str | None, role: str, content: str) -> dict[str, Any]:
        for one in talk["messages"]:
            if (one["parent_id"], one["role"], one["content"]) == (parent, role, content):
                return dict(one)
        message = {"id": uuid4().hex, "parent_id": parent, "role": role, "content": content, "created_at": START}
        talk["messages"].append(message)
        return message

    def _record(self, body: dict[str, Any], talk: dict[str, Any], made: dict[str, Any]) -> None:
        parent = None
        for message in body["messages"]:
            parent = self._message(talk, parent, message["role"], message["content"])["id"]
        if begun := self._begun.pop(talk.get("id", ""), None):
            self.conversations[talk["id"]] = begun
        answer = self._message(talk, parent, "assistant", made.pop("response"))
        stored = next(one for one in talk["messages"] if one["id"] == answer["id"])
        stored["generation"] = made

    async def _stream(self, body: dict[str, Any], talk: dict[str, Any], name: str) -> AsyncIterator[str]:
        script = self.script
        model = f"ruminate-{self.live}" if body["model"] == "ruminate" else body["model"]
        thinks = body.get("chat_template_kwargs", {}).get("enable_thinking", True)
        thought = script.thought if thinks else []
        script = replace(script, response=[*script.response, *script.more.get(model, [])])
        pieces = [("reasoning", text) for text in thought] + [("content", text) for text in script.response]
        sent: list[tuple[str, str]] = []
        finish = "interrupted"
        try:
            await asyncio.sleep(script.first_pause)
            for count, (kind, text) in enumerate(pieces, start=1):
                sent.append((kind, text))
                usage = {"completion_tokens": count}
                yield _event(model, {kind: text}, None, usage)
                if script.break_after == count:
                    error = {"message": "the engine went away in mid-answer; try again", "type": "server_error"}
                    yield "data: " + json.dumps({"error": error}) + "\n\n"
                    return
                if count in script.hold_at:
                    await asyncio.to_thread(self._released.acquire, timeout=60)
                await asyncio.sleep(script.pause)
            finish = script.finish
            details = {"reasoning_tokens": len(thought)}
            usage = {"completion_tokens": len(pieces), "completion_tokens_details": details}
            yield _event(model, {}, finish, usage)
        finally:
            if finish == "interrupted":
                self.cancelled += 1
            response = "".join(text for kind, text in sent if kind == "content")
            reasoning = "".join(text for kind, text in sent if kind == "reasoning")
            made = {"id": name, "model": model, "reasoning": reasoning, "reasoning_tokens": len(thought)}
            made |= {"thought_seconds": round(script.pause * len(thought), 1) if thought else None}
            made |= {"thinks": thinks, "effort": body.get("reasoning_effort")}
            endings = {"stop": "complete", "length": "truncated_response"}
            self._record(body, talk, {**made, "response": response, "ending": endings.get(finish, finish)})
        yield "data: [DONE]\n\n"

    # -- routes

    def _routes(self) -> None:
        app = self.app

        @app.middleware("http")
        async def door(request: Request, call_next: Any) -> Response:
            if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
                return _error(401, "no valid API key was given")
            if self.before_it is not None:
                status, page = self.before_it
                return Response(page, status, media_type="text/html")
            if request.method in ("PUT", "PATCH", "POST", "DELETE") and request.url.path != "/v1/chat/completions":
                body = await request.body()
                self.calls.append((request.method, request.url.path, json.loads(body) if body else None))
            if request.method == "GET":
                self.seen.append(request.url.path)
            answer: Response = await call_next(request)
            return answer

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            body = await request.json()
            ours = body.get("ruminate") or {}
            if ours.get("origin") == "title":
                self.asked_titles.append(body)
                return JSONResponse({"choices": [{"message": {"role": "assistant", "content": self.title}}]})
            self.asked.append(body)
            if self.script.refuse:
                return _error(*self.script.refuse)
            wish = ours.get("conversation_id")
            if self.consent == "none":  # kept nowhere: neither a record nor names
                stream = self._stream(body, {"messages": []}, "")
                return StreamingResponse(stream, media_type="text/event-stream")
            talk = self.conversations.get(wish or "") or self._talk(wish or uuid4().hex)
            name = f"gen-{uuid4().hex}"
            headers = {"X-Ruminate-Generation": name, "X-Ruminate-Conversation": talk["id"]}
            stream = self._stream(body, talk, name)
            return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

        @app.get("/v1/models")
        def models() -> dict[str, Any]:
            takes = ["text", "image"] if self.takes_pictures else ["text"]
            return {"data": [{"id": "ruminate", "object": "model", "architecture": {"input_modalities": takes}}]}

        @app.get("/api/me")
        async def me() -> dict[str, Any]:
            await asyncio.sleep(self.slow_me)
            return {"name": "local", "role": self.role, "consent": self.consent}

        @app.get("/api/me/consent")
        def get_consent() -> dict[str, Any]:
            return {"consent": self.consent}

        @app.put("/api/me/consent")
        async def put_consent(request: Request) -> dict[str, Any]:
            self.consent = (await request.json())["consent"]
            return {"consent": self.consent}

        @app.get("/api/me/data")
        def data(before: str | None = None) -> dict[str, Any]:
            talks = [{**one, "updated_at": name} for name, one in sorted(self.conversations.items(), reverse=True)]
            return {"data": [one for one in talks if before is None or one["updated_at"] < before][:1]}

        @app.delete("/api/me/data")
        def forget() -> dict[str, Any]:
            self.conversations.clear()
            return {"deleted": {}}

        @app.get("/api/conversations")
        def conversations(search: str = "") -> dict[str, Any]:
            listed = [one for one in reversed(self.conversations.values()) if search.lower() in str(one).lower()]
            return {"data": [_without(one, "messages") for one in listed]}

        @app.get("/api/conversations/{name}")
        async def conversation(name: str) -> Any:
            await asyncio.sleep(self.slow)
            if name not in self.conversations:
                return _error(404, f"there is no conversation {name}")
            opinions = {"feedback": self.feedback, "comparisons": self.comparisons}
            return {**self.conversations[name], **opinions, "regressions": list(self.kept.values())}

        @app.get("/api/conversations/{name}/lineage")
        def learnt(name: str) -> dict[str, Any]:
            found = {"conversation_id": name, "may_train": True, "learnt": [], "open_round": None}
            return found | {"prompts": {"trained": 0, "heldout": 0, "left": 0}} | self.learnt

        @app.patch("/api/conversations/{name}")
        async def change(name: str, request: Request) -> Any:
            wish = await request.json()
            if name not in self.conversations:
                return _error(404, f"there is no conversation {name}")
            if wish.pop("unless_titled", False) and self.conversations[name]["title"] is not None:
                del wish["title"]
            self.conversations[name].update(wish)
            return _without(self.conversations[name], "messages")

        @app.delete("/api/conversations/{name}")
        def delete(name: str) -> dict[str, Any]:
            del self.conversations[name]
            return {"deleted": {}}

        @app.post("/api/generations/{name}/feedback", status_code=201)
        async def rate(name: str, request: Request) -> dict[str, Any]:
            opinion = {"generation_id": name, **await request.json()}
            self.feedback = [one for one in self.feedback if one["generation_id"] != name] + [opinion]
            return opinion

        @app.delete("/api/generations/{name}/feedback", status_code=204)
        def unrate(name: str) -> Response:
            self.feedback = [one for one in self.feedback if one["generation_id"] != name]
            return Response(status_code=204)

        @app.get("/api/regressions")
        def kept() -> dict[str, Any]:
            return {"data": [{**one, **self._answer(name)} for name, one in reversed(self.kept.items())]}

        @app.put("/api/generations/{name}/regression")
        async def keep(name: str, request: Request) -> Any:
            if self.consent != "train":
                return _error(400, f"generation {name}: its consent is not `train`, and the gate may not ask it again")
            self.kept[name] = {"generation_id": name, **await request.json(), "created_at": START}
            return self.kept[name]

        @app.delete("/api/generations/{name}/regression", status_code=204)
        def drop(name: str) -> Response:
            del self.kept[name]
            return Response(status_code=204)

        @app.post("/api/comparisons", status_code=201)
        async def compare(request: Request) -> dict[str, Any]:
            self.comparisons.append(await request.json())
            return self.comparisons[-1]

        @app.get("/api/comparisons/tally")
        def tally() -> dict[str, Any]:
            return {"data": [{"models": ["ruminate-v1", "ruminate-v2"], "chosen": [3, 7], "ties": 2}]}

        @app.get("/api/status")
        def status() -> dict[str, Any]:
            live = {"name": self.live, "since": START, "reason": "round 1 was better"}
            return {
                "profile": "tiny", "live": live, "previous": self.previous, "engines": [], "version": "0.1.0",
                "canary": self.canary and {"name": self.canary, "share": 0.1, "since": START},
                "round": next((one for one in self.rounds if one["state"] in ("requested", "running")), None),
                "prompts": {"recorded": 214, "trainable": 198},
            }  # fmt: skip

        @app.get("/api/rounds")
        def rounds() -> dict[str, Any]:
            return {"data": list(reversed(self.rounds))}

        @app.post("/api/rounds", status_code=201)
        async def start(request: Request) -> Any:
            if any(one["state"] in ("requested", "running") for one in self.rounds):
                return _error(409, "round 2 is still open; wait for it or stop it")
            self.rounds.append(round_view(len(self.rounds) + 1, "requested", 0, (await request.json())["reason"]))
            return self.rounds[-1]

        @app.get("/api/rounds/{number}")
        def one_round(number: int) -> Any:
            found = next((one for one in self.rounds if one["id"] == number), None)
            if found is None:
                return _error(404, f"there is no round {number}")
            return {**found, "metrics": metrics(found["step"])}

        @app.post("/api/rounds/{number}/cancel")
        async def cancel(number: int, request: Request) -> dict[str, Any]:
            reason = (await request.json())["reason"]
            self.rounds[number - 1] |= {
                "state": "cancelled",
                "error": f"stopped by local: {reason}" if reason else None,
            }
            return self.rounds[number - 1]

        @app.get("/api/checkpoints")
        def checkpoints() -> dict[str, Any]:
            return {"data": [checkpoint_view(name, self.live) for name in ("v3", "v2", "v1", "v0")]}

        @app.get("/api/checkpoints/{name}")
        def checkpoint(name: str) -> dict[str, Any]:
            return checkpoint_view(name, self.live)

        @app.get("/api/checkpoints/{name}/story")
        def story(name: str) -> dict[str, Any]:
            return story_view(name)

        @app.get("/api/deployments")
        def deployments() -> dict[str, Any]:
            rows = [(2, self.live, self.previous, "round 1", "round 1 was better"), (1, "v1", None, "gateway", "first")]
            keys = ("id", "live", "previous", "by", "reason")
            return {"data": [{**dict(zip(keys, row, strict=True)), "created_at": START} for row in rows]}

        @app.post("/api/deployments")
        async def deploy(request: Request) -> Any:
            wish = await request.json()
            if wish["expected_live"] != self.live:
                return _error(409, f"{self.live} is live, not {wish['expected_live']}")
            target = self.previous if wish["checkpoint"] == "previous" else wish["checkpoint"]
            self.live, self.previous = target, self.live
            return {"live": self.live, "previous": self.previous}

    def _answer(self, generation: str) -> dict[str, Any]:
        for talk in self.conversations.values():
            for one in talk["messages"]:
                if (made := one.get("generation") or {}).get("id") == generation:
                    return {"model": made["model"], "response": one["content"], "conversation_id": talk["id"]}
        raise KeyError(generation)

    def _talk(self, name: str) -> dict[str, Any]:
        new = {"id": name, "title": None, "pinned": False, "consent": None, "messages": []}
        return self._begun.setdefault(name, new)


def _without(one: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != key}


def _event(model: str, delta: dict[str, str], finish: str | None, usage: dict[str, Any]) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return "data: " + json.dumps({"model": model, "choices": [choice], "usage": usage}) + "\n\n"


def _error(status: int, message: str, code: str | None = None) -> JSONResponse:
    body = {"error": {"message": message, "type": "error", "code": code, "param": None}}
    return JSONResponse(body, status_code=status)


@contextlib.contextmanager
def serving(app: Any, at: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[str]:
    """Serve an ASGI application from a thread, on a free port unless another is given; gives its address."""
    listening = socket.socket()
    listening.bind(at)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server of the test did not start; see its log above")
        threading.Event().wait(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
