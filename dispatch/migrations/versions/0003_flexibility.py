"""Flexibility on offer and what is ordered of it."""

import sqlalchemy as sa
from alembic import op

from dispatch.store import Instant

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "flex_offer",
        sa.Column("offer_id", sa.String(128), primary_key=True),
        sa.Column("cluster_id", sa.String(128), nullable=False),
        sa.Column("power_kw", sa.Float, nullable=False),
        sa.Column("start", Instant, nullable=False, index=True),
        sa.Column("end", Instant, nullable=False),
        sa.Column("price_gbp_per_mwh", sa.Float, nullable=False),
        sa.Column("carbon_cap_g_per_kwh", sa.Float, nullable=True),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("withdrawn", sa.Boolean, nullable=False),
    )
    op.create_table(
        "flex_order",
        sa.Column("order_id", sa.String(64), primary_key=True),
        sa.Column("buyer_id", sa.String(255), nullable=False, index=True),
        sa.Column("reference", sa.String(255), nullable=False, index=True),
        sa.Column("offer_id", sa.String(128), sa.ForeignKey("flex_offer.offer_id"), nullable=False, index=True),
        sa.Column("power_kw", sa.Float, nullable=False),
        sa.Column("price_gbp_per_mwh", sa.Float, nullable=False),
        sa.Column("start", Instant, nullable=False, index=True),
        sa.Column("end", Instant, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("quoted_at", Instant, nullable=False),
        sa.Column("changed_at", Instant, nullable=False),
    )


def downgrade() -> None:
    """To the revision before."""
    op.drop_table("flex_order")
    op.drop_table("flex_offer")
