"""Examples of the app API's main routes: what is sent, and what comes back. Tests send them and compare the fields."""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]
_WHEN, _LATER = "2026-05-01T09:30:00+00:00", "2026-05-01T09:30:04+00:00"
_LIMITS = {"requests_per_minute": 10, "tokens_per_minute": None, "concurrent_answers": None}
_KEY = {
    "id": "0198c0de-7f00-7000-8000-00000000000a", "prefix": "rk-Ab12Cd", "scopes": ["chat"], "valid": True,
    "created_at": _WHEN, "expires_at": None, "revoked_at": None, "limits": _LIMITS,
}  # fmt: skip
_TALK = {
    "id": "0198c0de-7f00-7000-8000-000000000001", "title": "Three dinners", "consent": None, "pinned": False,
    "created_at": _WHEN, "updated_at": _LATER,
}  # fmt: skip
_ASKED = {
    "id": "0198c0de-7f00-7000-8000-000000000002", "parent_id": None, "role": "user",
    "content": "Plan three dinners, no nuts.", "created_at": _WHEN,
}  # fmt: skip
_ANSWERED = {
    "id": "0198c0de-7f00-7000-8000-000000000003", "parent_id": _ASKED["id"], "role": "assistant",
    "content": "Monday: …", "created_at": _LATER,
    "generation": {
        "id": "0198c0de-7f00-7000-8000-000000000004", "model": "ruminate-v3", "reasoning": "They want three dinners …",
        "ending": "complete", "thinks": True, "effort": None, "consent": "train", "prompt_tokens": 17,
        "completion_tokens": 120, "reasoning_tokens": 60, "started_at": _WHEN, "ended_at": _LATER,
    },
}  # fmt: skip
_ROUND = {
    "id": 4, "state": "requested", "phase": None, "step": 0, "total_steps": None, "algorithm": "grpo",
    "config": {"steps": 20}, "seed": 7, "trigger": "person", "reason": "many new prompts", "requested_by": "ann",
    "parent": None, "candidate": None, "verdict": None, "error": None, "created_at": _WHEN, "started_at": None,
    "ended_at": None,
}  # fmt: skip
_OPINION = {"rating": 1, "tags": ["clear"], "words": "short and right"}

EXAMPLES: Mapping[tuple[str, str], tuple[Schema | None, Schema]] = {
    ("get", "/api/conversations"): (None, {"data": [_TALK]}),
    ("get", "/api/conversations/{conversation_id}"): (
        None,
        {**_TALK, "messages": [_ASKED, _ANSWERED], "feedback": [], "comparisons": [], "regressions": []},
    ),
    ("patch", "/api/conversations/{conversation_id}"): ({"title": "Three dinners", "pinned": False}, _TALK),
    ("post", "/api/generations/{generation_id}/feedback"): (
        _OPINION,
        {"generation_id": _ANSWERED["generation"]["id"], **_OPINION},  # type: ignore[index]
    ),
    ("get", "/api/me"): (
        None,
        {"id": "0198c0de-7f00-7000-8000-000000000009", "name": "ann", "role": "user", "consent": "train", "key": _KEY},
    ),
    ("put", "/api/me/consent"): ({"consent": "history"}, {"consent": "history"}),
    ("post", "/api/rounds"): (
        {"algorithm": "grpo", "config": {"steps": 20}, "reason": "many new prompts", "seed": 7},
        _ROUND,
    ),
    ("post", "/api/admin/users"): (
        {"name": "ann", "role": "user", "consent": "train"},
        {
            "id": "0198c0de-7f00-7000-8000-000000000009", "name": "ann", "role": "user", "consent": "train",
            "created_at": _WHEN, "keys": 0,
        },
    ),
    ("post", "/api/admin/users/{name}/keys"): (
        {"scopes": ["chat"], "expires_in_days": 30, "requests_per_minute": 10},
        {"user": "ann", **_KEY, "expires_at": "2026-05-31T09:30:00+00:00", "key": "rk-…"},
    ),
    ("patch", "/api/admin/keys/{key_id}"): ({"requests_per_minute": 10}, {"user": "ann", **_KEY}),
}  # fmt: skip
"""(method, route) → (request, answer)."""


def add_examples(paths: dict[str, Schema]) -> None:
    """Put them into the document's `paths`, in place."""
    for (method, path), (asked, answered) in EXAMPLES.items():
        route = paths[path][method]
        if asked is not None:
            route["requestBody"]["content"]["application/json"]["example"] = asked
        done = next(status for status in route["responses"] if status.startswith("2"))
        route["responses"][done].setdefault("content", {}).setdefault("application/json", {})["example"] = answered
