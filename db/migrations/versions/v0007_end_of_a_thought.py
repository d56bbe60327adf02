"""When the thought of a streamed answer ended, so that it can be told how long it took."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("generations", sa.Column("thought_ended_at", sa.DateTime(timezone=True), nullable=True))
