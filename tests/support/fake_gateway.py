"""A small honest gateway: the internal API over HTTP, answered by transformers and PEFT in this process.

It samples with real weights and reports real log-probabilities at the temperature it sampled with, as an engine with
processed log-probabilities does; it refuses unknown adapters with 404. Leaves out priorities, people and recording.
"""

import copy
import json
import threading
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class FakeGateway:
    """Serves until `close`. `deployed` is what was made live, in order; `loaded` the adapters by name."""

    def __init__(self, base: Path, key: str = "") -> None:
        import torch

        self._torch, self._key = torch, key
        self._lock = threading.Lock()
        self._plain, self._tokenizer = _read(base)
        self._models: dict[str, Any] = {"ruminate-v0": self._plain}
        self.loaded: dict[str, str] = {}
        self.history: list[str] = []
        self.deployed: list[dict[str, Any]] = []
        self.pruned: list[int] = []
        """How many checkpoints were to be kept, each time that the others were to be pruned."""
        self.on_deploy: Any = None
        """Called with the request's body; what it returns is the answer, what it raises a 409."""
        self.busy = 0
        """Answer 503 to so many requests first."""
        self.pressed = False
        """Whether people need the machine."""
        self.before_sample: Any = None
        """Called with the body of each sample request before it is answered."""
        self.after_load: Any = None
        """Called with the name of each adapter once it is loaded."""
        handler = type("Handler", (_Handler,), {"gateway": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: dict[str, Any], authorization: str) -> tuple[int, Any]:
        if self._key and authorization != f"Bearer {self._key}":
            return 401, _error("only the service key opens /internal")
        if path == "/internal/people":
            return 200, {"chats": int(self.pressed), "pressed": self.pressed}
        if self.busy:
            self.busy -= 1
            return 503, _error("the engine restarts")
        with self._lock:
            if method == "DELETE":
                name = path.rsplit("/", 1)[1]
                self._models.pop(name, None)
                return (200, {}) if self.loaded.pop(name, None) else (404, _error(f"no adapter {name}"))
            if path == "/internal/adapters":
                return self._load(body["name"], body["path"])
            if path == "/internal/prune":
                self.pruned.append(body["keep"])
                return 200, {"pruned": []}
            if path == "/internal/deploy":
                return self._deploy(body)
            if body["model"] not in self._models:
                return 404, _error(f"no model {body['model']}")
            if path == "/internal/sample":
                if self.before_sample:
                    self.before_sample(body)
                return 200, {"samples": self._sample(body)}
            return 200, {"logprobs": [self._logprobs(body["model"], each) for each in body["sequences"]]}

    def lose_adapters(self) -> None:
        """As when an engine restarts."""
        self.loaded.clear()
        self._models = {"ruminate-v0": self._plain}

    def _load(self, name: str, path: str) -> tuple[int, Any]:
        from peft import PeftModel

        if name in self.history and self.loaded.get(name) != path and name in self.loaded:
            return 409, _error(f"{name} is loaded from another path")
        if not (Path(path) / "adapter_model.safetensors").is_file():
            return 400, _error(f"{path} holds no adapter")
        adapted = PeftModel.from_pretrained(copy.deepcopy(self._plain), path)
        self._models[name] = adapted.merge_and_unload().eval()  # it writes in half the time
        self.loaded[name] = path
        self.history.append(name)
        if self.after_load:
            self.after_load(name)
        return 200, {"engines": ["fake"]}

    def _deploy(self, body: dict[str, Any]) -> tuple[int, Any]:
        try:
            answer = self.on_deploy(body) if self.on_deploy else {"live": body["checkpoint"], "previous": None}
        except ValueError as error:
            return 409, _error(str(error))
        self.deployed.append(body)
        return 200, answer

    def _sample(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        torch, model, eos = self._torch, self._models[body["model"]], self._tokenizer.eos_token_id
        dice = torch.Generator().manual_seed(body.get("seed") or 0)
        samples = []
        rows = [(place, ids) for place, ids in enumerate(body["prompts"]) for _ in range(body["n"])]
        longest = max(len(ids) for _, ids in rows)
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(row)) + row for _, row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for _, row in rows])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        done = torch.zeros(len(rows), dtype=torch.bool)
        lengths = torch.zeros(len(rows), dtype=torch.long)
        tokens: list[Any] = []  # of all rows at one place, also of those that have ended before
        scores: list[Any] = []
        cache, feed = None, ids
        with torch.inference_mode():
            for _ in range(body["max_tokens"]):
                out = model(
                    input_ids=feed, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
                )
                cache = out.past_key_values
                logprobs = torch.log_softmax(out.logits[:, -1].float() / body["temperature"], -1)
                drawn = torch.multinomial(logprobs.exp(), 1, generator=dice).squeeze(-1)
                tokens.append(drawn)
                scores.append(logprobs.gather(-1, drawn[:, None]).squeeze(-1))
                lengths += ~done
                done |= drawn == eos
                if bool(done.all()):
                    break
                feed = drawn[:, None]
                mask = torch.cat([mask, torch.ones(len(rows), 1, dtype=mask.dtype)], -1)
                positions = positions[:, -1:] + 1
        written, scored = torch.stack(tokens, 1).tolist(), torch.stack(scores, 1).tolist()
        for row, ((place, _), length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            samples.append(
                {
                    "prompt": place,
                    "sample": row % body["n"],
                    "token_ids": written[row][:length],
                    "logprobs": scored[row][:length],
                    "finish_reason": "stop" if done[row] else "length",
                }
            )
        return samples

    def _logprobs(self, name: str, sequence: dict[str, list[int]]) -> list[float]:
        torch = self._torch
        prompt, completion = sequence["prompt_ids"], sequence["completion_ids"]
        with torch.inference_mode():
            logits = self._models[name](input_ids=torch.tensor([prompt + completion])).logits[0].float()
        logprobs = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
        return logprobs.gather(-1, torch.tensor(completion)[:, None]).squeeze(-1).tolist()


@cache
def _read(base: Path) -> tuple[Any, Any]:
    """The model, of which nobody may change anything, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(base)


class _Handler(BaseHTTPRequestHandler):
    gateway: FakeGateway
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, answer = self.gateway.answer(
            self.command, self.path, json.loads(raw) if raw else {}, self.headers.get("Authorization", "")
        )
        data = json.dumps(answer).encode()
        if status == 200 and self.path == "/internal/sample" and json.loads(raw).get("stream"):
            data = b"".join(json.dumps(sample).encode() + b"\n" for sample in reversed(answer["samples"]))
        with suppress(BrokenPipeError, ConnectionResetError):  # tests kill the one who asked
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815

    def log_message(self, *_: Any) -> None:
        return


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": None, "param": None}}
