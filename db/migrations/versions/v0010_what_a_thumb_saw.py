"""How an answer was shown to whoever gave it a thumb, as of comparisons."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("feedback", sa.Column("shown", sa.JSON(), nullable=True))
