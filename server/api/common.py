"""What every route may ask for: the gateway, and who is asking."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator

from server.arrivals import arrived
from server.auth import Identity, address_of
from server.errors import ApiError
from server.gateway import Gateway
from server.refusals import NO_ADMIN, NO_DATABASE, NO_KEY, NO_SCOPE, NO_SERVICE_KEY, Refusal
from server.tracing import trace_of

SHOWN_BYTES = 4096  # how an answer was shown, not what: the words stand in the generations
OPERATOR = "operator"  # as whom the audit names the holder of the service key
SERVICE = "service"  # as which the holder of the service key stands in the log


def _of(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


async def _gateway(request: Request) -> Gateway:
    return _of(request)  # a plain function would wait for a thread, behind all that read the database


async def _asking(request: Request) -> Identity:
    identity = await _of(request).door.identify(dict(request.headers.raw), address_of(request.scope))
    trace = trace_of(request.scope)
    trace.key, trace.user = identity.key_id, identity.user_id
    return identity


async def _identity(request: Request) -> Identity:
    identity = await _asking(request)
    identity.require("chat" if request.url.path.startswith("/v1/") else "app")
    return identity


async def _chatting(request: Request) -> Identity:
    identity = await _asking(request)
    identity.require("chat")
    return identity


async def _admin(request: Request) -> Identity:
    identity = await _asking(request)
    if not identity.is_admin:
        raise ApiError(403, "only an administrator may do this", code="admin_only")
    return identity


async def _operator(request: Request) -> str:
    if _of(request).door.is_service(dict(request.headers.raw)):
        trace_of(request.scope).key = SERVICE
        return OPERATOR  # whoever holds the service key runs the house; the first administrator is made with it
    return (await _admin(request)).name


async def _service(request: Request) -> None:
    _of(request).door.require_service(dict(request.headers.raw))
    trace_of(request.scope).key = SERVICE


async def _watching(request: Request) -> None:
    _of(request).door.require_service(dict(request.headers.raw), address_of(request.scope))


def _kept(value: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(orjson.dumps(value))
    except TypeError as error:  # the database could not give such a value back either
        raise ValueError(f"holds what cannot be kept: {error}") from error
    if size > SHOWN_BYTES:
        raise ValueError(f"has {size} bytes; expected up to {SHOWN_BYTES}, without the answers themselves")
    return value


def _told(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:  # nobody knows what it means
        raise ValueError("has no time zone; send it with one, such as Z")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is no time in UTC") from error


async def _arrived(request: Request, _: Annotated[Identity, Depends(_identity)], generation_id: str) -> None:
    await until_recorded(_of(request), generation_id)


async def until_recorded(gateway: Gateway, *ids: str) -> None:
    """Wait for answers that whoever asks may have before the record has them."""
    await arrived(gateway.lookups, gateway.database, ids)


class Keys(NamedTuple):
    """By which keys something is opened, by the names that the OpenAPI document has for them, and what others hear."""

    schemes: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    or_local: bool = False
    """Programs of this machine need none, in any house."""


OWN_KEY = ("bearer", "x-api-key")
SERVICE_KEY = Keys(("service",), (NO_SERVICE_KEY,))
USERS_KEY = Keys(OWN_KEY, (NO_KEY, NO_SCOPE, NO_DATABASE))
ADMINS_KEY = Keys(OWN_KEY, (NO_KEY, NO_ADMIN, NO_DATABASE))
KEYS: Mapping[Callable[..., Any], Keys] = {
    _identity: USERS_KEY,
    _chatting: USERS_KEY,
    _admin: ADMINS_KEY,
    _operator: Keys((*OWN_KEY, *SERVICE_KEY.schemes), ADMINS_KEY.refusals),
    _service: SERVICE_KEY,
    _watching: SERVICE_KEY._replace(or_local=True),
}
"""Of each dependency that asks who is there."""

Shown = Annotated[dict[str, Any], AfterValidator(_kept)]
House = Annotated[Gateway, Depends(_gateway)]
Me = Annotated[Identity, Depends(_identity)]
Asking = Annotated[Identity, Depends(_chatting)]
"""Whoever may ask the model."""
Admin = Annotated[Identity, Depends(_admin)]
Operator = Annotated[str, Depends(_operator)]
"""The name of an administrator, or "operator" for the service key."""
SERVICE_ONLY = Depends(_service)
WATCHING = Depends(_watching)
"""Of what this machine's own programs read, and from elsewhere the service key opens."""
ANSWERED = Depends(_arrived)
"""Of a route about `generation_id`, which its client may ask for as soon as it has the answer."""
Limit = Annotated[int, Query(ge=1, le=1000)]
"""How many rows a list has at most."""
Before = Annotated[datetime | None, AfterValidator(_told)]
"""The time of the last one that was listed: a list goes on with what is older."""
BeforeId = Annotated[str | None, Query(max_length=200)]
"""Beside `before`, the id of the last one that was listed: without it others of the same time are left out."""
Number = Annotated[int, Path(ge=0, lt=2**31)]
"""The id of a row that is counted, as databases hold it."""
