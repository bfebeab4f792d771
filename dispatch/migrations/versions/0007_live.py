"""Readings of the site, decisions, and the market views that they were made on."""

import sqlalchemy as sa
from alembic import op

from dispatch.store import Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "reading",
        sa.Column("measured_at", Instant, primary_key=True),
        sa.Column("charge_fraction", sa.Float, nullable=False),
        sa.Column("power_kw", sa.Float, nullable=True),
        sa.Column("received_at", Instant, nullable=False),
    )
    op.create_table(
        "decision",
        sa.Column("start", Instant, primary_key=True),
        sa.Column("end", Instant, nullable=False),
        sa.Column("decided_at", Instant, nullable=False, index=True),
        sa.Column("power_kw", sa.Float, nullable=False),
        sa.Column("rung", sa.String(16), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("gain_gbp", sa.Float, nullable=True),
    )
    op.create_table(
        "market_view",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """To the revision before."""
    for table in ("market_view", "decision", "reading"):
        op.drop_table(table)
