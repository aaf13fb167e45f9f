"""Connections: what each engine needs to be told so that nothing waits for ever, and dead ones are noticed."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import DisconnectionError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import StoreUnavailable

_BUSY_TIMEOUT_S = 15
_POOL: dict[str, Any] = {"pool_size": 5, "max_overflow": 45, "pool_timeout": _BUSY_TIMEOUT_S}
"""Forty requests at once, and the service's own threads."""
_POSTGRESQL: dict[str, Any] = {
    "application_name": "veriregime",
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "options": (
        f"-c lock_timeout={_BUSY_TIMEOUT_S}s -c statement_timeout=60s -c idle_in_transaction_session_timeout=30s"
    ),
}
"""A server that is half dead costs half a minute, a process that stopped within a transaction keeps its locks as long.

What the URL says itself goes before them.
"""


def file_of(url: sa.URL) -> Path | None:
    """Of an SQLite database that is not in memory."""
    named = url.database or ":memory:"
    if url.get_backend_name() != "sqlite" or named == ":memory:" or named.startswith("file:"):
        return None
    return Path(named)


def open_engine(url: sa.URL, may_make: Callable[[], bool]) -> sa.Engine:
    """``may_make`` says, at each new connection, whether an SQLite file that is not there is to be made.

    Raises `StoreUnavailable` when the driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url, may_make)
    ours = _POSTGRESQL if url.get_backend_name() == "postgresql" else {}
    stated = {name: value for name, value in ours.items() if name not in url.query}
    try:
        return sa.create_engine(url, pool_pre_ping=True, connect_args=stated, **_POOL)
    except (ImportError, NoSuchModuleError):
        raise StoreUnavailable(
            "this database needs a driver: pip install 'veriregime[postgres]' and write postgresql+psycopg://…"
        ) from None


def _open_sqlite(url: sa.URL, may_make: Callable[[], bool]) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S}, **_POOL)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    if file := file_of(url):
        _watch_file(engine, file, may_make)
    return engine


def _watch_file(engine: sa.Engine, file: Path, may_make: Callable[[], bool]) -> None:
    """A file that was moved away is neither written to under its new name nor made anew without anything in it."""

    def before(*_: object) -> None:
        if may_make():
            _make_folder(file.parent)
        elif not file.exists():
            raise StoreUnavailable(f"there is no database {file}: put it back, or make one: `veriregime db upgrade`")

    def remember(_: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        entry.info["file"] = _identity(file)

    def compare(_: DBAPIConnection, entry: ConnectionPoolEntry, *__: object) -> None:
        if entry.info.get("file") != _identity(file):
            raise DisconnectionError("the file is another one")  # the pool opens it anew

    event.listen(engine, "do_connect", before)
    event.listen(engine, "connect", remember)
    event.listen(engine, "checkout", compare)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"the database's folder {folder} cannot be made: {error.strerror}") from error


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we begin transactions, not the driver
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA foreign_keys=ON")
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
    options = connection.get_execution_options()
    write = options.get("veriregime_write", True)
    if write:
        # NORMAL waits for the disk now and then: a power cut may cost the last commits, but never the file.
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('veriregime_durable') else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
