"""One process for each role on an SQLite file; any number on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import StoreInUse
from app.store.database import Database

HOLDER = """
import sys
from pathlib import Path
from app.store.database import Database

with Database(sys.argv[1], Path(sys.argv[2])).claim("pipeline", "prover", by="serve"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(database: Database, migrations: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, f"sqlite:///{database.file}", str(migrations)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=migrations.parent, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_role_of_another_process__is_refused_by_its_name_until_that_is_killed(
    sqlite_database: Database, migrations: Path
) -> None:
    with holder(sqlite_database, migrations) as process:
        line = rf"{sqlite_database.file} is used by the serve of process {process.pid} on .* already: stop it, or use"
        for role in ("pipeline", "prover"):
            with pytest.raises(StoreInUse, match=line), sqlite_database.claim(role):
                pass
        with sqlite_database.claim("submitter"):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with sqlite_database.claim("pipeline", "prover"):
            pass


def test_claim__of_which_one_role_is_taken__holds_none(sqlite_database: Database, migrations: Path) -> None:
    other = Database(f"sqlite:///{sqlite_database.file}", migrations)
    with sqlite_database.claim("submitter"):
        with pytest.raises(StoreInUse), other.claim("pipeline", "submitter"):
            pass
        with other.claim("pipeline"):
            pass


def test_claim__by_way_of_a_link__is_of_the_same_file(sqlite_database: Database, migrations: Path) -> None:
    assert sqlite_database.file is not None
    link = sqlite_database.file.with_name("link.db")
    link.symlink_to(sqlite_database.file)
    with (
        sqlite_database.claim("pipeline"),
        pytest.raises(StoreInUse),
        Database(f"sqlite:///{link}", migrations).claim("pipeline"),
    ):
        pass


def test_claim__that_ended__leaves_a_file_that_says_nothing(sqlite_database: Database) -> None:
    assert sqlite_database.file is not None
    lock = sqlite_database.file.with_name(f"{sqlite_database.file.name}.pipeline.lock")
    with sqlite_database.claim("pipeline"):
        assert lock.read_text().startswith(f"pipeline of process {os.getpid()} on ")
    assert (lock.read_text(), lock.stat().st_mode & 0o777) == ("", 0o600)


def test_claim__on_postgresql__is_anybodys(migrations: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg comes with the postgres extra")
    url = "postgresql+psycopg://oracle@127.0.0.1:1/oracle"
    with Database(url, migrations).claim("pipeline"), Database(url, migrations).claim("pipeline"):
        pass
