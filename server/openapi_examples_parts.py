"""What several examples of the OpenAPI document tell of: one user, one key, one conversation, one round."""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]
Examples = Mapping[tuple[str, str], tuple[Schema | None, Schema | None]]
"""(method, route) → (request, answer); None is none. A route may have a query, for another answer of its."""

WHEN, LATER = "2026-05-01T09:30:00+00:00", "2026-05-01T09:30:04+00:00"
LIMITS = {
    "requests_per_minute": 10, "tokens_per_minute": None, "concurrent_answers": None, "max_prompt_tokens": 4096,
    "max_body_bytes": None,
}  # fmt: skip
KEY = {
    "id": "0198c0de-7f00-7000-8000-00000000000a", "prefix": "rk-Ab12Cd", "scopes": ["chat"], "valid": True,
    "created_at": WHEN, "expires_at": None, "revoked_at": None, "limits": LIMITS,
}  # fmt: skip
TALK = {
    "id": "0198c0de-7f00-7000-8000-000000000001", "title": "Three dinners", "consent": None, "pinned": False,
    "created_at": WHEN, "updated_at": LATER,
}  # fmt: skip
ROUND = {
    "id": 4, "state": "requested", "phase": None, "step": 0, "total_steps": None, "algorithm": "grpo",
    "config": {"steps": 20}, "seed": 7, "trigger": "person", "reason": "many new prompts", "requested_by": "ann",
    "parent": None, "candidate": None, "verdict": None, "error": None, "created_at": WHEN, "started_at": None,
    "ended_at": None,
}  # fmt: skip
USER = {
    "id": "0198c0de-7f00-7000-8000-000000000009", "name": "ann", "role": "user", "consent": "train",
    "created_at": WHEN, "keys": 1,
}  # fmt: skip
