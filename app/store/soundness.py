"""Whether an SQLite file is whole, looked at before anything is written to it."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from app.errors import StoreUnavailable
from app.store.failures import told

log = logging.getLogger(__name__)

LIMIT_S = 10.0
"""A gigabyte takes three or four seconds: a file that is larger than some is looked at in part."""
_STEPS_BETWEEN_LOOKS = 100_000
_WAIT_S = 15


def refuse_damage(file: Path, limit_s: float = LIMIT_S) -> None:
    """Raises `StoreUnavailable` when the file is there and damaged. After ``limit_s`` seconds the rest is trusted."""
    if not file.is_file():
        return
    if not file.stat().st_size:
        _refuse_what_was_emptied(file)
        return
    try:
        with closing(read_only(file)) as connection:
            found = _quick_check(connection, limit_s)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {file} cannot be used: {told(error)}") from error
    if found != "ok":
        raise StoreUnavailable(
            f"the database {file} is damaged ({found}): restore a backup into a new file: `veriregime db restore`"
        )


def read_only(file: Path) -> sqlite3.Connection:
    """A connection that can change nothing. Raises `sqlite3.Error`."""
    return sqlite3.connect(
        f"file:{quote(str(file.resolve()))}?mode=ro", uri=True, timeout=_WAIT_S, isolation_level=None
    )


def _refuse_what_was_emptied(file: Path) -> None:
    log_file = file.with_name(f"{file.name}-wal")
    if log_file.is_file() and log_file.stat().st_size:
        raise StoreUnavailable(
            f"the database {file} was emptied while it was in use: restore a backup into a new file: "
            "`veriregime db restore`"
        )


def _quick_check(connection: sqlite3.Connection, limit_s: float) -> str:
    """What SQLite finds first; "ok" when that is nothing, or nothing within the time."""
    deadline = time.monotonic() + limit_s
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_INTERRUPT":
            raise
        log.info("the database is large: it was not looked at to its end for damage")
        return "ok"
    return " ".join(found.split())
