"""The gateway's internal API, as the trainer uses it: adapters, samples, log-probabilities, deployment.

An engine that restarts is waited for, up to a named patience; a refusal is an error at once. Knows no models.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

CONNECT_SECONDS = 5.0  # a local gateway that doesn't accept by then is down
READ_SECONDS = 600.0  # a batch of samples waits while people are served, so this is long
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


class Gateway:
    """A connection to the gateway's internal API. Threads may share it, as they may httpx's client."""

    def __init__(self, url: str, key: str, patience: float = 300.0) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout, trust_env=False)
        self._url, self._patience = url, patience

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
        self, model: str, prompts: Sequence[list[int]], n: int, *, max_tokens: int, temperature: float, seed: int
    ) -> list[Sample]:
        """`n` completions of each prompt (token ids), in the prompts' order; log-probabilities at this temperature."""
        body = {
            "model": model,
            "prompts": list(prompts),
            "n": n,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        found = self._call("POST", "/internal/sample", body)["samples"]
        found.sort(key=lambda sample: (sample["prompt"], sample["sample"]))
        expected = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(n)]
        if [(sample["prompt"], sample["sample"]) for sample in found] != expected:
            raise GatewayError(f"asked {self._url} for {n} samples of {len(prompts)} prompts, got {len(found)}", None)
        return [_sample(sample) for sample in found]

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

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                response = self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                trouble = GatewayError(f"{method} {self._url}{path}: {type(error).__name__}: {error}", None)
            else:
                if response.is_success:
                    return response.json() if response.content else {}
                trouble = GatewayError(f"{method} {self._url}{path}: {_words(response)}", response.status_code)
                if response.status_code not in TEMPORARY:
                    raise trouble
            if time.monotonic() >= deadline:
                raise trouble
            time.sleep(RETRY_SECONDS)


def _words(response: httpx.Response) -> str:
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text[:300]
    return f"{response.status_code} {message}"


def _sample(raw: dict[str, Any]) -> Sample:
    if not raw["token_ids"] or len(raw["token_ids"]) != len(raw["logprobs"]):
        raise GatewayError(
            f"sample {raw['sample']} of prompt {raw['prompt']} has {len(raw['token_ids'])} tokens and "
            f"{len(raw['logprobs'])} log-probabilities; they must be as many, and at least one",
            None,
        )
    return Sample(raw["prompt"], raw["token_ids"], raw["logprobs"], raw["finish_reason"] == "stop")
