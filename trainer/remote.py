"""One call to a model behind HTTP, tried again while it is busy or restarts. Knows no model."""

import time
from typing import Any

import httpx

TEMPORARY = {408, 409, 425, 429, 500, 502, 503, 504}  # busy, or away for a moment
ATTEMPTS = 6
LONGEST_WAIT = 60.0  # seconds; a provider's limits are per minute


class RemoteError(RuntimeError):
    """The model's server refused, or was gone for too long. `status`: what it said last; None where nothing."""

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words)
        self.status = status


def call(http: httpx.Client, path: str, body: dict[str, Any], first_wait: float = 0.5) -> dict[str, Any]:
    """POST and return the answer's JSON. Waits as long as the server says, else twice as long each time."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            response = http.post(path, json=body)
        except httpx.TransportError as error:
            trouble, asked, status = f"{type(error).__name__}: {error}", None, None
        else:
            if response.is_success:
                return response.json()
            trouble, status = f"{response.status_code} {response.text[:300]}", response.status_code
            if response.status_code not in TEMPORARY:
                raise RemoteError(f"POST {http.base_url}{path.lstrip('/')}: {trouble}", status)
            asked = response.headers.get("retry-after")
        if attempt < ATTEMPTS:
            wait = float(asked) if asked and asked.replace(".", "", 1).isdigit() else first_wait * 2 ** (attempt - 1)
            time.sleep(min(wait, LONGEST_WAIT))
    raise RemoteError(f"POST {http.base_url}{path.lstrip('/')}: {trouble}, after {ATTEMPTS} attempts", status)
