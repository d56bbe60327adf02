"""Until when a user had all forgotten, whose choices a round's reward model knew, how often its trainer was stopped."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("users", sa.Column("forgotten_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("rounds", sa.Column("stops", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "lessons",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_lessons_round_id_rounds")),
        sa.PrimaryKeyConstraint("round_id", "message_id", "user_id", name=op.f("pk_lessons")),
    )
    op.create_index("ix_lessons_conversation_id", "lessons", ["conversation_id"])
    op.create_index("ix_lessons_user_id", "lessons", ["user_id"])
