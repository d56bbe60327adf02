"""What every route may ask for: the gateway, and who is asking."""

from typing import Annotated

from fastapi import Depends, Request

from server.auth import Identity
from server.errors import ApiError
from server.gateway import Gateway


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


async def _identity(request: Request) -> Identity:
    address = request.client.host if request.client else None
    return await _gateway(request).door.identify(dict(request.headers.raw), address)


async def _admin(identity: Annotated[Identity, Depends(_identity)]) -> Identity:
    if not identity.is_admin:
        raise ApiError(403, "only an administrator may do this", code="admin_only")
    return identity


async def _service(request: Request) -> None:
    _gateway(request).door.require_service(dict(request.headers.raw))


House = Annotated[Gateway, Depends(_gateway)]
Me = Annotated[Identity, Depends(_identity)]
Admin = Annotated[Identity, Depends(_admin)]
SERVICE_ONLY = Depends(_service)
