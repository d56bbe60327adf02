"""Examples of the routes about the house: its checkpoints, what they learnt from, its people and engines, its trainer.

Tests send them in this order to one gateway and compare the fields.
"""

from server.openapi_examples_parts import KEY, LATER, TALK, USER, WHEN, Examples

_NAME = "ruminate-v4"
_VERDICT = {"publish": True, "words": "published: it wins", "checks": []}
_MANIFEST = {
    "format": 1, "name": "v4", "kind": "adapter", "base": {"name": "policy", "config_hash": None}, "rank": 16,
    "thinking_format": "think",
}  # fmt: skip
_CHECKPOINT = {
    "name": "v4", "kind": "adapter", "parent": "v3", "round": 4, "state": "published", "created_at": WHEN,
    "live": True, "path": "/home/ann/.ruminate/checkpoints/v4", "manifest": _MANIFEST,
}  # fmt: skip
_LEARNT = {"name": "v4", "state": "published", "round": 4, "created_at": WHEN}
_TRAINED = {"recorded": 1, "mix": 1, "erased": 0}
_PROMPT = {
    "position": 0, "source": "recorded", "split": "train", "verdict": "kept", "why": "",
    "message": "0198c0de-7f00-7000-8000-000000000002", "conversation": TALK["id"], "forgotten": None,
}  # fmt: skip
_PROMPTS = {"data": [_PROMPT], "preferences": []}
_DELETED = {
    "conversations": 1, "messages": 3, "generations": 2, "feedback": 1, "comparisons": 1, "keys": 1,
    "round_prompts": 1, "regressions": 1, "spooled": 0,
}  # fmt: skip
_ENGINE = {
    "url": "http://10.0.0.7:8100", "state": "ready", "detail": "", "weights": "ruminate-v0",
    "adapters": ["ruminate-v3", _NAME], "in_flight": 2,
}  # fmt: skip
_DEPLOYMENT = {
    "id": 6, "live": "v4", "previous": "v3", "canary": None, "canary_share": 0.0, "by": "ann",
    "reason": "passed its gate", "created_at": LATER,
}  # fmt: skip
_DEPLOY = {"checkpoint": "v4", "reason": "passed its gate", "expected_live": "v3"}
_LIVE = {"live": "v4", "previous": "v3"}
_SAMPLE = {"prompt": 0, "sample": 0, "token_ids": [5, 6, 7], "logprobs": [-0.2, -1.1, -0.4], "finish_reason": "stop"}
_ADAPTER = {"name": "round-4-step-2", "path": "/home/ann/.ruminate/rounds/4/steps/2"}

