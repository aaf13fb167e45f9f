"""Alembic's entry: always on the engine that `app.store.database` hands over."""

from alembic import context
from sqlalchemy import text

from app.store.tables import metadata

# All revisions in one transaction, on SQLite too: what fails in the middle leaves the database as it was.
OPTIONS = {"target_metadata": metadata, "render_as_batch": True, "transactional_ddl": True}
# Several processes may start at once. SQLite needs nothing: its BEGIN IMMEDIATE waits for its turn.
ONE_AT_A_TIME = (
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    "SET LOCAL lock_timeout = '30min'",
    "SELECT pg_advisory_xact_lock(hashtext('veriregime migrations'))",
    "SET LOCAL lock_timeout = '60s'",
)

with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection, **OPTIONS)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            for statement in ONE_AT_A_TIME:
                connection.execute(text(statement))
        context.run_migrations()
