"""Readings, statements and payments."""

import sqlalchemy as sa
from alembic import op

from dispatch.store import Instant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "meter_reading",
        sa.Column("series", sa.String(160), primary_key=True),
        sa.Column("start", Instant, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("quality", sa.String(16), nullable=False),
        sa.Column("received_at", Instant, nullable=False),
    )
    op.create_table(
        "statement",
        sa.Column("order_id", sa.String(64), sa.ForeignKey("flex_order.order_id"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("at", Instant, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "payment",
        sa.Column("order_id", sa.String(64), sa.ForeignKey("flex_order.order_id"), primary_key=True),
        sa.Column("reference", sa.String(128), primary_key=True),
        sa.Column("amount_gbp", sa.String(32), nullable=False),
        sa.Column("at", Instant, nullable=False),
    )


def downgrade() -> None:
    """To the revision before."""
    for table in ("payment", "statement", "meter_reading"):
        op.drop_table(table)
