"""Alembic's entry: always on the engine that `app.store.database` hands over."""

from alembic import context

from app.store.tables import metadata

with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