HOUSE_EXAMPLES: Examples = {
    ("get", "/health"): (None, {"status": "ok", "engines": [{"state": "ready", "detail": ""}], "trouble": None}),
    ("post", "/api/deployments"): (_DEPLOY, _LIVE),
    ("get", "/api/deployments"): (None, {"data": [_DEPLOYMENT]}),
    ("get", "/api/checkpoints"): (None, {"data": [_CHECKPOINT]}),
    ("get", "/api/checkpoints/{name}"): (None, {**_CHECKPOINT, "lineage": ["v4", "v3", "v0"]}),
    ("get", "/api/checkpoints/{name}/story"): (
        None,
        {
            "name": "v4", "state": "published", "created_at": WHEN, "lineage": ["v4", "v3", "v0"], "parent": "v3",
            "base": _MANIFEST["base"],
            "round": {"id": 4, "algorithm": "grpo", "seed": 7, "trigger": "schedule", "by": "schedule",
                      "reason": "nightly", "steps": 20},
            "changed": {"steps": {"parent": 10, "own": 20}}, "verdict": _VERDICT, "prompts": _TRAINED,
            "metrics": {"reward": [0.31, 0.34]}, "samples": [],
        },
    ),
    ("get", "/api/checkpoints/{name}/prompts"): (None, {"checkpoint": "v4", "round": 4, **_PROMPTS}),
    ("get", "/api/rounds/{round_id}/prompts"): (
        None,
        {"round": 4, "data": [
            {"source": "recorded", "split": "train", "verdict": "kept", "why": "", "prompts": 320},
        ]},
    ),
    ("get", "/api/rounds/{round_id}/prompts/ids"): (None, {"round": 4, **_PROMPTS}),
    ("get", "/api/lineage?user=ann"): (None, {"learnt": [_LEARNT], "last_clean": "v3"}),
    ("get", "/api/generations/{generation_id}/lineage"): (
        None,
        {
            "generation_id": "0198c0de-7f00-7000-8000-000000000004", "model": _NAME, "conversation_id": TALK["id"],
            "started_at": WHEN,
            "lineage": [
                {"name": "v4", "state": "published", "round": 4, "algorithm": "grpo", "ended_at": LATER,
                 "prompts": _TRAINED},
                {"name": "v0", "state": "published", "round": None, "algorithm": None, "ended_at": None,
                 "prompts": {}},
            ],
        },
    ),
    ("get", "/api/conversations/{conversation_id}/lineage"): (
        None,
        {
            "conversation_id": TALK["id"], "learnt": [{**_LEARNT, "directly": True}], "open_round": None,
            "prompts": {"trained": 1, "heldout": 0, "left": 0}, "may_train": True,
        },
    ),
    ("get", "/api/admin/users"): (None, {"data": [USER]}),
    ("get", "/api/admin/keys"): (None, {"data": [{"user": "ann", **KEY}]}),
    ("post", "/api/admin/users/{name}/disable"): (None, {**USER, "keys": 0, "revoked": 1}),
    ("post", "/api/forget"): (
        {"user": "ann", "rebuild": True},
        {
            "deleted": _DELETED, "cancelled": None, "learnt": [{**_LEARNT, "state": "rejected"}], "last_clean": "v3",
            "rebuild": {"from": "v3", "rejected": ["v4"], "rounds": [5], "cancelled": None, "live": "v3"},
        },
    ),
    ("get", "/api/rebuild"): (None, {"rounds": [5]}),
    ("delete", "/api/rebuild"): (None, {"rounds": [5]}),
    ("get", "/api/admin/engines"): (None, {"data": [{**_ENGINE, "in_settings": True}]}),
    ("post", "/api/admin/engines"): (
        {"url": "http://10.0.0.8:8100"},
        {**_ENGINE, "url": "http://10.0.0.8:8100", "state": "starting", "weights": None, "adapters": [],
         "in_flight": 0},
    ),
    ("post", "/api/prune"): ({"keep": 10}, {"pruned": ["v1"]}),
    ("get", "/api/admin/audit"): (
        None,
        {"data": [
            {"at": WHEN, "actor": "ann", "action": "user.add",
             "detail": {"user": USER["id"], "name": "bob", "role": "user"}},
        ]},
    ),
    ("post", "/internal/adapters"): (_ADAPTER, {"name": _ADAPTER["name"], "engines": [_ENGINE["url"]]}),
    ("get", "/internal/people"): (None, {"chats": 2, "pressed": False}),
    ("post", "/internal/sample"): (
        {"model": _ADAPTER["name"], "prompts": [[1, 2]], "n": 1, "max_tokens": 512, "temperature": 1.0, "seed": 7},
        {"samples": [_SAMPLE]},
    ),
    ("post", "/internal/logprobs"): (
        {"model": _ADAPTER["name"], "sequences": [{"prompt_ids": [1, 2], "completion_ids": [5, 6, 7]}]},
        {"logprobs": [[-0.2, -1.1, -0.4]]},
    ),
    ("post", "/internal/deploy"): ({**_DEPLOY, "by": "trainer"}, _LIVE),
    ("post", "/internal/prune"): ({"keep": 10}, {"pruned": ["v1"]}),
}  # fmt: skip
