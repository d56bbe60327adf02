"""How long a key's prompts and how large its requests may be, below what the house takes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for name in ("max_prompt_tokens", "max_body_bytes"):
        op.add_column("api_keys", sa.Column(name, sa.Integer(), nullable=True))
