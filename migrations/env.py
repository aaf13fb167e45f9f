"""Alembic's entry: always on the engine that `app.store.database` hands over."""

from alembic import context
from sqlalchemy import text

from app.store.tables import metadata

with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        # Several processes may start at once. SQLite needs nothing: its BEGIN IMMEDIATE waits for its turn.
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('veriregime migrations'))"))
        context.run_migrations()
