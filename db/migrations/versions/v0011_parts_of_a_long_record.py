"""What a trainer looks for in a long record, and what a round trained on, without reading all the rest; and what old
rounds left, by number."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

KEPT = "verdict = 'kept'"


def upgrade() -> None:
    op.add_column("rounds", sa.Column("funnel", sa.JSON(none_as_null=True), nullable=True))
    for name, table, columns, where in (
        ("ix_messages_asked", "messages", ["id", "chain_hash", "role"], "role = 'user'"),
        ("ix_generations_train", "generations", ["prompt_message_id", "origin", "consent"], "consent = 'train'"),
        ("ix_round_prompts_kept", "round_prompts", ["round_id", "split", "source", "erased_at", "verdict"], KEPT),
        ("ix_round_prompts_kept_of", "round_prompts", ["user_id", "split", "round_id", "verdict"], KEPT),
    ):
        op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
