"""Examples of the routes for people and programs: what is sent, and what comes back.

Tests send them in this order to one gateway and compare the fields.
"""

from server.openapi_examples_house import HOUSE_EXAMPLES
from server.openapi_examples_parts import KEY, LATER, ROUND, TALK, USER, WHEN, Examples, Schema

PLAIN = "answer"  # the name of an example; one with a query is named by it
_ASKED = {
    "id": "0198c0de-7f00-7000-8000-000000000002", "parent_id": None, "role": "user",
    "content": "Plan three dinners, no nuts.", "created_at": WHEN,
}  # fmt: skip
_ANSWERED = {
    "id": "0198c0de-7f00-7000-8000-000000000003", "parent_id": _ASKED["id"], "role": "assistant",
    "content": "Monday: …", "created_at": LATER,
    "generation": {
        "id": "0198c0de-7f00-7000-8000-000000000004", "model": "ruminate-v3", "reasoning": "They want three dinners …",
        "ending": "complete", "thinks": True, "effort": None, "consent": "train", "prompt_tokens": 17,
        "completion_tokens": 120, "reasoning_tokens": 60, "thought_seconds": 2.1, "started_at": WHEN,
        "ended_at": LATER,
    },
}  # fmt: skip
_SAID = {"model": "ruminate", "messages": [{"role": "user", "content": "Plan three dinners."}]}
_MODEL = {
    "id": "ruminate", "created": 1760000000, "root": "ruminate-v3", "object": "model", "owned_by": "ruminate",
    "max_model_len": 1024, "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
}  # fmt: skip
_OPINION = {"rating": 1, "tags": ["clear"], "words": "short and right", "shown": {"thoughts": "collapsed"}}
_CHOICE = {
    "left": "0198c0de-7f00-7000-8000-000000000004", "right": "0198c0de-7f00-7000-8000-000000000006",
    "choice": "right", "shown": {"blind": True},
}  # fmt: skip
_COMPARED = {"id": "0198c0de-7f00-7000-8000-000000000007", **_CHOICE, "created_at": LATER}
_KEPT = {"generation_id": _CHOICE["left"], "kind": "good", "created_at": LATER}
_WHOLE = {**TALK, "messages": [_ASKED, _ANSWERED], "feedback": [], "comparisons": [], "regressions": []}
_DELETED = {
    "conversations": 1, "messages": 3, "generations": 2, "feedback": 1, "comparisons": 1, "keys": 0,
    "round_prompts": 0, "regressions": 1, "spooled": 0,
}  # fmt: skip
_STATUS = {
    "profile": "single-gpu", "version": "0.1.0", "live": {"name": "v3", "since": WHEN, "reason": "passed its gate"},
    "previous": "v2", "canary": None,
    "engines": [
        {"url": "http://10.0.0.7:8100", "state": "ready", "detail": "", "weights": "ruminate-v0",
         "adapters": ["ruminate-v2", "ruminate-v3"], "in_flight": 2},
    ],
    "round": ROUND, "prompts": {"recorded": 830, "trainable": 640}, "chats": 2,
    "rollouts": {"limit": 16, "running": 0, "waiting": 0, "reason": "people chat: 16 sequences at once"},
    "recording": {"recorded": 1204, "spooled": 0, "trouble": None},
}  # fmt: skip

