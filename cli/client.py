"""A small client of the gateway: streaming chat and the app API. The command line and the chat page stand on it.

Knows HTTP and JSON only; it holds no state but its connection, so one client per person keeps people apart.
"""

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import httpx

Message = dict[str, Any]  # OpenAI form: {"role": "user", "content": "…"}

_CONNECT_S = 5.0  # a gateway on the same network answers at once or is not there
_READ_S = 120.0  # the longest silence inside an answer: a queue in front of a busy engine


class GatewayError(Exception):
    """The gateway refused, failed or was not reached. `status` is the HTTP status, 0 where there was no answer.

    `code` is the gateway's own, or one of these: unreached, silent, broken_off, no_reason (a reply in no known form).
    """

    def __init__(self, message: str, status: int = 0, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.status, self.code = message, status, code


@dataclass(frozen=True)
class Delta:
    """One streamed piece. `model` names the checkpoint that writes; usage comes with the last piece, if asked for."""

    reasoning: str = ""
    content: str = ""
    finish_reason: str | None = None
    model: str | None = None
    generation_id: str | None = None
    conversation_id: str | None = None
    usage: dict[str, Any] | None = None


class GatewayClient:
    """A connection to one gateway, with one person's key (or none on loopback)."""

    def __init__(self, base_url: str, key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        headers = [(b"Authorization", f"Bearer {key}".encode())] if key else []
        here = on_this_machine(self.base_url)
        self._http = httpx.Client(
            base_url=self.base_url,
            headers=headers,
            timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S),
            transport=transport,
            # a proxy named in the environment does not reach this machine's own gateway, and must not see its key
            trust_env=not here,
            # nor is there TLS, for which certificates are read: that takes longer than most of the commands
            verify=not here or httpx.URL(self.base_url).scheme != "http",
        )

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def __enter__(self) -> "GatewayClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- chat

    def stream_chat(
        self, messages: list[Message], model: str = "ruminate", headers: dict[str, str] | None = None, **extra: Any
    ) -> Iterator[Delta]:
        """Stream one answer. Closing the iterator early cancels it. Raises GatewayError, also in mid-stream."""
        body = {"model": model, "messages": messages, "stream": True, **extra}
        try:
            with self._http.stream("POST", "/v1/chat/completions", json=body, headers=headers or {}) as reply:
                if reply.status_code != 200:
                    reply.read()
                    raise _error(reply)
                ids = {
                    "generation_id": reply.headers.get("x-ruminate-generation"),
                    "conversation_id": reply.headers.get("x-ruminate-conversation"),
                }
                ended = False
                for line in reply.iter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        delta = _delta(_chunk(line[6:], reply), ids)
                        ended = ended or delta.finish_reason is not None
                        yield delta
                if not ended:
                    raise self._broken_off()  # by a proxy, which can end a stream as if it were whole
        except httpx.TransportError as error:
            raise self._unreached(error) from error

    # -- the app

    def status(self) -> dict[str, Any]:
        """What is live, the engines, the open round, the counts of prompts."""
        return cast(dict[str, Any], self.get("/api/status"))

    def rounds(self) -> list[dict[str, Any]]:
        """All rounds, newest first."""
        return _items(self.get("/api/rounds"))

    def round(self, round_id: int) -> dict[str, Any]:
        """One round with its metrics."""
        return cast(dict[str, Any], self.get(f"/api/rounds/{round_id}"))

    def start_round(
        self, algorithm: str = "", config: dict[str, Any] | None = None, reason: str = "", seed: int | None = None
    ) -> dict[str, Any]:
        """Ask for a round; without an algorithm, by the one that the trainer is set to.

        Raises GatewayError with status 409 while one is open.
        """
        body = {"algorithm": algorithm, "config": config or {}, "reason": reason, "seed": seed}
        return cast(dict[str, Any], self.call("POST", "/api/rounds", body))

    def cancel_round(self, round_id: int, reason: str = "") -> dict[str, Any]:
        """Stop a round; what it has trained is not published."""
        return cast(dict[str, Any], self.call("POST", f"/api/rounds/{round_id}/cancel", {"reason": reason}))

    def checkpoints(self, manifests: bool = True) -> list[dict[str, Any]]:
        """All checkpoints, newest first; with their manifests they take a while after some years of rounds."""
        return _items(self.get("/api/checkpoints", manifests=manifests))

    def deploy(self, checkpoint: str, reason: str, expected_live: str | None = None) -> dict[str, Any]:
        """Make `checkpoint` ("v3", or "previous") live on every engine; returns when it answers."""
        body = {"checkpoint": checkpoint, "reason": reason, "expected_live": expected_live}
        return cast(dict[str, Any], self.call("POST", "/api/deployments", body))

    # -- plain calls, for what has no method of its own

    def get(self, path: str, **params: Any) -> Any:
        """GET `path` and return its JSON. Raises GatewayError."""
        return self._json("GET", path, params=params or None)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send `body` as JSON and return the reply's JSON (None where it has none). Raises GatewayError."""
        return self._json(method, path, json=body)

    def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        try:
            reply = self._http.request(method, path, **kwargs)
        except httpx.TransportError as error:
            raise self._unreached(error) from error
        if not reply.is_success:
            raise _error(reply)
        try:
            return reply.json() if reply.content else None
        except ValueError as error:
            raise _error(reply) from error  # a page of a proxy's, say

    def _unreached(self, error: httpx.TransportError) -> GatewayError:
        if isinstance(error, httpx.ReadTimeout):
            words = f"the gateway at {self.base_url} has been silent for {_READ_S:.0f} s; try again"
            return GatewayError(words, code="silent")
        if isinstance(error, httpx.RemoteProtocolError):
            return self._broken_off()
        words = f"no gateway answers at {self.base_url} ({error}); start it with `make up`"
        return GatewayError(words, code="unreached")

    def _broken_off(self) -> GatewayError:
        words = f"the gateway at {self.base_url} ended the answer before it was complete; try again"
        return GatewayError(words, code="broken_off")


def on_this_machine(url: str) -> bool:
    """Whether `url` names a loopback address, or all addresses of this machine."""
    host = httpx.URL(url).host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def _items(reply: Any) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], reply["data"] if isinstance(reply, dict) else reply)


def _chunk(data: str, reply: httpx.Response) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], json.loads(data))
    except ValueError as error:
        words = f"HTTP {reply.status_code} from {reply.url}: {data[:200]}"
        raise GatewayError(words, reply.status_code, "no_reason") from error


def _delta(chunk: dict[str, Any], ids: dict[str, str | None]) -> Delta:
    if "error" in chunk:
        error = chunk["error"]
        raise GatewayError(error.get("message", str(error)), int(error.get("status", 500) or 500), error.get("code"))
    choice = (chunk.get("choices") or [{}])[0]
    delta = choice.get("delta") or {}
    return Delta(
        reasoning=delta.get("reasoning") or "",
        content=delta.get("content") or "",
        finish_reason=choice.get("finish_reason"),
        model=chunk.get("model"),
        usage=chunk.get("usage"),
        **ids,
    )


def _error(reply: httpx.Response) -> GatewayError:
    try:
        error = reply.json()["error"]
        return GatewayError(error["message"], reply.status_code, error.get("code"))
    except (ValueError, KeyError, TypeError):
        said = f"it points to {reply.headers['location']}" if reply.has_redirect_location else reply.text[:200]
        return GatewayError(f"HTTP {reply.status_code} from {reply.url}: {said}", reply.status_code, "no_reason")
