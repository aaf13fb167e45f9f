"""Rows from one database to another of the same schema revision, table by table, whatever the two engines are.

Values go as they stand: a JSON document as its text, so that SQL's NULL and JSON's null stay two things.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa

REVISIONS = "alembic_version"
_AT_ONCE = 1_000
_TELL_EVERY = 100_000

Tell = Callable[[str], None]


def tables(connection: sa.Connection, without: Collection[str] = ()) -> list[sa.Table]:
    """Every table but alembic's, those that others refer to first."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name not in {REVISIONS, *without}]


def counts(connection: sa.Connection, without: Collection[str] = ()) -> dict[str, int]:
    """How many rows each table has."""
    return {table.name: count(connection, table) for table in tables(connection, without)}


def count(connection: sa.Connection, table: sa.Table) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def copy(source: sa.Connection, target: sa.Connection, tell: Tell, without: Collection[str] = ()) -> dict[str, int]:
    """Put every row of ``source`` into ``target``, whose tables have none; gives how many rows of each table.

    Held in memory are a thousand rows at a time.
    """
    _make_missing(source, target, without)
    copied = {table.name: _copy_table(source, target, table, tell) for table in tables(target, without)}
    if target.dialect.name == "postgresql":
        for table in tables(target, without):
            _set_sequences(target, table)
    return copied


def _make_missing(source: sa.Connection, target: sa.Connection, without: Collection[str]) -> None:
    """What an upgrade set aside for a later downgrade is in a table that not every database has."""
    there = set(sa.inspect(target).get_table_names())
    for table in tables(source, without):
        if table.name not in there:
            columns = [sa.Column(column.name, column.type.as_generic()) for column in table.columns]
            sa.Table(table.name, sa.MetaData(), *columns).create(target)


def _copy_table(source: sa.Connection, target: sa.Connection, table: sa.Table, tell: Tell) -> int:
    tell(table.name)
    plain = sa.table(table.name, *(sa.column(column.name, _type(column)) for column in table.columns))
    insert = sa.insert(plain).values({column.name: _placed(column, target) for column in table.columns})
    select = sa.select(*(_taken(column, plain.c[column.name], source) for column in table.columns))
    done = told = 0
    with source.execution_options(stream_results=True, yield_per=_AT_ONCE).execute(select) as found:
        for part in found.mappings().partitions():
            target.execute(insert, [dict(row) for row in part])
            done += len(part)
            if done >= told + _TELL_EVERY:
                told = done
                tell(f"{table.name}, {done:,} rows")
    return done


def _taken(column: sa.Column[Any], plain: sa.ColumnClause[Any], source: sa.Connection) -> sa.ColumnElement[Any]:
    if isinstance(column.type, sa.JSON) and source.dialect.name == "postgresql":
        return sa.cast(plain, sa.Text).label(column.name)
    return plain


def _placed(column: sa.Column[Any], target: sa.Connection) -> sa.ColumnElement[Any]:
    value: sa.ColumnElement[Any] = sa.bindparam(column.name, type_=_type(column))
    if isinstance(column.type, sa.JSON) and target.dialect.name == "postgresql":
        return sa.cast(value, sa.JSON)
    return value


def _type(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    for kind, plain in ((sa.JSON, sa.Text()), (sa.Boolean, sa.Boolean()), (sa.LargeBinary, sa.LargeBinary())):
        if isinstance(column.type, kind):
            return plain
    return sa.types.NullType()


def _set_sequences(target: sa.Connection, table: sa.Table) -> None:
    """The server goes on counting after the highest number that was brought."""
    for column in table.primary_key.columns:
        if not isinstance(column.type, sa.Integer):
            continue
        sequence = target.execute(sa.select(sa.func.pg_get_serial_sequence(table.name, column.name))).scalar_one()
        highest = target.execute(sa.select(sa.func.max(column))).scalar_one()
        if sequence is not None and highest is not None:
            target.execute(sa.select(sa.func.setval(sequence, highest)))