EXAMPLES: Examples = {
    ("get", "/v1/models"): (None, {"object": "list", "data": [_MODEL]}),
    ("get", "/v1/models/{model}"): (None, _MODEL),
    ("post", "/tokenize"): (_SAID, {"count": 3, "max_model_len": 1024, "tokens": [5, 6, 7], "token_strs": None}),
    ("post", "/detokenize"): ({"model": "ruminate", "tokens": [5, 6, 7]}, {"prompt": "Plan three dinners."}),
    ("post", "/v1/messages/count_tokens"): (_SAID, {"input_tokens": 3}),
    ("post", "/v1/embeddings"): ({"model": "ruminate", "input": "Plan three dinners."}, None),
    ("get", "/api/conversations"): (None, {"data": [TALK]}),
    ("get", "/api/conversations?search=dinners"): (
        None,
        {"data": [{**TALK, "excerpt": "Plan three dinners, no nuts."}]},
    ),
    ("get", "/api/conversations/{conversation_id}"): (None, _WHOLE),
    ("patch", "/api/conversations/{conversation_id}"): ({"title": "Three dinners", "pinned": False}, TALK),
    ("post", "/api/generations/{generation_id}/feedback"): (
        _OPINION,
        {"generation_id": _ANSWERED["generation"]["id"], **_OPINION},  # type: ignore[index]
    ),
    ("post", "/api/comparisons"): (_CHOICE, _COMPARED),
    ("get", "/api/comparisons/tally"): (
        None,
        {"data": [{"models": ["ruminate-v2", "ruminate-v3"], "chosen": [4, 9], "ties": 2}]},
    ),
    ("put", "/api/generations/{generation_id}/regression"): ({"kind": "good"}, _KEPT),
    ("get", "/api/regressions"): (
        None,
        {"data": [
            {**_KEPT, "model": "ruminate-v3", "response": "Monday: …", "conversation_id": TALK["id"]},
        ]},
    ),
    ("get", "/api/me/data"): (
        None,
        {"data": [
            {
                **_WHOLE,
                "feedback": [{"generation_id": _KEPT["generation_id"], **_OPINION, "created_at": LATER}],
                "comparisons": [_COMPARED],
                "regressions": [_KEPT],
            },
        ]},
    ),
    ("get", "/api/me"): (
        None,
        {"id": "0198c0de-7f00-7000-8000-000000000009", "name": "ann", "role": "user", "consent": "train", "key": KEY},
    ),
    ("get", "/api/me/keys"): (None, {"data": [KEY]}),
    ("get", "/api/me/consent"): (None, {"consent": "train"}),
    ("put", "/api/me/consent"): ({"consent": "history"}, {"consent": "history"}),
    ("post", "/api/rounds"): (
        {"algorithm": "grpo", "config": {"steps": 20}, "reason": "many new prompts", "seed": 7},
        ROUND,
    ),
    ("get", "/api/rounds"): (None, {"data": [ROUND]}),
    ("get", "/api/rounds/{round_id}"): (None, {**ROUND, "metrics": {"reward": [[1, 0.31], [2, 0.34]]}}),
    ("get", "/api/status"): (None, _STATUS),
    ("post", "/api/rounds/{round_id}/cancel"): (
        {"reason": "not today"},
        {**ROUND, "state": "cancelled", "error": "stopped by ann: not today", "ended_at": LATER},
    ),
    ("post", "/api/admin/users"): (
        {"name": "ann", "role": "user", "consent": "train"},
        {**USER, "keys": 0},
    ),
    ("post", "/api/admin/users/{name}/keys"): (
        {"scopes": ["chat"], "expires_in_days": 30, "requests_per_minute": 10, "max_prompt_tokens": 4096},
        {"user": "ann", **KEY, "expires_at": "2026-05-31T09:30:00+00:00", "key": "rk-…"},
    ),
    ("patch", "/api/admin/keys/{key_id}"): ({"requests_per_minute": 10}, {"user": "ann", **KEY}),
    ("delete", "/api/conversations/{conversation_id}"): (None, {"deleted": _DELETED}),
    ("delete", "/api/me/data"): (None, {"deleted": _DELETED}),
}  # fmt: skip


def add_examples(paths: dict[str, Schema]) -> None:
    """Put them into the document's `paths`, in place."""
    for (method, target), (asked, answered) in {**EXAMPLES, **HOUSE_EXAMPLES}.items():
        path, _, query = target.partition("?")
        route = paths[path][method]
        if asked is not None:
            route["requestBody"]["content"]["application/json"]["example"] = asked
        if answered is None:
            continue
        done = next(status for status in route["responses"] if status.startswith("2"))
        content = route["responses"][done].setdefault("content", {}).setdefault("application/json", {})
        content.setdefault("examples", {})[query or PLAIN] = {"value": answered}
