"""What `veriregime check` says of a database, on both engines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import AnyHttpUrl, SecretStr

from app.check import store
from app.check.finding import Finding, Level
from app.clock import wall_ms
from app.errors import StoreUnavailable
from app.settings import Settings
from app.steps.standing import Role, Standing
from app.store.database import Database
from app.types import DAY_MS, Prediction


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, var_dir=tmp_path, database_url=SecretStr(database_url))  # type: ignore[call-arg]


@pytest.fixture
def look(settings: Settings) -> Callable[..., dict[str, Finding]]:
    def found(**other: object) -> dict[str, Finding]:
        return {one.subject: one for one in store.database(settings.model_copy(update=other))}

    return found


Look = Callable[..., dict[str, Finding]]


def at_work(database: Database, owner: str, *roles: Role) -> None:
    with database.unit_of_work() as opened:
        opened.standings.put(owner, Standing(market="live", roles=roles).to_json(), wall_ms())


def test_database__of_nobody_yet__is_not_made(empty_database: Database, look: Look) -> None:
    found = look()
    assert [one.level for one in found.values() if one.subject != "PostgreSQL"] == [Level.OK]
    assert empty_database.revisions()[0] is None
    assert empty_database.file is None or not empty_database.file.exists()


def test_database__of_this_version__is_told_with_who_works_on_it(database: Database, look: Look) -> None:
    found = look()
    assert {found[name].level for name in ("database", "alarms", "growth")} == {Level.OK}
    assert {found[name].level for name in ("roles", "newest window", "backup")} == {Level.NOTE}
    assert ("PostgreSQL" in found) == (database.engine == "postgresql")


def test_database__of_a_newer_version__fails_and_is_left_alone(
    database: Database, connection: sa.Connection, look: Look
) -> None:
    connection.execute(sa.text("UPDATE alembic_version SET version_num = '0999_later'"))
    found = look()
    assert (found["database"].level, list(found)) == (Level.FAILED, ["database"])
    assert "newer version" in found["database"].detail


def test_database__of_an_older_version__is_a_warning(database: Database, look: Look) -> None:
    database.downgrade("0005")
    found = look()["database"]
    assert (found.level, "db backup" in found.remedy) == (Level.WARNING, True)


def test_roles__one_that_is_missing__is_named(database: Database, look: Look) -> None:
    at_work(database, "one:1", Role.PIPELINE)
    at_work(database, "two:1", Role.PIPELINE, Role.PROVER)
    assert look()["roles"].level is Level.OK
    found = look(rpc_urls=(AnyHttpUrl("http://127.0.0.1:1"),))["roles"]
    assert (found.level, found.remedy) == (Level.WARNING, "start `veriregime submitter`")
    assert found.detail.startswith("2 × pipeline, 1 × prover in")


def test_newest_window__that_the_clock_has_not_reached__fails(
    database: Database, look: Look, make_prediction: Callable[..., Prediction]
) -> None:
    with database.unit_of_work() as opened:
        opened.predictions.add(make_prediction(window_end_ms=wall_ms() + DAY_MS))
    assert look()["newest window"].level is Level.FAILED


@pytest.mark.parametrize(("hours", "level"), [(1, Level.OK), (27, Level.WARNING)])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_backup__is_to_be_of_the_last_day(
    database: Database, look: Look, tmp_path: Path, hours: int, level: Level
) -> None:
    copy = tmp_path / "backups" / "one.db"
    copy.parent.mkdir()
    copy.touch()
    os.utime(copy, (time.time() - hours * 3600,) * 2)
    assert look()["backup"].level is level


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_database__damaged__is_refused_with_a_way_out(database: Database, look: Look) -> None:
    database.close()
    assert database.file is not None
    os.truncate(database.file, database.file.stat().st_size // 2)
    with pytest.raises(StoreUnavailable, match="db restore"):
        look()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql__with_fewer_connections_than_processes_may_want__is_a_warning(
    database: Database, look: Look
) -> None:
    for owner in ("one:1", "two:1", "three:1"):
        at_work(database, owner, Role.PROVER)
    found = look()["PostgreSQL"]
    assert (found.level, found.remedy) == (Level.WARNING, "set max_connections to 200 or more")
