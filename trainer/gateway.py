"""The gateway's internal API, as the trainer uses it: adapters, samples, log-probabilities, deployment.

An engine that restarts is waited for, up to a named patience; a refusal is an error at once. Knows no models.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from trainer.remote import has_tls

CONNECT_SECONDS = 5.0  # a local gateway that doesn't accept by then is down
READ_SECONDS = 600.0  # a batch of samples waits while people are served, so this is long
PRESSED_SECONDS = 1.0  # a step does not wait for longer to be told that it may go on
RETRY_SECONDS = 2.0  # between attempts while the gateway or its engine restarts
TEMPORARY = {429, 502, 503, 504}  # busy, or no engine just now


class GatewayError(RuntimeError):
    """The gateway refused, or was gone for too long. `status` is None when it never answered."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Sample:
    """One completion: its token ids, the engine's log-probability of each, and whether it ended by itself."""

    prompt: int
    token_ids: list[int]
    logprobs: list[float]
    finished: bool


Arrived = Callable[[int, Sample], None]
"""What is told of a sample that has ended while others go on: its place among all, and it."""


class Gateway:
    """A connection to the gateway's internal API. Threads may share it, as they may httpx's client.

    `stop`: texts at which every sample ends, as the model's format has it.
    """

    def __init__(self, url: str, key: str, patience: float = 300.0, stop: Sequence[str] = ()) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.Client(
            base_url=url.rstrip("/"), headers=headers, timeout=timeout, trust_env=False, verify=has_tls(url)
        )
        self._url, self._patience, self._stop = url, patience, list(stop)

    def load_adapter(self, name: str, path: Path) -> None:
        """Load the adapter in `path` on every engine under `name`."""
        self._call("POST", "/internal/adapters", {"name": name, "path": str(path.absolute())})

    def unload_adapter(self, name: str) -> None:
        """Forget `name`; that it is not loaded is no error."""
        try:
            self._call("DELETE", f"/internal/adapters/{name}")
        except GatewayError as error:
            if error.status != 404:
                raise

    def sample(
        self,
        model: str,
        prompts: Sequence[list[int]],
        n: int,
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        arrived: Arrived | None = None,
    ) -> list[Sample]:
        """`n` completions of each prompt (token ids), in the prompts' order; log-probabilities at this temperature.

        `arrived` is called for each when it has ended, in no order. What came before an interruption is kept.
        """
        body = {
            "model": model,
            "prompts": list(prompts),
            "n": n,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "stop": self._stop,
            "stream": True,
        }
        found: dict[int, Sample] = {}

        def take(answer: httpx.Response) -> None:
            for line in answer.iter_lines():
                raw = _json(answer, line)
                if "error" in raw:
                    raise _Refused(raw["status"], raw["error"]["message"])
                place = raw["prompt"] * n + raw["sample"]
                if place not in found:
                    found[place] = _sample(raw)
                    if arrived is not None:
                        arrived(place, found[place])
            if len(found) < len(prompts) * n:
                raise httpx.RemoteProtocolError(f"{len(found)} of {len(prompts) * n} samples came")

        self._patiently("POST", "/internal/sample", body, take, lambda: len(found))
        if sorted(found) != list(range(len(prompts) * n)):
            raise GatewayError(f"asked {self._url} for {n} samples of {len(prompts)} prompts, got {len(found)}", None)
        return [found[place] for place in sorted(found)]

    def logprobs(self, model: str, sequences: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        """The engine's log-probability of each completion token, given (prompt ids, completion ids)."""
        asked = [{"prompt_ids": prompt, "completion_ids": completion} for prompt, completion in sequences]
        return self._call("POST", "/internal/logprobs", {"model": model, "sequences": asked})["logprobs"]

    def deploy(self, checkpoint: str, expected_live: str, by: str, reason: str) -> dict[str, Any]:
        """Make `checkpoint` live on every engine. Returns once it is, and probed; raises GatewayError when refused."""
        body = {"checkpoint": checkpoint, "expected_live": expected_live, "by": by, "reason": reason}
        return self._call("POST", "/internal/deploy", body)

    def prune(self, keep: int) -> list[str]:
        """Remove the files of old checkpoints, but for the `keep` newest and those in use. Returns their names."""
        return self._call("POST", "/internal/prune", {"keep": keep})["pruned"]

    def pressed(self) -> bool | None:
        """Whether people need the machine just now; None where the gateway does not say so at once."""
        try:
            answer = self._http.get("/internal/people", timeout=PRESSED_SECONDS)
            return bool(answer.json()["pressed"]) if answer.is_success else None
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. Waits for a gateway or engine that is gone for the moment; raises GatewayError."""
        found: list[Any] = []

        def take(answer: httpx.Response) -> None:
            found.append(_json(answer, answer.read() or b"{}"))

        self._patiently(method, path, body, take)
        return found[-1]

    def _patiently(
        self,
        method: str,
        path: str,
        body: Any,
        take: Callable[[httpx.Response], None],
        came: Callable[[], int] = lambda: 0,
    ) -> None:
        """Have `take` read an answer as it comes. Asks again while the gateway or its engine is gone for the moment.

        Patience begins with the first trouble, and anew whenever `came`, a count of what was taken, has grown.
        """
        deadline, had = math.inf, came()
        while True:
            try:
                with self._http.stream(method, path, json=body) as response:
                    if response.is_success:
                        return take(response)
                    response.read()
                    raise _Refused(response.status_code, _words(response))
            except httpx.TransportError as error:
                trouble = GatewayError(f"{method} {self._url}{path}: {type(error).__name__}: {error}", None)
            except _Refused as refusal:
                trouble = GatewayError(f"{method} {self._url}{path}: {refusal}", refusal.status)
                if refusal.status not in TEMPORARY:
                    raise trouble from None
            if came() > had:
                deadline, had = math.inf, came()
            deadline = min(deadline, time.monotonic() + self._patience)
            if time.monotonic() >= deadline:
                raise trouble
            time.sleep(RETRY_SECONDS)


class _Refused(Exception):
    """The gateway's own word that it does not do it, at once or in the middle of a stream."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status


def _json(response: httpx.Response, told: str | bytes) -> Any:
    """What is told, of an answer that is a success. Raises GatewayError where it is none of a gateway's."""
    try:
        return json.loads(told)
    except ValueError:
        raise GatewayError(
            f"{response.url} answered {response.status_code} with {told[:100]!r} and no JSON; is that the gateway?",
            response.status_code,
        ) from None


def _words(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:300]


def _sample(raw: dict[str, Any]) -> Sample:
    if not raw["token_ids"] or len(raw["token_ids"]) != len(raw["logprobs"]):
        raise GatewayError(
            f"sample {raw['sample']} of prompt {raw['prompt']} has {len(raw['token_ids'])} tokens and "
            f"{len(raw['logprobs'])} log-probabilities; they must be as many, and at least one",
            None,
        )
    return Sample(raw["prompt"], raw["token_ids"], raw["logprobs"], raw["finish_reason"] == "stop")
