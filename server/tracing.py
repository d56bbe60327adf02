"""One request's own name, and the line about it in the log. Never what was said, nor an address with a query in it.

Costs something once per request, nothing per piece of an answer.
"""

import logging
import re
import time
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from db.ids import new_id

log = logging.getLogger("server.access")

HEADER = b"x-request-id"
QUIET = frozenset({"/health", "/metrics"})  # asked every few seconds by programs that look whether all is well
LONGEST = 200  # characters of a path or a model's name in a line
_GIVEN = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_SCOPE = "ruminate.trace"


@dataclass
class Trace:
    """What is known of a request by now. `given`: its client named it."""

    id: str
    given: bool
    began: float = field(default_factory=time.monotonic)
    key: str | None = None  # the id of its key, "service" for the service key
    user: str | None = None  # an id as well
    model: str | None = None  # what answered, or else what was asked for
    generation: str | None = None


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The request that this task, or what it started, works for."""


def begin(scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes]) -> Trace:
    """Name a request: as its client does, in a short and harmless word, or anew."""
    given = _GIVEN.fullmatch(headers.get(HEADER, b""))
    trace = Trace(given[0].decode() if given else new_id(), given is not None)
    scope[_SCOPE] = trace
    CURRENT.set(trace)
    return trace


def trace_of(scope: Mapping[str, Any]) -> Trace:
    """The trace of a request that `begin` saw."""
    found: Trace = scope[_SCOPE]
    return found


def named(scope: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """The header that tells a client the request's name; none before it has one."""
    trace: Trace | None = scope.get(_SCOPE)
    return [] if trace is None else [(HEADER, trace.id.encode())]


def end(scope: Mapping[str, Any], status: int) -> None:
    """Write the request's line."""
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")[:LONGEST]
    level = logging.DEBUG if path in QUIET and status < 400 else logging.INFO
    if not log.isEnabledFor(level):
        return
    trace = trace_of(scope)
    seconds = round(time.monotonic() - trace.began, 4)
    fields = {
        "method": scope["method"], "path": path, "status": status, "seconds": seconds, "key": trace.key,
        "user": trace.user, "model": trace.model and trace.model[:LONGEST], "generation": trace.generation,
    }  # fmt: skip
    log.log(level, "%s %s %d in %.3f s", scope["method"], path, status, seconds, extra={"fields": fields})
