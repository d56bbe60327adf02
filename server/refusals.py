"""Refusals as the OpenAPI document tells them: by status, each with an example by the name of its code.

The examples are in the form of the API that a route belongs to, OpenAI's or Anthropic's.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from server.errors import FAILED, ApiError
from server.forms.messages_answer import error_body

Schema = dict[str, Any]


class Refusal(NamedTuple):
    """`words` describe it; `message` and `code` are an example of what its body says."""

    status: int
    words: str
    message: str
    code: str | None = None


class Spoken(NamedTuple):
    """A form of errors: the name of its schema, and how one is told."""

    schema: str
    told: Callable[[ApiError], Schema]


OPENAI = Spoken("Error", lambda error: error.body)
ANTHROPIC = Spoken("AnthropicError", error_body)

INVALID = Refusal(
    400,
    "The request is not understood, or sets what it must not.",
    "limit: Input should be less than or equal to 1000",
    "invalid_value",
)
NOT_HERE = Refusal(
    400,
    "Always: there is no such thing here.",
    "no embeddings are made here: the models of this house write answers",
    "unsupported_endpoint",
)
NO_KEY = Refusal(
    401, "No valid key.", "no API key was given; send it as `Authorization: Bearer rk-…`", "missing_api_key"
)
NO_SERVICE_KEY = Refusal(401, "Not the service key.", "only the service key opens this", "invalid_service_key")
NO_SCOPE = Refusal(
    403, "The key is for something else.", "this key is for app; this takes one for chat", "missing_scope"
)
NO_ADMIN = Refusal(403, "Not an administrator's.", "only an administrator may do this", "admin_only")
NOT_FOUND = Refusal(
    404,
    "There is no such one, or it is another's.",
    "there is no conversation '0198c0de' that this key may see",
    "not_found",
)
NO_MODEL = Refusal(
    404,
    "No such model.",
    "the model 'gpt-4' does not exist or is not published; GET /v1/models lists what can be asked for",
    "model_not_found",
)
NO_CHECKPOINT = Refusal(404, "No such checkpoint.", "no checkpoint 'v9'", "checkpoint_not_found")
NO_ADAPTER = Refusal(404, "No such adapter.", "no adapter 'round-4-step-2' is loaded", "adapter_not_found")
NO_STEP = Refusal(
    404, "No such adapter.", "no adapter 'round-4-step-2' is loaded; POST /internal/adapters first", "model_not_found"
)
NOT_REPEATED = Refusal(
    409,
    "The turn of the Idempotency-Key can't be given again.",
    "this key is being answered as a stream just now",
    "idempotency_in_progress",
)
NOT_IN_PLACE = Refusal(
    409,
    "The checkpoint stands on other weights than what is live.",
    "ruminate-v3 stands on other weights than ruminate-v7, which is live",
    "weights_not_in_place",
)
ELSEWHERE = Refusal(
    409,
    "Another gateway has the events alone; see Retry-After.",
    "the gateway house-2:8000 writes this answer; its events can be had there, or at its end here",
    "answered_elsewhere",
)
ROUND_OPEN = Refusal(
    409, "Another round is open.", "round 4 is still open; wait for it to end, or cancel it", "round_already_open"
)
CHANGED = Refusal(
    409,
    "Something else is live by now.",
    "live is not v3 any more (v4); look again and decide anew",
    "deployment_changed",
)
REJECTED = Refusal(
    409,
    "The checkpoint was rejected.",
    "v5 was rejected; its round, the deployments, or the audit of what was forgotten say why",
    "checkpoint_rejected",
)
TAKEN_BACK = Refusal(
    409,
    "The previous checkpoint was itself taken back.",
    "v4 was taken back when v3 became live again; to serve it after all: promote it by name",
    "taken_back_already",
)
ON_TRIAL = Refusal(
    409,
    "Another canary is on trial.",
    "v5 is on trial; make it live, or end its trial by making v4 live",
    "canary_on_trial",
)
USER_EXISTS = Refusal(409, "The name is taken.", "there is a user 'ann' already", "user_exists")
USER_RESERVED = Refusal(
    409, "The audit means the house itself by it.", "'gateway' is the house's own name in the audit", "user_reserved"
)
USER_NEEDED = Refusal(
    409, "The house needs this user, or it is the one who asks.", "'ann' can't be disabled: it is asking", "user_needed"
)
ENGINE_EXISTS = Refusal(409, "It is there already.", "engine http://10.0.0.7:8100 is there already", "engine_exists")
ENGINE_NEEDED = Refusal(
    409, "It is the last one.", "http://10.0.0.7:8100 is the only engine; add another one first", "engine_needed"
)
NAME_IN_USE = Refusal(
    409,
    "The name has another folder.",
    "round-4-step-2 is loaded from /home/ann/.ruminate/steps/2; a name is never reused",
    "name_in_use",
)
FULL_WEIGHTS = Refusal(
    409,
    "Full weights are live, which adapters don't fit.",
    "v7, which is live, is full weights: adapters don't fit them, and rounds don't sample here",
    "full_weights",
)
NOT_KEPT = Refusal(410, "No words of it were kept.", "no words of this answer were kept", "not_kept")
TOO_LARGE = Refusal(
    413,
    "The body is larger than this house or the key allows.",
    "the body is larger than 8388608 bytes",
    "body_too_large",
)
UNFIT = Refusal(
    422,
    "The checkpoint's files are not there, or not as they should be.",
    "v3 has no files: not written yet, or pruned",
    "checkpoint_unfit",
)
NOT_TAKEN = Refusal(
    422,
    "An engine does not take it.",
    "engine http://10.0.0.7:8100 does not take v3: the engine serves other weights than were trained",
    "adapter_refused",
)
NO_CANARY = Refusal(
    422,
    "It can't be on trial beside what is live.",
    "v7 can't be on trial beside v6: an engine has one set of weights",
    "no_canary",
)
ENGINE_UNFIT = Refusal(
    422,
    "It does not answer, or has another base model.",
    "engine http://10.0.0.7:8100 serves 'llama', the others 'ruminate-v0'; start it with the same",
    "engine_unfit",
)
BEYOND_LIMIT = Refusal(
    429, "Beyond a limit; see Retry-After.", "this key has used its 120 requests of this minute", "rate_limit_exceeded"
)
DEFECT = Refusal(500, "The gateway itself failed.", FAILED, "internal_error")
ENGINE_FAILED = Refusal(
    502, "The engine failed on this request.", "http://10.0.0.7:8100: out of memory", "engine_error"
)
NO_ENGINE = Refusal(
    503,
    "No engine just now; see Retry-After.",
    "the model is still being loaded; try again in a moment",
    "engine_starting",
)
OVERLOADED = Refusal(
    503,
    "Too many wait already; see Retry-After.",
    "256 requests wait for an engine already; come back later",
    "overloaded",
)
NO_DATABASE = Refusal(
    503,
    "The database is down; see Retry-After.",
    "the database that knows the keys is down, and this one was not seen lately",
    "database_unavailable",
)

ASKED = (INVALID, NO_MODEL, NOT_IN_PLACE, TOO_LARGE, UNFIT, NOT_TAKEN, BEYOND_LIMIT, ENGINE_FAILED, NO_ENGINE,
         OVERLOADED)  # fmt: skip
"""Of whatever asks an engine on behalf of a person."""
DEPLOYED = (NO_CHECKPOINT, CHANGED, REJECTED, UNFIT, NOT_TAKEN, NO_ENGINE, NO_DATABASE)
"""Of whatever makes a checkpoint live."""
SAMPLED = (INVALID, NO_STEP, FULL_WEIGHTS, ENGINE_FAILED, NO_ENGINE)
"""Of the trainer's use of the engines."""


def add_refusals(responses: Schema, refusals: Iterable[Refusal], spoken: Spoken = OPENAI) -> None:
    """Put them among an operation's `responses`, in place, beside others of the same status."""
    for one in refusals:
        found = responses.setdefault(str(one.status), {"description": "", "content": {"application/json": {}}})
        if one.words not in found["description"]:
            found["description"] = f"{found['description']} {one.words}".strip()
        content = found["content"].setdefault("application/json", {})
        content["schema"] = {"$ref": f"#/components/schemas/{spoken.schema}"}
        if one.status in (429, 503):
            found["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
        told = spoken.told(ApiError(one.status, one.message, code=one.code))
        content.setdefault("examples", {})[one.code or "refused"] = {"value": told}


def refused(*refusals: Refusal, spoken: Spoken = OPENAI) -> dict[int | str, Schema]:
    """For `responses` of a route."""
    found: dict[int | str, Schema] = {}
    add_refusals(found, refusals, spoken)  # type: ignore[arg-type]
    return found
