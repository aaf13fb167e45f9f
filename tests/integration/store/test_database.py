from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.errors import StoreUnavailable
from app.store.database import Database
from app.types import Candles

UNREACHABLE = "postgresql+psycopg://oracle:hunter2@127.0.0.1:1/oracle"
USES: dict[str, Callable[[Database], object]] = {
    "upgrade": lambda database: database.upgrade(),
    "downgrade": lambda database: database.downgrade("base"),
    "revisions": lambda database: database.revisions(),
    "unit-of-work": lambda database: count(database),
}


def count(database: Database) -> int:
    with database.unit_of_work(write=False) as store:
        return store.jobs.waiting()


@pytest.fixture
def open_database(migrations: Path) -> Iterator[Callable[[str], Database]]:
    opened: list[Database] = []

    def open_one(url: str) -> Database:
        opened.append(Database(url, migrations))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def corrupt_file(tmp_path: Path) -> Path:
    path = tmp_path / "corrupt.db"
    path.write_bytes(b"this is no database " * 500)
    return path


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_unreachable_server__any_use__is_store_unavailable_without_the_password(
    open_database: Callable[[str], Database], use: Callable[[Database], object]
) -> None:
    pytest.importorskip("psycopg", reason="psycopg comes with the postgres extra")
    with pytest.raises(StoreUnavailable, match=r"postgresql\+psycopg://oracle:\*\*\*@127.0.0.1:1/oracle") as caught:
        use(open_database(UNREACHABLE))
    assert "hunter2" not in str(caught.value)


