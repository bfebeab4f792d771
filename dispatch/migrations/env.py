"""Alembic's entry: the store hands over its own connection, so that migrating is one of its transactions."""

from alembic import context

from dispatch.store import TABLES

context.configure(connection=context.config.attributes["connection"], target_metadata=TABLES)
context.run_migrations()
