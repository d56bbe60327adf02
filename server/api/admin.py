"""People and their keys, for administrators. Every change leaves a row in the audit, which holds names and ids only."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.queries import audit, users
from db.schema import ApiKey, User
from server.api.common import OPERATOR, House, Limit, Operator
from server.auth import LOCAL
from server.errors import ApiError
from server.refusals import INVALID, NOT_FOUND, USER_EXISTS, USER_NEEDED, USER_RESERVED, refused
from server.views import key_view, when

router = APIRouter(prefix="/api/admin", tags=["admin"])


class NewUser(BaseModel):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$")
    role: Literal["user", "admin"] = "user"
    consent: Literal["none", "history", "train"] | None = None
    """Null: the house's default for new users."""


RESERVED = frozenset({LOCAL, OPERATOR, "gateway", "trainer"})
"""Whom the audit and the deployments mean by these names is no user."""
MOST = 2**31 - 1  # that a column holds
Cap = Annotated[int | None, Field(ge=0, le=MOST)]
"""Null: as the house says; 0: no limit."""


class KeyLimits(BaseModel):
    """What one key has in place of the house's limits. What is left out stays as it is."""

    requests_per_minute: Cap = None
    tokens_per_minute: Cap = None
    concurrent_answers: Cap = None
    max_prompt_tokens: int | None = Field(None, ge=1, le=MOST)
    """Null, and above the house's: as the house says."""
    max_body_bytes: int | None = Field(None, ge=1024, le=MOST)
    """Null, and above the house's: as the house says."""


class NewKey(KeyLimits):
    scopes: list[Literal["chat", "app", "admin"]] = Field([], max_length=3)
    """What it is confined to; empty: all that its user may do."""
    expires_in_days: float | None = Field(None, gt=0, le=3650)
    """Null: never."""


@router.get("/users")
def list_users(gateway: House, _: Operator) -> dict[str, Any]:
    """Everybody, with how many valid keys they have; one without any can't get in."""
    with gateway.database.reading() as session:
        people = users.list_users(session)
        keys = _by_user(session, people)
    return {"data": [_view(user, keys[user.id]) for user in people]}


@router.post("/users", status_code=201, responses=refused(USER_EXISTS, USER_RESERVED))
def add_user(gateway: House, by: Operator, wish: NewUser) -> dict[str, Any]:
    """Without a key yet. 409 when there is one of this name, or the audit means the house itself by it."""
    if wish.name.lower() in RESERVED:
        raise ApiError(409, f"{wish.name!r} is the house's own name in the audit", code="user_reserved", param="name")
    with gateway.database.transaction() as session:
        try:
            users.find_user(session, wish.name)
        except NotFound:
            pass
        else:
            raise ApiError(409, f"there is a user {wish.name!r} already", code="user_exists", param="name")
        user = users.ensure_user(session, wish.name, wish.role, wish.consent or gateway.settings.default_consent)
        audit.note(session, by, "user.add", {"user": user.id, "name": user.name, "role": user.role})
        return _view(user, [])


@router.post("/users/{name}/disable", responses=refused(NOT_FOUND, USER_NEEDED))
def disable_user(gateway: House, by: Operator, name: str) -> dict[str, Any]:
    """Revoke all their keys; what they said stays, and a new key lets them in again."""
    if name in (LOCAL, by):
        why = "needs no key: RUMINATE_SERVER_LOOPBACK_WITHOUT_KEY lets it in" if name == LOCAL else "is asking"
        raise ApiError(409, f"{name!r} can't be disabled: it {why}", code="user_needed", param="name")
    with gateway.database.transaction() as session:
        user = users.find_user(session, name)
        revoked = users.revoke_keys(session, user.id)
        audit.note(session, by, "user.disable", {"user": user.id, "name": name, "keys": revoked})
        view, user_id = _view(user, users.list_keys(session, user.id)), user.id
    gateway.door.forget(user_id)
    return view | {"revoked": revoked}


@router.get("/keys", responses=refused(NOT_FOUND))
def list_keys(gateway: House, _: Operator, user: str | None = None) -> dict[str, Any]:
    """Of everybody, or of the user of this name; never the keys themselves."""
    with gateway.database.reading() as session:
        people = users.list_users(session) if user is None else [users.find_user(session, user)]
        keys = _by_user(session, people)
    return {"data": [_owned(one.name, key) for one in people for key in keys[one.id]]}


@router.post("/users/{name}/keys", status_code=201, responses=refused(INVALID, NOT_FOUND))
def add_key(gateway: House, by: Operator, name: str, wish: NewKey) -> dict[str, Any]:
    """A new key; `key` holds it, and nothing shows it again."""
    expires = None if wish.expires_in_days is None else datetime.now(UTC) + timedelta(days=wish.expires_in_days)
    with gateway.database.transaction() as session:
        user = users.find_user(session, name)
        if "admin" in wish.scopes and user.role != "admin":
            raise ApiError(400, f"{name!r} is no administrator; their key can't be one's", param="scopes")
        key, plaintext = users.create_key(session, user.id, sorted(set(wish.scopes)), expires)
        limits = {limit: getattr(wish, limit) for limit in users.LIMITS}
        users.set_limits(session, key.id, limits)
        detail = {"user": user.id, "name": name, "key": key.id, "scopes": key.scopes, "expires_at": when(expires)}
        audit.note(session, by, "key.add", detail | {"limits": limits})
        return _owned(name, key) | {"key": plaintext}


@router.patch("/keys/{key_id}", responses=refused(NOT_FOUND))
def limit_key(gateway: House, by: Operator, key_id: str, wish: KeyLimits) -> dict[str, Any]:
    """Change what a key has in place of the house's limits; null goes back to these."""
    limits = wish.model_dump(include=wish.model_fields_set)
    with gateway.database.transaction() as session:
        key = users.set_limits(session, key_id, limits)
        user = users.get_user(session, key.user_id)
        audit.note(session, by, "key.limit", {"user": user.id, "key": key_id, "limits": limits})
        view = _owned(user.name, key)
    gateway.door.forget(key.user_id)
    return view


@router.delete("/keys/{key_id}", status_code=204, responses=refused(NOT_FOUND))
def revoke_key(gateway: House, by: Operator, key_id: str) -> Response:
    """It opens nothing any more, here at once, at other gateways within seconds."""
    with gateway.database.transaction() as session:
        users.revoke_key(session, key_id)
        user_id = users.get_key(session, key_id).user_id
        audit.note(session, by, "key.revoke", {"user": user_id, "key": key_id})
    gateway.door.forget(user_id)
    return Response(status_code=204)


@router.get("/audit")
def list_audit(gateway: House, _: Operator, limit: Limit = 100) -> dict[str, Any]:
    """What administrators did, newest first."""
    with gateway.database.reading() as session:
        rows = audit.noted(session, min(max(limit, 1), 1000))
        return {
            "data": [
                {"at": when(row.at), "actor": row.actor, "action": row.action, "detail": row.detail} for row in rows
            ]
        }


def _by_user(session: Session, people: Sequence[User]) -> dict[str, list[ApiKey]]:
    """Everybody's keys."""
    keys: dict[str, list[ApiKey]] = {user.id: [] for user in people}
    for key in users.list_keys(session, *keys):
        keys[key.user_id].append(key)
    return keys


def _view(user: User, keys: Any) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role,
        "consent": user.consent,
        "created_at": when(user.created_at),
        "keys": sum(users.is_valid(key) for key in keys),
    }


def _owned(name: str, key: Any) -> dict[str, Any]:
    return {"user": name} | key_view(key)
