"""Rounds that are to be done again without what was forgotten; answers that people keep an eye on."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "replays",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("of_round_id", sa.Integer(), nullable=False),
        sa.Column("round_id", sa.Integer(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["of_round_id"], ["rounds.id"], name=op.f("fk_replays_of_round_id_rounds")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_replays_round_id_rounds")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replays")),
        sa.UniqueConstraint("round_id", name=op.f("uq_replays_round_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "regressions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('good', 'never')", name=op.f("ck_regressions_kind")),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generations.id"], name=op.f("fk_regressions_generation_id_generations")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_regressions_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_regressions")),
        sa.UniqueConstraint("generation_id", name=op.f("uq_regressions_generation_id")),
    )
    op.create_index("ix_regressions_user_id", "regressions", ["user_id"])
