"""What the queries share: the time, batches that fit a statement, and an insert that yields to an existing row."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Table, column, func, select, text, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.schema import Base
from db.types import Words

T = TypeVar("T")
MOST_PARAMETERS = 10_000
"""Values in one IN list; SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535."""


def utcnow() -> datetime:
    return datetime.now(UTC)


def shared_now(session: Session) -> datetime:
    """The time of the clock that all who use this database share, for leases between machines whose clocks differ."""
    if session.get_bind().dialect.name == "postgresql":
        return session.scalars(select(func.clock_timestamp())).one().astimezone(UTC)
    return utcnow()  # a SQLite file has one machine


def chunks(values: Sequence[T] | set[T], size: int = MOST_PARAMETERS) -> Iterator[list[T]]:
    """`values` in order, in lists of at most `size`."""
    remaining = iter(values)
    while chunk := list(islice(remaining, size)):
        yield chunk


def table_of(model: type[Base]) -> Table:
    """The plain table, for statements over many rows that need no objects."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


def pairs_among(session: Session, first: Any, second: Any, pairs: Sequence[tuple[str, str]]) -> ColumnElement[bool]:
    """Whether the two columns hold one of the pairs: each is looked up by their common index.

    Two IN lists would be searched for all combinations. The pairs travel in one or two parameters, so that the
    statement is the same for any number of them, and compiled once.
    """
    if session.get_bind().dialect.name == "postgresql":
        listed = text("SELECT unnest(CAST(:ones AS text[])), unnest(CAST(:others AS text[]))")
        listed = listed.bindparams(ones=[one for one, _ in pairs], others=[other for _, other in pairs])
    else:
        listed = text("SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:pairs)")
        listed = listed.bindparams(pairs=json.dumps(list(pairs)))
    return tuple_(first, second).in_(listed.columns(column("one", Words), column("other", Words)))


def hold(session: Session, model: type[Base], *where: ColumnElement[bool]) -> None:
    """Lock the rows of `model` for which this is true until the transaction ends, in the order of their keys: of two
    transactions that lock some of the same rows one then waits for the other, and never each for the other."""
    keys = list(table_of(model).primary_key.columns)
    session.execute(select(*keys).where(*where).order_by(*keys).with_for_update()).all()


def insert(session: Session, table: Any) -> Any:
    """An INSERT of the dialect in use, so that it has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
