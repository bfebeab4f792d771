"""Series of readings as hypertables, where TimescaleDB is; the same tables without it.

No TimescaleDB could be had where this was written, so this was never run with it. It therefore runs in a savepoint: if
it fails, the ordinary tables stay, which hold and answer the same.
"""

import logging

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

logger = logging.getLogger(__name__)

HYPERTABLES = {"reading": "measured_at", "meter_reading": "start"}


def upgrade() -> None:
    """To this revision."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    if not connection.scalar(sa.text("SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'")):
        return
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS timescaledb"))
            for table, column in HYPERTABLES.items():
                # A table of fixed names, no text from outside.
                arguments = f"'{table}', '{column}', chunk_time_interval => INTERVAL '7 days', migrate_data => true"
                connection.execute(sa.text(f"SELECT create_hypertable({arguments})"))
    except sa.exc.DBAPIError:
        logger.warning("TimescaleDB is there but could not be used; the tables stay ordinary ones", exc_info=True)


def downgrade() -> None:
    """Hypertables answer as the tables did, so they stay."""