def test_unreachable_server__the_reason__is_one_line(open_database: Callable[[str], Database]) -> None:
    pytest.importorskip("psycopg", reason="psycopg comes with the postgres extra")
    with pytest.raises(StoreUnavailable) as caught:
        count(open_database(UNREACHABLE))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "",
        "nosuch://oracle:hunter2@host/oracle",
        "mysql+nosuch://oracle:hunter2@host/oracle",
        "postgresql+psycopg://oracle:hunter2@host:port/oracle",
    ],
    ids=["no-url", "empty", "unknown-database", "unknown-driver", "port-that-is-no-number"],
)
def test_bad_url__is_store_unavailable_without_the_password(open_database: Callable[[str], Database], url: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_database(url)
    assert "hunter2" not in str(caught.value)


def test_driver_not_installed__names_what_to_install(open_database: Callable[[str], Database]) -> None:
    with pytest.raises(StoreUnavailable, match=r"pip install 'veriregime\[postgres\]'"):
        open_database("mysql+pymysql://oracle:hunter2@host/oracle")


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_corrupt_sqlite_file__any_use__is_store_unavailable_in_one_line(
    open_database: Callable[[str], Database], corrupt_file: Path, use: Callable[[Database], object]
) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        use(open_database(f"sqlite:///{corrupt_file}"))
    assert re.fullmatch(
        rf"the database .*{corrupt_file} cannot be used: file is not a database; see .*", str(caught.value)
    )


def test_folder_in_place_of_a_sqlite_file__is_store_unavailable(
    open_database: Callable[[str], Database], tmp_path: Path
) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        open_database(f"sqlite:///{tmp_path}").upgrade()


def test_sqlite_file_below_a_file__is_store_unavailable(
    open_database: Callable[[str], Database], corrupt_file: Path
) -> None:
    with pytest.raises(StoreUnavailable):
        open_database(f"sqlite:///{corrupt_file}/oracle.db").upgrade()


def test_sqlite_file_in_a_new_folder__is_made(open_database: Callable[[str], Database], tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path}/a/b/oracle.db").upgrade()
    assert (tmp_path / "a/b/oracle.db").is_file()


def test_schema_not_there_yet__is_store_unavailable(empty_database: Database) -> None:
    with pytest.raises(StoreUnavailable):
        count(empty_database)


def test_name__of_a_url_with_password__hides_it(open_database: Callable[[str], Database]) -> None:
    pytest.importorskip("psycopg", reason="psycopg comes with the postgres extra")
    assert open_database(UNREACHABLE).name == "postgresql+psycopg://oracle:***@127.0.0.1:1/oracle"


def test_unit_of_work__that_ends__is_seen_by_the_next(database: Database, make_candles: Callable[..., Candles]) -> None:
    with database.unit_of_work() as store:
        store.candles.add("binance", "BTC/USDT", make_candles(3))
    with database.unit_of_work(write=False) as store:
        assert store.candles.count("binance", "BTC/USDT", 0, 2**62) == 3


def test_unit_of_work__not_ended__is_seen_by_nobody(database: Database, make_candles: Callable[..., Candles]) -> None:
    with database.unit_of_work() as store:
        store.candles.add("binance", "BTC/USDT", make_candles(3))
        with database.unit_of_work(write=False) as reader:
            assert reader.candles.count("binance", "BTC/USDT", 0, 2**62) == 0


def test_unit_of_work__error_of_ours_inside__comes_out_as_it_is(database: Database) -> None:
    with pytest.raises(KeyError, match="mine"), database.unit_of_work():
        raise KeyError("mine")


def test_unit_of_work__broken_constraint__comes_out_as_it_is_and_the_database_goes_on(
    database: Database, make_candles: Callable[..., Candles]
) -> None:
    with pytest.raises(sa.exc.IntegrityError), database.unit_of_work() as store:
        store.candles.add(None, "BTC/USDT", make_candles(1))  # type: ignore[arg-type]
    assert count(database) == 0


def test_sqlite_writers__from_two_threads__take_turns(sqlite_database: Database) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with sqlite_database.unit_of_work():
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with sqlite_database.unit_of_work():
            other = pool.submit(second)
            waiting.wait()
            with pytest.raises(TimeoutError):
                other.result(timeout=0.2)
            order.append("first")
        other.result(timeout=10)
    assert order == ["first", "second"]


def test_sqlite_writers__counting_up_together__lose_nothing(
    sqlite_database: Database, make_candles: Callable[..., Candles]
) -> None:
    rows = make_candles(40).rows()

    def add_next(_: int) -> None:
        with sqlite_database.unit_of_work() as store:
            there = store.candles.count("binance", "BTC/USDT", 0, 2**62)
            store.candles.add("binance", "BTC/USDT", Candles.from_rows(rows[there : there + 1]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_next, range(40)))
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.candles.count("binance", "BTC/USDT", 0, 2**62) == 40


def test_sqlite_writer__locked_out_for_too_long__is_store_unavailable(
    sqlite_database: Database, open_database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.engine._BUSY_TIMEOUT_S", 0.05)
    impatient = open_database(sqlite_database.name)
    with (
        sqlite_database.unit_of_work(),
        pytest.raises(StoreUnavailable, match="database is locked"),
        impatient.unit_of_work(),
    ):
        pass


def test_sqlite_reader__while_somebody_writes__does_not_wait(sqlite_database: Database) -> None:
    with sqlite_database.unit_of_work():
        assert count(sqlite_database) == 0


def test_unit_of_work__all_connections_taken__is_unavailable_and_no_bug(
    open_database: Callable[[str], Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.engine._POOL", {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.05})
    database = open_database(f"sqlite:///{tmp_path / 'one.db'}")
    database.upgrade()
    with database.unit_of_work(write=False), pytest.raises(StoreUnavailable), database.unit_of_work(write=False):
        pass
    with database.unit_of_work(write=False):
        pass


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_unit_of_work__that_is_durable__waits_for_the_disk(
    sqlite_database: Database, durable: bool, level: int
) -> None:
    with sqlite_database.unit_of_work(durable=not durable):
        pass
    with sqlite_database.unit_of_work(durable=durable) as store:
        assert store._connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == level
