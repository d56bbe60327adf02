"""Column types that mean the same on SQLite and PostgreSQL: UTC times, text that any client may send, measured numbers.

PostgreSQL keeps no NUL in text, SQLite no NaN in a number and no time zone in a time, and neither a lone surrogate.
"""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Float, Text
from sqlalchemy.types import TypeDecorator

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_READABLE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ESCAPED = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def storable(text: str) -> str:
    """`text` with NUL and lone surrogates, which no database keeps, replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def to_json(value: Any) -> str:
    """JSON as stored: readable where possible, escaped where a lone surrogate leaves no other way.

    Raises ValueError on NaN and infinities, which are no JSON.
    """
    text = _READABLE.encode(value)
    return _ESCAPED.encode(value) if _UNSTORABLE.search(text) else text


class UtcTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC; a naive one is refused, since nobody knows what it means."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value.isoformat()} has no time zone; use datetime.now(UTC)")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text written by a person or a model, made storable."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


class Measured(TypeDecorator[float]):
    """A measured number, which may be NaN: kept as NULL, read back as NaN."""

    impl = Float(53)
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        return math.nan if value is None else value
