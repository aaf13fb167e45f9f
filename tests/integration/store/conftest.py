"""Every store test runs on SQLite and on a real PostgreSQL: rows as they are in the tables, whatever the schema."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.settings import asset
from app.store.database import Database
from app.types import Prediction

SPOKEN = {"state": "confirmed", "status": "confirmed", "feed": "btc-usdt-4h", "instances": [1], "members": None}
SPOKEN |= {"regime": "high"}
SPOKEN |= {"venues": ["binance"], "markets": {"binance": "BTC/USDT"}, "symbol": "BTC/USDT", "venue": "binance"}
OF_KIND: list[tuple[type, Any]] = [
    (sa.JSON, ["ä", None, 0.1 + 0.2]),
    (sa.Boolean, True),
    (sa.LargeBinary, bytes(range(256))),
    (sa.Float, 0.1 + 0.2),
    (sa.Integer, 1),
    (sa.String, "some"),
]


@pytest.fixture
def at_revision(empty_database: Database) -> Callable[[str], Database]:
    """The database with the schema of a former version."""

    def upgraded(revision: str) -> Database:
        empty_database.upgrade(revision)
        return empty_database

    return upgraded


@pytest.fixture
def insert(connection: sa.Connection) -> Callable[..., None]:
    """Write rows into a table as it is there, whatever its columns are called today."""

    def rows(name: str, *values: dict[str, Any]) -> None:
        table = sa.Table(name, sa.MetaData(), autoload_with=connection)
        for row in values:
            assert set(row) <= set(table.columns.keys())
            connection.execute(sa.insert(table).values(row))

    return rows


@pytest.fixture
def everything(connection: sa.Connection) -> Callable[[], dict[str, list[str]]]:
    """Each table's rows as they are, with the columns and rows in the order of the alphabet."""

    def dump() -> dict[str, list[str]]:
        reflected = sa.MetaData()
        reflected.reflect(connection)
        queries = {
            name: sa.select(*sorted(table.c, key=lambda one: one.name)) for name, table in reflected.tables.items()
        }
        return {name: sorted(map(repr, connection.execute(query).mappings())) for name, query in queries.items()}

    return dump


@pytest.fixture
def former_row() -> Callable[[Prediction], dict[str, Any]]:
    """A prediction as the schemas before 0004 kept it: its venues by name, nothing more of its sources."""

    def row(prediction: Prediction) -> dict[str, Any]:
        fields = asdict(prediction)
        del fields["quorum"]
        return fields | {"venues": list(fields.pop("sources")["markets"])}

    return row


@pytest.fixture
def migrations() -> Path:
    return asset("migrations")


@pytest.fixture
def predict(
    database: Database,
    make_prediction: Callable[..., Prediction],
    window_end_ms: int,
) -> Callable[..., Prediction]:
    """Store the prediction of a window so many minutes after the first."""

    def store_one(minute: int = 0, **fields: object) -> Prediction:
        made = make_prediction(window_end_ms=window_end_ms + minute * 60_000, **fields)
        with database.unit_of_work() as store:
            assert store.predictions.add(made)
        return made

    return store_one


@pytest.fixture
def fill(connection: sa.Connection) -> Callable[[], None]:
    """Write a row into every table that has none, whatever the schema."""

    def write() -> None:
        found = sa.MetaData()
        found.reflect(connection)
        for table in found.sorted_tables:
            if table.name != "alembic_version" and connection.execute(sa.select(table).limit(1)).first() is None:
                row = {column.name: _some(column) for column in table.columns}
                if "prediction_id" in row:
                    row["prediction_id"] = connection.execute(sa.text("SELECT min(id) FROM predictions")).scalar_one()
                connection.execute(sa.insert(table).values(row))

    return write


def _some(column: sa.Column[Any]) -> Any:
    if (column.table.name, column.name) == ("proof_jobs", "state"):
        return "done"
    if column.name in SPOKEN:
        return sa.null() if SPOKEN[column.name] is None else SPOKEN[column.name]
    if column.name == "revision":
        return 0
    return next(value for kind, value in OF_KIND if isinstance(column.type, kind))
