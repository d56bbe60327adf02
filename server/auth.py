"""Who is asking: keys, the keyless local admin, the trainer's service key. Looks up; grants nothing by itself.

A key in use goes on working from memory while the database is down or hangs. That it was revoked meanwhile can't be
known then, so this has an end as well.
"""

import hmac
import ipaddress
import logging
import math
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import mkstemp
from typing import Any, NoReturn
from urllib.parse import urlsplit

from db.errors import DatabaseUnavailable
from db.queries import audit, users
from db.queries.common import utcnow
from db.session import Database
from server.errors import ApiError
from server.limiting import HOUSE, Own
from server.lookups import Lookups

log = logging.getLogger(__name__)

SCOPES = ("chat", "app", "admin")
"""What a key can be confined to: /v1, a user's own /api, administration. A key without scopes has all of its user's."""
PREFIX = "rk-"  # of every key that this house gives out
LOCAL = "local"  # the user of requests that need no key
FIRST_ADMIN = "admin"  # made at the first start of a house in which everybody needs a key
PROXIED = frozenset({b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip"})
"""Headers by which proxies show themselves, beside `x-forwarded-…`."""
MAX_KEYS = 10_000  # remembered at once; unknown keys are not remembered


@dataclass(frozen=True)
class Identity:
    """A user on whose behalf a request is made. `consent` is their own setting."""

    user_id: str
    name: str
    role: str
    consent: str
    key_id: str | None = None
    scopes: tuple[str, ...] = ()
    limits: Own = HOUSE
    expires_at: datetime | None = None

    @property
    def is_admin(self) -> bool:
        return self.role == "admin" and self._may("admin")

    def require(self, scope: str) -> None:
        """Raises ApiError 403 when this key is confined to something else."""
        if not self._may(scope):
            message = f"this key is for {', '.join(self.scopes)}; this takes one for {scope}"
            raise ApiError(403, message, code="missing_scope")

    def _may(self, scope: str) -> bool:
        return not self.scopes or scope in self.scopes


@dataclass
class _Seen:
    """A key that was looked up, and used since; both are times of the monotonic clock, in seconds."""

    identity: Identity
    looked_up: float
    used: float

    def use(self, now: float) -> Identity | None:
        """Whose it is, from memory; None once it has expired, which nobody needs to look up."""
        expires_at = self.identity.expires_at
        if expires_at is not None and expires_at <= utcnow():
            return None
        self.used = now
        return self.identity


class Door:
    """Tells who a request comes from, by its headers and its address.

    A key is looked up again `refresh` seconds after it was looked up. Where the database can't be asked, it works on if
    it was used within the last `keep` seconds and looked up within the last `trust` seconds.
    """

    def __init__(
        self,
        database: Database,
        lookups: Lookups,
        service_key: str,
        local: Identity | None,
        keep: float,
        trust: float,
        refresh: float,
    ) -> None:
        self._database, self._lookups = database, lookups
        self._service_key = service_key.encode()
        self._local = local
        self._keep, self._trust, self._refresh = keep, trust, refresh
        self._seen: dict[str, _Seen] = {}
        self._local_at = time.monotonic()  # when it was looked up
        self._forgotten = 0  # how often something was: what was being looked up then is not remembered

    async def identify(self, headers: Mapping[bytes, bytes], address: str | None) -> Identity:
        """The user behind a request. Raises ApiError 401 without a valid key."""
        key = _key(headers)
        placeholder = key is None or not key.startswith(PREFIX)  # OpenAI's clients insist on sending some key
        if placeholder and self._local is not None and _from_this_machine(headers, address):
            return await self._as_local(self._local)
        if key is None:
            raise ApiError(401, "no API key was given; send it as `Authorization: Bearer rk-…`", code="missing_api_key")
        seen = self._seen.get(key)
        now = time.monotonic()
        if seen is not None and now - seen.looked_up < self._refresh:
            return seen.use(now) or self._refuse(key)
        forgotten = self._forgotten
        try:
            found = await self._lookups.ask(self._find, key)
        except DatabaseUnavailable:
            seen = self._seen.get(key)  # as it is now: meanwhile its user's keys may have been revoked
            if seen is not None and now - seen.used < self._keep and now - seen.looked_up < self._trust:
                return seen.use(now) or self._refuse(key)
            message = (
                "the database that knows the keys is down, and this one was not seen lately; try again in a moment"
            )
            raise ApiError(503, message, code="database_unavailable", headers={"Retry-After": "5"}) from None
        if found is None:
            self._refuse(key)
        if self._forgotten == forgotten:
            if len(self._seen) >= MAX_KEYS:
                self._seen.pop(next(iter(self._seen)), None)
            self._seen[key] = _Seen(found, now, now)
        return found

    async def _as_local(self, known: Identity) -> Identity:
        """The keyless user, looked up as often as a key is: another gateway may have changed what they allow."""
        now, forgotten = time.monotonic(), self._forgotten
        if now - self._local_at < self._refresh:
            return known
        self._local_at = now
        try:
            found = await self._lookups.ask(self._reread, known)
        except DatabaseUnavailable:
            return self._local or known
        if self._forgotten == forgotten:
            self._local = found
        return self._local or found

    def _refuse(self, key: str) -> NoReturn:
        self._seen.pop(key, None)
        raise ApiError(401, f"the API key {key[:6]}… is unknown, expired or revoked", code="invalid_api_key")

    def is_service(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request carries the service key."""
        key = _key(headers)
        return key is not None and hmac.compare_digest(key.encode(), self._service_key)

    def require_service(self, headers: Mapping[bytes, bytes], address: str | None = None) -> None:
        """Raises ApiError unless a request carries the service key or, with `address` given, is this machine's own."""
        if not self.is_service(headers) and not (address is not None and _from_this_machine(headers, address)):
            raise ApiError(401, "only the service key opens this", code="invalid_service_key")

    def forget(self, user_id: str) -> None:
        """What is remembered of a user has changed; look it up anew. From any thread: the loop adds keys meanwhile."""
        self._forgotten += 1
        for key, seen in self._seen.copy().items():
            if seen.identity.user_id == user_id:
                self._seen.pop(key, None)
        if self._local is not None and self._local.user_id == user_id:
            try:
                self._local = self._reread(self._local)
            except DatabaseUnavailable:
                self._local_at = -math.inf

    def _reread(self, identity: Identity) -> Identity:
        with self._database.reading() as session:
            user = users.get_user(session, identity.user_id)
            return Identity(user.id, user.name, user.role, user.consent)

    def _find(self, key: str) -> Identity | None:
        with self._database.reading() as session:
            found = users.find_by_key(session, key)
            if found is None:
                return None
            user, api_key = found
            limits = Own(*(getattr(api_key, name) for name in users.LIMITS))
            scopes, expires_at = tuple(api_key.scopes), api_key.expires_at
            return Identity(user.id, user.name, user.role, user.consent, api_key.id, scopes, limits, expires_at)


def _key(headers: Mapping[bytes, bytes]) -> str | None:
    """OpenAI's clients send a bearer token, Anthropic's an `x-api-key`. A placeholder such as "none" is no key."""
    value = headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, token = value.partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key", b"").decode("latin-1").strip()
    return key or None


def address_of(scope: Mapping[str, Any]) -> str | None:
    """Where a request comes from; None where that is not known.

    nginx speaks HTTP/1.0 to what is behind it unless told otherwise, and says nothing else of the client. Programs have
    spoken 1.1 for twenty years.
    """
    client = scope.get("client")
    return None if client is None or scope.get("http_version") == "1.0" else str(client[0])


def _from_this_machine(headers: Mapping[bytes, bytes], address: str | None) -> bool:
    """Whether a request was made by a program of this machine for itself.

    Not what a proxy passes on, as far as it shows, and not what a page from elsewhere makes a browser send (its Origin
    or Host is another).
    """
    if address is None or not _loopback(address):
        return False
    if any(name in PROXIED or name.startswith(b"x-forwarded") for name in headers):
        return False
    origin = headers.get(b"origin")
    try:
        host = urlsplit("//" + headers.get(b"host", b"").decode("latin-1")).hostname
        page = None if origin is None else urlsplit(origin.decode("latin-1")).hostname or ""
    except ValueError:  # no name at all, as with half a bracket
        return False
    return all(name is None or _loopback(name) for name in (host, page))


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def service_key(given: str, home: Path) -> str:
    """The service key: as set, else the one in `service.key` of the home folder, made at the first start.

    Whole or not at all: one that a full disk left empty is made again. Of several that start together one makes it.
    """
    if given:
        return given
    path = home / "service.key"
    if not path.exists() or not path.read_text(encoding="ascii").strip():
        descriptor, aside = mkstemp(dir=home, prefix=".service.key.")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write("sk-" + secrets.token_urlsafe(32))
                file.flush()
                os.fsync(descriptor)
            try:
                os.link(aside, path)
            except FileExistsError:
                if not path.read_text(encoding="ascii").strip():
                    os.replace(aside, path)
            except OSError:  # a file system without hard links
                os.replace(aside, path)
        finally:
            Path(aside).unlink(missing_ok=True)
    return path.read_text(encoding="ascii").strip()


def first_admin(database: Database, home: Path, consent: str) -> Path | None:
    """Make an administrator and their key, in `admin.key` of the home folder, where there is none yet; gives the file.

    Whoever can read it could read the service key as well. Of several gateways that start together one makes them.
    """
    path = home / "admin.key"
    with database.transaction() as session:
        if any(user.role == "admin" and user.name != LOCAL for user in users.list_users(session)):
            return None
        user = users.ensure_user(session, FIRST_ADMIN, "admin", consent)
        if user.role != "admin" or users.list_keys(session, user.id):
            return None  # somebody's name already, or another gateway was faster
        key, plaintext = users.create_key(session, user.id)
        audit.note(session, "gateway", "user.add", {"user": user.id, "name": user.name, "role": user.role})
        audit.note(session, "gateway", "key.add", {"user": user.id, "name": user.name, "key": key.id})
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(plaintext + "\n")
    return path
