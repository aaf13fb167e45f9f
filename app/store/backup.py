"""A copy of the whole database in one SQLite file, and the way back into an empty database of either engine.

A copy is made while everything goes on, shows one moment, and is looked through before it gets its name.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from app.errors import BackupRefused, OracleError
from app.store.copying import REVISIONS, Tell, copy, count, counts, tables
from app.store.database import Database
from app.store.soundness import read_only

OF_PROCESSES = ("leases", "standings")
"""What running processes say of themselves: of no use to others, so it is not restored."""
COUNTERS_JUMP = 1_000_000
"""Whoever remembers a number of a time that the backup does not know is told that it is unknown, not something else."""
_JUMPING = ("events", "outcomes", "predictions")
_NEVER_EMPTY = (*OF_PROCESSES, "counters")
_PAGES_AT_ONCE = 4_096
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup holds, or what was restored of one."""

    schema: str
    """Its revision."""
    rows: Mapping[str, int]
    """Of each table."""
    file_bytes: int


def back_up(database: Database, file: Path, tell: Tell) -> Copied:
    """Write a copy of the database into a new file, which nobody but its owner may read.

    Raises `BackupRefused` when the file is there already or cannot be written, `StoreUnavailable` when the database
    cannot be read.
    """
    schema = _schema_of(database)
    with _new_file(file) as part:
        live = database.file
        expected = _copy_pages(live, part, tell) if live else _copy_rows(database, part, schema, tell)
        tell("looking through the copy")
        with _opened(part) as copied:
            found = counts(copied)
        if found != expected:
            raise BackupRefused("the copy has not the rows of the database: it was thrown away, try again")
    return Copied(schema, found, file.stat().st_size)


def restore(database: Database, file: Path, tell: Tell) -> Copied:
    """Bring a backup into a database without rows, all of it or nothing, and to the newest schema then.

    Raises `BackupRefused` when the file is no sound backup of a schema that is known here, or the database has rows.
    """
    with database.claim("pipeline", "prover", "submitter", by="restore"), _opened(file) as source:
        schema = _schema_in(source, database, file)
        _bring_to(database, schema)
        with database.one_write() as target:
            _lock(target)
            _refuse_rows(target, database.name)
            _clear_counters(target)
            rows = copy(source, target, tell, without=OF_PROCESSES)
            _jump(target)
        tell("the newest schema")
        database.upgrade()
    return Copied(schema, rows, file.stat().st_size)


def _schema_of(database: Database) -> str:
    schema, _ = database.revisions()
    if schema is None:
        raise BackupRefused(f"there is nothing in {database.name} that could be copied")
    if not database.knows(schema):
        raise BackupRefused(f"{database.name} has schema {schema}, which this version does not know: use the newer one")
    return schema


@contextmanager
def _new_file(file: Path) -> Iterator[Path]:
    """A file beside it that gets its name when the block ends well, and is deleted when not."""
    if file.exists():
        raise BackupRefused(f"{file} is there already: name another file")
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
        yield part
        _to_disk(part)
        if file.exists():
            raise BackupRefused(f"{file} is there already: name another file")
        part.rename(file)
        _to_disk(file.parent)
    except (OSError, sqlite3.Error) as error:
        raise BackupRefused(f"{file} cannot be written: {error}") from error
    finally:
        for ending in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                part.with_name(part.name + ending).unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _copy_pages(file: Path, part: Path, tell: Tell) -> dict[str, int]:
    """SQLite's own copy, of the moment at which its transaction begins: who writes meanwhile is not held up."""

    def progress(_: int, left: int, pages: int) -> None:
        tell(f"{100 * (pages - left) // max(1, pages)} % of {pages:,} pages")

    with closing(read_only(file)) as live, closing(sqlite3.connect(part, isolation_level=None)) as copied:
        live.execute("BEGIN")
        expected = {
            name: int(live.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])  # noqa: S608  its own names
            for (name,) in live.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            if name != REVISIONS and not name.startswith("sqlite_")
        }
        live.backup(copied, pages=_PAGES_AT_ONCE, progress=progress)
        copied.execute("PRAGMA journal_mode=DELETE")  # one file, not three
    return expected


def _copy_rows(database: Database, part: Path, schema: str, tell: Tell) -> dict[str, int]:
    copied = database.beside(part)
    try:
        copied.upgrade(schema)
        with database.one_look() as source, copied.one_write() as target:
            _clear_counters(target)
            expected = copy(source, target, tell)
    finally:
        copied.close()
    with closing(sqlite3.connect(part, isolation_level=None)) as alone:
        alone.execute("PRAGMA journal_mode=DELETE")
    return expected


@contextmanager
def _opened(file: Path) -> Iterator[sa.Connection]:
    """A backup that is whole, to be read. Raises `BackupRefused`."""
    if not file.is_file():
        raise BackupRefused(f"there is no file {file}")
    engine = sa.create_engine("sqlite://", creator=lambda: read_only(file), poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            found = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one())
            if found != "ok":
                raise BackupRefused(f"{file} is damaged: {' '.join(found.split())}")
            yield connection
    except OracleError:
        raise
    except SQLAlchemyError as error:
        raise BackupRefused(f"{file} cannot be read: {getattr(error, 'orig', error)}") from error
    finally:
        engine.dispose()


def _schema_in(source: sa.Connection, database: Database, file: Path) -> str:
    if not sa.inspect(source).has_table(REVISIONS):
        raise BackupRefused(f"{file} is no backup of a VeriRegime database")
    version: sa.Select[Any] = sa.select(sa.column("version_num", sa.String)).select_from(sa.table(REVISIONS))
    schema = " ".join(map(str, source.execute(version).scalars()))
    if not schema or not database.knows(schema):
        raise BackupRefused(f"{file} has schema {schema!r}, which this version does not know: use the newer one")
    return schema


def _bring_to(database: Database, schema: str) -> None:
    """The schema of the backup, whatever schema without rows is there."""
    current, _ = database.revisions()
    if current not in (None, schema):
        with database.one_look() as connection:
            _refuse_rows(connection, database.name)
        database.downgrade("base")
    database.upgrade(schema)


def _refuse_rows(connection: sa.Connection, name: str) -> None:
    for table in tables(connection, without=_NEVER_EMPTY):
        if rows := count(connection, table):
            raise BackupRefused(f"{name} is not empty ({table.name} has {rows:,} rows): restore into a new database")


def _lock(target: sa.Connection) -> None:
    """Nobody begins to work on it meanwhile. On SQLite whoever writes is alone already."""
    if target.dialect.name == "postgresql":
        names = ", ".join(f'"{table.name}"' for table in tables(target))
        target.execute(sa.text(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))


def _clear_counters(target: sa.Connection) -> None:
    if sa.inspect(target).has_table("counters"):
        target.execute(sa.delete(sa.table("counters")))


def _jump(target: sa.Connection) -> None:
    if sa.inspect(target).has_table("counters"):
        counters = sa.table("counters", sa.column("name"), sa.column("value"))
        jump = sa.update(counters).where(counters.c.name.in_(_JUMPING))
        target.execute(jump.values(value=counters.c.value + COUNTERS_JUMP))
