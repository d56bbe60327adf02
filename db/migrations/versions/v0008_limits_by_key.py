"""What a key may have of its own, in place of the house's limits."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for name in ("requests_per_minute", "tokens_per_minute", "concurrent_answers"):
        op.add_column("api_keys", sa.Column(name, sa.Integer(), nullable=True))
