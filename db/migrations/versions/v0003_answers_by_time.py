"""Answers of a checkpoint since a time: what a canary and the live checkpoint are judged by."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.drop_index("ix_generations_checkpoint_id", "generations")
    op.create_index("ix_generations_checkpoint_id_started_at", "generations", ["checkpoint_id", "started_at"])
