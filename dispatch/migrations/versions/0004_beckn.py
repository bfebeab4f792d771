"""Beckn messages, their callbacks, and who is billed."""

import sqlalchemy as sa
from alembic import op

from dispatch.store import Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "beckn_message",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("received_at", Instant, nullable=False, index=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False, index=True),
    )
    op.create_table(
        "beckn_callback",
        sa.Column("key", sa.String(64), sa.ForeignKey("beckn_message.key"), primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("until", Instant, nullable=False),
        sa.Column("problem", sa.Text, nullable=True),
    )
    op.create_table(
        "beckn_billing",
        sa.Column("order_id", sa.String(64), sa.ForeignKey("flex_order.order_id"), primary_key=True),
        sa.Column("billing", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """To the revision before."""
    for table in ("beckn_billing", "beckn_callback", "beckn_message"):
        op.drop_table(table)
