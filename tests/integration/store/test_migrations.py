from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.store.database import Database
from app.store.tables import metadata
from app.types import Prediction

HEAD = "0001"


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.usefixtures("database")
def test_head__compared_with_the_tables__is_the_same_schema(connection: sa.Connection) -> None:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    assert compare_metadata(context, metadata) == []


@pytest.mark.usefixtures("database")
def test_head__unique_keys__are_those_of_the_tables(connection: sa.Connection) -> None:
    found = {
        (table, tuple(key["column_names"]))
        for table in metadata.tables
        for key in sa.inspect(connection).get_unique_constraints(table)
    }
    assert found == {("predictions", ("feed", "window_end_ms", "model_id")), ("submissions", ("tx_hash",))}


def test_downgrade__to_base__leaves_no_table_of_ours(database: Database, connection: sa.Connection) -> None:
    database.downgrade("base")
    assert sa.inspect(connection).get_table_names() == ["alembic_version"]


def test_upgrade__after_a_downgrade__is_at_the_head_again(database: Database, connection: sa.Connection) -> None:
    database.downgrade("base")
    database.upgrade()
    assert database.revisions() == (HEAD, HEAD)
    assert set(sa.inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}


def test_upgrade__a_second_time__keeps_what_is_stored(database: Database, predict: Callable[..., Prediction]) -> None:
    stored = predict()
    database.upgrade()
    with database.unit_of_work(write=False) as store:
        assert store.predictions.get(stored.id) == stored


def test_revisions__of_an_empty_database__are_none_and_the_head(empty_database: Database) -> None:
    assert empty_database.revisions() == (None, HEAD)


def test_upgrade__by_several_processes_at_once__succeeds_for_each(database_url: str, migrations: Path) -> None:
    together = threading.Barrier(4)

    def start(_: int) -> tuple[str | None, str | None]:
        database = Database(database_url, migrations)
        try:
            together.wait()
            database.upgrade()
            return database.revisions()
        finally:
            database.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [(HEAD, HEAD)] * 4
