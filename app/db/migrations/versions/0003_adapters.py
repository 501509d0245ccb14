"""The adapter registry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "adapters",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("department", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("base_model", sa.String(length=256), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("target_modules", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("demo", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(length=400), nullable=True),
        sa.Column("canary_percent", sa.Integer(), nullable=True),
        sa.Column("canary_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replaced", sa.String(length=64), nullable=True),
        sa.Column("evaluation", sa.JSON(), nullable=True),
        sa.Column("smoke_report", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_adapters")),
        sa.UniqueConstraint("department", "number", name=op.f("uq_adapters_department_number")),
    )
    for name, state in (("uq_adapters_one_active", "active"), ("uq_adapters_one_canary", "canary")):
        where = sa.text(f"state = '{state}'")
        op.create_index(
            name, "adapters", ["department"], unique=True, sqlite_where=where, postgresql_where=where
        )


def downgrade() -> None:
    op.drop_index("uq_adapters_one_canary", table_name="adapters")
    op.drop_index("uq_adapters_one_active", table_name="adapters")
    op.drop_table("adapters")
