"""Alembic's entry: compares or migrates over the connection that the caller hands in (`db.migrate`)."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection
from sqlalchemy.types import TypeDecorator

from db.schema import Base


def plain_type(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """A migration names the column's plain type, since it must not change when `db.types` does."""
    return f"sa.{item.impl_instance!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by rebuilding it
        compare_type=True,
        render_item=plain_type,
        transactional_ddl=True,  # SQLite can, once the driver begins nothing by itself (db.session)
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
