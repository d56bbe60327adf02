"""One call to a model behind HTTP, tried again while it is busy or restarts. Knows no model."""

import math
import time
from typing import Any

import httpx

TEMPORARY = {408, 409, 425, 429, 500, 502, 503, 504}  # busy, or away for a moment
REFUSED_ONE = (200, 400, 413, 422)
"""The server's words on this request alone: too long for it, or filtered; 200 with an error that did not pass."""
ATTEMPTS = 6  # at least so many, also where each takes long
PATIENCE = 300.0  # seconds, as for the gateway: a model takes minutes to load, and a provider's limits are per minute
LONGEST_WAIT = 60.0


class RemoteError(RuntimeError):
    """The model's server refused, or was gone for too long. `status`: what it said last; None where nothing."""

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words)
        self.status = status


def has_tls(url: str) -> bool:
    """Whether a connection to `url` needs certificates. To read them takes as long as a short call, so ask first."""
    return httpx.URL(url).scheme != "http"


def connection(url: str, key: str, seconds: float) -> httpx.Client:
    """To the server at `url`, with its key where it has one. `seconds`: how long an answer is waited for."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(
        base_url=url.rstrip("/"), headers=headers, timeout=seconds, trust_env=False, verify=has_tls(url)
    )


def call(
    http: httpx.Client, path: str, body: dict[str, Any], first_wait: float = 0.5, patience: float = PATIENCE
) -> dict[str, Any]:
    """POST and return the answer's JSON. Waits as long as the server says, and at least twice as long each time.

    `patience`: seconds since the first trouble. An answer that is no JSON object, or an error object under status 200
    as routers send it, is trouble that passes.
    """
    deadline, attempt = math.inf, 0
    where = f"POST {str(http.base_url).rstrip('/')}{path}"
    while True:
        attempt += 1
        asked, status = None, None
        try:
            response = http.post(path, json=body)
        except httpx.TransportError as error:
            trouble = f"{type(error).__name__}: {error}"
        else:
            found = _found(response) if response.is_success else None
            if found is not None:
                return found
            trouble, status = f"{response.status_code} {response.text[:300]}", response.status_code
            if not response.is_success and response.status_code not in TEMPORARY:
                raise RemoteError(f"{where}: {trouble}", status)
            asked = response.headers.get("retry-after")
        deadline = min(deadline, time.monotonic() + patience)
        if attempt >= ATTEMPTS and time.monotonic() >= deadline:
            raise RemoteError(f"{where}: {trouble}, after {attempt} attempts", status)
        said = float(asked) if asked and asked.replace(".", "", 1).isdigit() else 0.0
        time.sleep(min(max(said, first_wait * 2 ** min(attempt - 1, 9)), LONGEST_WAIT))


def _found(response: httpx.Response) -> dict[str, Any] | None:
    """The answer's JSON; None where it is none, or an error in place of an answer."""
    try:
        found = response.json()
    except ValueError:
        return None
    failed = not isinstance(found, dict) or (found.get("error") and not (found.get("choices") or found.get("data")))
    return None if failed else found
