"""Terms of settlement on offers and orders, and the plan that offers come from."""

import sqlalchemy as sa
from alembic import op

from dispatch.store import Instant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    for table in ("flex_offer", "flex_order"):
        op.add_column(table, sa.Column("baseline", sa.String(32), nullable=False, server_default="10_of_10"))
        op.add_column(table, sa.Column("payment", sa.String(32), nullable=False, server_default="delivered"))
    op.add_column("flex_order", sa.Column("cluster_id", sa.String(128), nullable=False, server_default=""))
    op.execute(
        "UPDATE flex_order SET cluster_id = "
        "(SELECT cluster_id FROM flex_offer WHERE flex_offer.offer_id = flex_order.offer_id)"
    )
    op.create_index("ix_flex_order_cluster_id", "flex_order", ["cluster_id"])
    op.create_table(
        "planned_job",
        sa.Column("job_id", sa.String(128), primary_key=True),
        sa.Column("power_kw", sa.Float, nullable=False),
        sa.Column("start", Instant, nullable=False),
        sa.Column("end", Instant, nullable=False),
    )


def downgrade() -> None:
    """To the revision before."""
    op.drop_table("planned_job")
    op.drop_index("ix_flex_order_cluster_id", "flex_order")
    for table, column in (
        ("flex_order", "cluster_id"),
        ("flex_order", "payment"),
        ("flex_order", "baseline"),
        ("flex_offer", "payment"),
        ("flex_offer", "baseline"),
    ):
        op.drop_column(table, column)
