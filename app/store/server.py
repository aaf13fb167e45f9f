"""What a PostgreSQL server says of itself, for `veriregime check`."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from app.store.database import Database

_FACTS = sa.text(
    "SELECT current_setting('server_version_num')::int / 10000 AS major,"
    " current_setting('server_version') AS version,"
    " current_setting('max_connections')::int AS max_connections,"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,"
    " pg_is_in_recovery() AS is_standby,"
    " current_setting('synchronous_commit') AS synchronous_commit,"
    " current_setting('server_encoding') AS encoding"
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    major: int
    version: str
    max_connections: int
    connections: int
    """Of all databases on the server, ours included."""
    is_standby: bool
    """It can be read, not written."""
    synchronous_commit: str
    """``off`` loses what was committed last when the server's machine fails."""
    encoding: str


def server_facts(database: Database) -> ServerFacts | None:
    """None for SQLite. Raises `StoreUnavailable`."""
    if database.engine != "postgresql":
        return None
    with database.one_look() as connection:
        return ServerFacts(**connection.execute(_FACTS).mappings().one())
