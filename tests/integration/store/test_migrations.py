from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.settings import asset
from app.store.database import Database
from app.store.tables import metadata
from app.types import Prediction

HEAD = max(path.name[:4] for path in asset("migrations").glob("versions/0*.py"))
STARTING_PROCESS = """
import sys
from pathlib import Path
from app.store.database import Database

database = Database(sys.argv[1], Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
database.upgrade()
print("at", database.revisions()[0])
"""


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
    assert found == {("predictions", ("feed", "window_end_ms", "model_id"))}


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
    command = [sys.executable, "-c", STARTING_PROCESS, database_url, str(migrations)]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, cwd=migrations.parent, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            )
            for _ in range(4)
        ]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=60) for process in processes]
    assert [(out, err.strip().splitlines()[-1:]) for out, err in said] == [(f"at {HEAD}\n", [])] * 4


def test_upgrade__of_a_new_sqlite_file_that_another_process_writes__waits_for_its_turn(
    tmp_path: Path, migrations: Path
) -> None:
    path = tmp_path / "oracle.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE somebody_elses (id)")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    release.start()
    database = Database(f"sqlite:///{path}", migrations)
    try:
        database.upgrade()
    finally:
        release.join()
        database.close()
        other.close()
