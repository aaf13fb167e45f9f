"""The only transaction edge: ``with database.unit_of_work() as store``. SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import StoreUnavailable
from app.store.repository import Store

_BUSY_TIMEOUT_S = 15
_POOL: dict[str, Any] = {"pool_size": 5, "max_overflow": 45, "pool_timeout": _BUSY_TIMEOUT_S}
"""Forty requests at once, and the service's own threads."""


class Database:
    """One engine. Opening it does not touch the schema: `upgrade` does."""

    def __init__(self, url: str, migrations: Path) -> None:
        try:
            self._url = sa.make_url(url)
        except (SQLAlchemyError, ValueError):
            raise StoreUnavailable("VERIREGIME_DATABASE_URL is not a database URL") from None
        self._migrations = migrations
        self._engine = self._open()
        self._on_events: list[Callable[[], None]] = []

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def unit_of_work(self, *, write: bool = True) -> Iterator[Store]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Raises `StoreUnavailable` when the database cannot be reached or stays locked.
        """
        events = 0
        try:
            with self._engine.connect().execution_options(veriregime_write=write) as connection, connection.begin():
                store = Store(connection)
                yield store
                events = store.events.write(time.time_ns() // 1_000_000) if write else 0
        except DBAPIError as error:
            if isinstance(error, sa.exc.IntegrityError):
                raise
            raise self._unusable(error.orig) from error
        except PoolTimeout as error:
            raise self._unusable(error) from error
        if events:
            for call in self._on_events:
                call()

    def on_events(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have ``call`` called, by whichever thread it was, after each commit of this process that wrote events.

        Gives what ends that. Other processes' events are not heard of: look for those now and then.
        """
        self._on_events.append(call)
        return lambda: self._on_events.remove(call)

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to ``revision``. Safe to call at every start."""
        with self._migrating() as config:
            command.upgrade(config, revision)

    def downgrade(self, revision: str) -> None:
        with self._migrating() as config:
            command.downgrade(config, revision)

    def revisions(self) -> tuple[str | None, str | None]:
        """The schema's revision and the newest one there is."""
        with self._migrating() as config:
            head = ScriptDirectory.from_config(config).get_current_head()
            with self._engine.connect() as connection:
                return MigrationContext.configure(connection).get_current_revision(), head

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _migrating(self) -> Iterator[Config]:
        config = Config()
        config.set_main_option("script_location", str(self._migrations).replace("%", "%%"))
        config.attributes["engine"] = self._engine
        try:
            yield config
        except DBAPIError as error:
            raise self._unusable(error.orig) from error

    def _unusable(self, error: BaseException | None) -> StoreUnavailable:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return StoreUnavailable(f"the database {self.name} cannot be used: {reason}")

    def _open(self) -> sa.Engine:
        if not self._url.drivername.startswith("sqlite"):
            try:
                return sa.create_engine(self._url, pool_pre_ping=True, **_POOL)
            except (ImportError, NoSuchModuleError):
                raise StoreUnavailable(
                    "this database needs a driver: pip install 'veriregime[postgres]' and write postgresql+psycopg://…"
                ) from None
        if self._url.database:
            try:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._unusable(error) from error
        engine = sa.create_engine(self._url, connect_args={"timeout": _BUSY_TIMEOUT_S}, **_POOL)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we begin transactions, not the driver
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: DBAPICursor) -> None:
    """Unlike other statements, this one does not wait for a lock: on a new file another process may hold it."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the lock at once: one that reads first could find the database changed and fail when it writes.
    write = connection.get_execution_options().get("veriregime_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
