"""How the gateway's log looks: lines for a person, or one JSON object a line for programs."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from server.tracing import CURRENT


class ForPeople(logging.Formatter):
    """A line of text; what belongs to a request ends with its name."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging calls it so
        line = super().formatMessage(record)
        known = {name: value for name, value in getattr(record, "fields", {}).items() if value is not None}
        more = [f"{name}={known[name]!r}" for name in ("key", "model", "generation") if name in known]
        if (trace := CURRENT.get()) is not None:
            more.append(f"request={trace.id}")
        return f"{line} [{' '.join(more)}]" if more else line


class ForPrograms(logging.Formatter):
    """One JSON object; what belongs to a request has its name as `request_id`."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (trace := CURRENT.get()) is not None:
            told["request_id"] = trace.id
        told |= getattr(record, "fields", {})
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return orjson.dumps(told, default=str).decode()


def set_up(form: Literal["text", "json"], access: bool) -> None:
    """Log to standard error from now on; `access`: with a line for each request."""
    # What no line of ours tells needs not be found out for each of them (logging's own advice on speed).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # where in the code a line comes from
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ForPrograms() if form == "json" else ForPeople())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("server.access").setLevel(logging.INFO if access else logging.WARNING)
