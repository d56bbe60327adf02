"""A small honest stand-in for a vLLM server: the same paths, the same form of events, adapters that are really checked.

What an answer says depends on the model that was asked, so that a mixed or misrouted answer shows. It can be slow, die
in the middle of a stream, refuse connections, or ignore adapters, as real engines do. What it has loaded is in
`support.fake_weights`.
"""

import asyncio
import json
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web
from support.fake_weights import BASE, FakeWeights, refused

LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None}
"""Of each choice, and of each piece of one, where they are asked for."""


class FakeEngine(FakeWeights):
    """Start it with `await start()`; `url` is where it listens. A restart keeps the port and forgets all adapters."""

    def __init__(self, words: int = 6, base: str = BASE) -> None:
        super().__init__(base)
        self.words = words
        self.delay = 0.0  # seconds between two events
        self.first_delay = 0.0  # before the first
        self.aborts = 0  # so many samples are broken off first, as by a vLLM that is being stopped
        self.slow: dict[str, float] = {}  # seconds that a completion by this model takes more
        self.die_after: int | None = None  # events after which the connection breaks
        self.fail_after: int | None = None  # events after which it says that it failed, as vLLM does
        self.calls: list[tuple[str, str]] = []  # tools it calls after what it says: name, arguments as JSON text
        self.finish: tuple[str, str | None] = ("stop", None)  # why it ends, and the stop sequence that it met
        self.takes_images = False
        self.garbles: bytes | None = None  # what it says instead of an answer in one piece
        self.says_at: dict[int, bytes] = {}  # what it says in place of an event of a stream, by its place
        self.fail_next = 0  # answer so many requests by closing the connection at once
        self.dies_at_once = False  # every chat breaks its connection before the first piece
        self.started = time.time()
        self.tells_start = True  # in its metrics
        self.unhealthy = False
        self.refuses: int | None = None  # the status with which it refuses whatever it is asked
        self.refusal = "the fake refuses"  # and what it says then
        self.fails_with = 500  # the status that it tells in a stream when it failed
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.cancelled = 0
        self.served: Counter[str] = Counter()
        self.most_running = 0
        self._runner: web.AppRunner | None = None
        self._coming_back: asyncio.Task[None] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=64 << 20, middlewares=[_validated])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/detokenize", self._detokenize)
        self.add_routes(app)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.forget()

    def die(self, seconds: float) -> None:
        """As by kill -9, in the middle of whatever it answers; its supervisor has it up again after so long."""
        assert self._runner is not None
        assert self._runner.server is not None
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

        async def come_back() -> None:
            await self.stop()
            await asyncio.sleep(seconds)
            await self.start()

        self._coming_back = asyncio.create_task(come_back())

    def forget(self) -> None:
        """What a restart does to it."""
        self.forget_weights()
        self.started = time.time()

    def text(self, model: str) -> tuple[str, str]:
        """(reasoning, response) that `model` always writes. Full weights write as the checkpoint that they are."""
        if model == self.base and self.weights:
            model = f"ruminate-{Path(self.weights).name}"
        return " ".join(f"{model}-thinks{i}" for i in range(3)), " ".join(f"{model}-says{i}" for i in range(self.words))

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=503 if self.unhealthy else 200)

    async def _models(self, _: web.Request) -> web.Response:
        cards = [{"id": self.base, "root": self.root, "parent": None, "max_model_len": 1024}]
        cards += [{"id": name, "root": path, "parent": BASE} for name, path in self.adapters.items()]
        return web.json_response({"object": "list", "data": cards})

    async def _metrics(self, _: web.Request) -> web.Response:
        said = "# HELP process_start_time_seconds Start time of the process.\n"
        said += f"process_start_time_seconds {self.started}\n" if self.tells_start else ""
        return web.Response(text=said)

    def _refuse(self, request: web.Request, body: dict[str, Any]) -> web.Response | None:
        self.requests.append((request.path, body))
        if self.fail_next:
            self.fail_next -= 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        if self.refuses is not None:
            return refused(self.refuses, self.refusal)
        if body.get("model") != BASE and body.get("model") not in self.adapters:
            return refused(404, f"The model `{body.get('model')}` does not exist.")
        if self.garbles is not None and not body.get("stream"):
            return web.Response(body=self.garbles, content_type="application/json")
        if body.get("max_tokens", 1) == 100_000:
            return refused(400, "max_tokens is too large: 100000. This model's maximum context length is 1024 tokens")
        return None

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if (refusal := self._refuse(request, body)) is not None:
            return refusal
        if self.dies_at_once:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        model = body["model"]
        await self._resumed()
        reasoning, response = self.text(model)
        spelt: dict[str, Any] = {"logprobs": LOGPROBS} if body.get("logprobs") else {}
        usage = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
        usage["completion_tokens_details"] = {"reasoning_tokens": 3}  # type: ignore[assignment]
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if not body.get("stream"):
                await asyncio.sleep(self.first_delay + self.delay * self.words)
                message: dict[str, Any] = {"role": "assistant", "content": response, "reasoning": reasoning}
                if self.calls:
                    message["tool_calls"] = [call | {"type": "function"} for call in self._calls()]
                choices = [{"index": i, "message": message, **spelt, **self._end()} for i in range(body.get("n") or 1)]
                self.served[model] += 1
                return web.json_response({"id": "x", "object": "chat.completion", "created": 1, "model": model,
                                          "choices": choices, "usage": usage})  # fmt: skip
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
            deltas += [{"reasoning": word} for word in _pieces(reasoning)]
            deltas += [{"content": word} for word in _pieces(response)]
            for index, call in enumerate(self._calls()):
                name, arguments = call["function"]["name"], call["function"]["arguments"]
                first = {
                    "index": index,
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                }
                bits = [{"index": index, "function": {"arguments": bit}} for bit in _pieces(arguments)]
                deltas += [{"tool_calls": [one]} for one in (first, *bits)]
            so_far = usage if (body.get("stream_options") or {}).get("continuous_usage_stats") else None
            told = _tokens if body.get("return_token_ids") else lambda _: {}
            events = [
                _event(model, [{"index": 0, "delta": delta, **spelt, **told(delta), "finish_reason": None}], so_far)
                for delta in deltas
            ]
            events.append(_event(model, [{"index": 0, "delta": {"content": ""}, **spelt, **self._end()}], so_far))
            if (body.get("stream_options") or {}).get("include_usage"):
                events.append(_event(model, [], usage))
            events.append(b"data: [DONE]\n\n")
            return await self._stream(request, model, events)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _stream(self, request: web.Request, model: str, events: list[bytes]) -> web.StreamResponse:
        delay = self.first_delay  # as it is when the request comes in: a test may change it for the next one
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await asyncio.sleep(delay)
        for index, event in enumerate(events):
            if index == self.fail_after:
                failed = {
                    "message": "the fake failed",
                    "type": "InternalServerError",
                    "param": None,
                    "code": self.fails_with,
                }
                await stream.write(b"data: " + json.dumps({"error": failed}).encode() + b"\n\ndata: [DONE]\n\n")
                return stream
            if self.die_after is not None and index >= self.die_after:
                assert request.transport is not None
                request.transport.abort()
                return stream
            await stream.write(self.says_at.get(index, event))
            if self.delay:
                await asyncio.sleep(self.delay)
        self.served[model] += 1
        return stream

    def _calls(self) -> list[dict[str, Any]]:
        return [
            {"id": f"call-{index}", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(self.calls)
        ]

    def _end(self) -> dict[str, Any]:
        reason, stop = self.finish
        reason = "tool_calls" if self.calls and reason == "stop" else reason
        return {"finish_reason": reason} if stop is None else {"finish_reason": reason, "stop_reason": stop}

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        if any(isinstance(one.get("content"), list) for one in body.get("messages", [])):
            done = {"count": 1, "max_model_len": 1024, "tokens": [0], "token_strs": None}
            return web.json_response(done) if self.takes_images else refused(400, f"{BASE} is not a multimodal model")
        if (refusal := self._refuse(request, body)) is not None:
            return refusal
        said = body.get("prompt") or " ".join(str(one.get("content")) for one in body["messages"])
        tokens = list(range(len(said.split())))
        return web.json_response({"count": len(tokens), "max_model_len": 1024, "tokens": tokens, "token_strs": None})

    async def _detokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        return self._refuse(request, body) or web.json_response({"prompt": " ".join(map(str, body["tokens"]))})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if (refusal := self._refuse(request, body)) is not None:
            return refusal
        model = body["model"]
        prompts = body["prompt"]
        if not isinstance(prompts, str | list) or prompts == []:
            raise ValueError("prompt")
        await self._resumed()
        if body.get("prompt_logprobs") is not None:
            self._reach("probe")
        n = body.get("n") or 1
        if not prompts or n < 1:
            return refused(400, f"1 validation error: {len(prompts)} prompts, n is {n}")
        if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
            prompts = [prompts]
        self.running += n * len(prompts)
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.first_delay + self.slow.get(model, 0.0))
        finally:
            self.running -= n * len(prompts)
        each = self._logprob(model)
        choices = []
        for index, prompt in enumerate(prompts):
            for sample in range(n):
                choice: dict[str, Any] = {"index": index * n + sample, "finish_reason": "stop"}
                if self.aborts:
                    self.aborts -= 1
                    choice["finish_reason"] = "abort"
                choice["text"] = f"<think>\n{model} thinks\n</think>\n\n{model} says"
                choice["token_ids"] = [5, 6, 7 + sample]
                choice["logprobs"] = {"token_logprobs": [each] * 3}
                if body.get("prompt_logprobs") is not None:
                    rows = [None, *({str(t): {"logprob": each, "rank": 1}} for t in prompt[1:])]
                    choice["prompt_logprobs"] = rows
                choices.append(choice)
        if body.get("prompt_logprobs") is not None:
            self._reach("probed")
        self.served[model] += 1
        usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
        return web.json_response({"id": "c", "object": "text_completion", "created": 1, "model": model,
                                  "choices": choices, "usage": usage})  # fmt: skip


@web.middleware
async def _validated(request: web.Request, handler: Any) -> web.StreamResponse:
    """As vLLM, which checks the types of a body before it works on it, and refuses what does not fit."""
    try:
        answer: web.StreamResponse = await handler(request)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return refused(400, f"1 validation error: {error!r}")
    return answer


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def _tokens(delta: dict[str, Any]) -> dict[str, list[int]]:
    """A token for each word."""
    word = delta.get("reasoning") or delta.get("content")
    return {"token_ids": [zlib.crc32(word.encode())]} if word else {}


def _event(model: str, choices: list[Any], usage: dict[str, Any] | None = None) -> bytes:
    body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    if usage is not None:
        body["usage"] = usage
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
