"""The journal of orders."""

import sqlalchemy as sa
from alembic import op

from dispatch.store import Instant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "market_order",
        sa.Column("client_order_id", sa.String(64), primary_key=True),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("written_at", Instant, nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("closes_at", Instant, nullable=False),
        sa.Column("answer", sa.Text, nullable=True),
    )


def downgrade() -> None:
    """To the revision before."""
    op.drop_table("market_order")
