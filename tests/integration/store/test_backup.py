from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.errors import BackupRefused
from app.store.backup import COUNTERS_JUMP, back_up, restore
from app.store.database import Database
from app.types import Attempt, AttemptOutcome, Candles, Prediction
from app.web.rates import Places
from app.web.stream import Client, Streams, Wanted
from app.web.watching import EventWatcher

WINDOWS = 3
Everything = Callable[[], dict[str, list[str]]]


def silent(_: str) -> None: ...


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


@pytest.fixture
def filled(
    database: Database,
    predict: Callable[..., Prediction],
    make_candles: Callable[..., Candles],
    fill: Callable[[], None],
) -> Database:
    """A row in every table, more where the product makes some."""
    with database.unit_of_work() as store:
        store.candles.add("binance", "BTC/USDT", make_candles(2_500))
    for minute in range(WINDOWS):
        predict(minute)
    fill()
    return database


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(
    request: pytest.FixtureRequest, new_database_url: Callable[[str], str], migrations: Path
) -> Iterator[Database]:
    """What is restored into."""
    database = Database(new_database_url(request.param), migrations)
    yield database
    database.close()


def content(url: str | sa.URL, *without: str) -> dict[str, list[str]]:
    """Every table's rows, as they read on either engine."""
    engine = sa.create_engine(url)
    found = sa.MetaData()
    with engine.connect() as connection:
        found.reflect(connection)
        rows = {
            table.name: sorted(repr(sorted(row.items())) for row in connection.execute(sa.select(table)).mappings())
            for table in found.sorted_tables
            if table.name not in without
        }
    engine.dispose()
    return rows


def test_backup__has_every_row_of_the_database(filled: Database, database_url: str, file: Path) -> None:
    copied = back_up(filled, file, silent)
    assert content(f"sqlite:///{file}") == content(database_url)
    assert {name: len(rows) for name, rows in content(database_url, "alembic_version").items()} == copied.rows
    assert copied.rows["candles"] == 2_500


def test_backup__is_one_file_that_nobody_else_may_read(filled: Database, file: Path) -> None:
    back_up(filled, file, silent)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir() if "backup" in path.name] == [file.name]


def test_backup__shows_one_moment_whatever_is_written_meanwhile(
    filled: Database, file: Path, predict: Callable[..., Prediction]
) -> None:
    later: list[Prediction] = []

    def write(_: str) -> None:
        later.append(predict(WINDOWS + len(later)))

    copied = back_up(filled, file, write)
    assert later
    assert copied.rows["predictions"] == WINDOWS
    assert copied.rows["proof_jobs"] == WINDOWS


def test_backup__while_somebody_writes_all_the_time__comes_to_an_end(
    filled: Database, file: Path, make_candles: Callable[..., Candles]
) -> None:
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            with filled.unit_of_work() as store:
                store.candles.add("kraken", f"C{number}/USDT", make_candles(200))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert back_up(filled, file, silent).rows["predictions"] == WINDOWS
    finally:
        over.set()
        writer.join()


def test_backup__of_a_file_that_is_there__is_refused_and_leaves_it_alone(filled: Database, file: Path) -> None:
    file.write_text("mine")
    with pytest.raises(BackupRefused, match="is there already: name another file"):
        back_up(filled, file, silent)
    assert file.read_text() == "mine"


def test_backup__that_is_broken_off__leaves_nothing_behind(filled: Database, file: Path) -> None:
    def fail(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(filled, file, fail)
    assert not [path for path in file.parent.iterdir() if "backup" in path.name]


def test_backup__into_a_folder_that_is_not_there__is_refused(filled: Database, tmp_path: Path) -> None:
    with pytest.raises(BackupRefused, match="cannot be written"):
        back_up(filled, tmp_path / "nowhere" / "backup.db", silent)


def test_backup__of_a_database_without_a_schema__is_refused(empty_database: Database, file: Path) -> None:
    with pytest.raises(BackupRefused, match="there is nothing in"):
        back_up(empty_database, file, silent)


def test_restore__into_an_empty_database_of_either_engine__brings_every_row(
    filled: Database, database_url: str, file: Path, empty: Database, new_url_of: Callable[[Database], sa.URL]
) -> None:
    back_up(filled, file, silent)
    restore(empty, file, silent)
    of_processes = ("leases", "standings", "counters")
    assert content(new_url_of(empty), *of_processes) == content(database_url, *of_processes)
    assert empty.revisions()[0] == filled.revisions()[0]


@pytest.fixture
def new_url_of() -> Callable[[Database], sa.URL]:
    return lambda database: database._url


def test_restore__counters_of_what_clients_remember__jump_ahead(filled: Database, file: Path, empty: Database) -> None:
    with filled.unit_of_work(write=False) as store:
        before = store.events.last(), store.outcomes.seq(), store.candles.seq()
    back_up(filled, file, silent)
    restore(empty, file, silent)
    with empty.unit_of_work(write=False) as store:
        after = store.events.last(), store.outcomes.seq(), store.candles.seq()
    assert after == (before[0] + COUNTERS_JUMP, before[1] + COUNTERS_JUMP, before[2])


def test_restore__a_stream_client_that_remembers_a_later_event__is_told_to_begin_anew(
    filled: Database, file: Path, empty: Database, make_prediction: Callable[..., Prediction], window_end_ms: int
) -> None:
    back_up(filled, file, silent)
    restore(empty, file, silent)
    with empty.unit_of_work() as store:
        assert store.predictions.add(make_prediction(window_end_ms=window_end_ms + 3_600_000))
    with filled.unit_of_work(write=False) as store:
        remembered = store.events.last() + 1

    async def told(last_event_id: int) -> bytes:
        watcher = EventWatcher(empty)
        with empty.unit_of_work(write=False) as store:
            watcher.seq = store.events.last()
        streams = Streams(empty, watcher, Places("streams", 10, 10))
        client = Client(Wanted(frozenset(), frozenset()), watcher.seq)
        return b"".join([part async for part in streams.missed(client, last_event_id)])

    for number in (remembered, remembered + 500):
        message = asyncio.run(told(number))
        assert b"event: reset" in message
        assert b"event: prediction" not in message


def test_restore__new_rows_afterwards__take_numbers_that_are_free(
    filled: Database, file: Path, empty: Database, make_prediction: Callable[..., Prediction]
) -> None:
    back_up(filled, file, silent)
    restore(empty, file, silent)
    attempt = Attempt(make_prediction().id, 1, AttemptOutcome.PROVED, None, "me", 1, None, None, None, None, 5)
    with empty.unit_of_work() as store:
        store.attempts.add(attempt)


def test_restore__into_a_database_with_rows__is_refused_and_touches_nothing(
    filled: Database, file: Path, everything: Everything
) -> None:
    back_up(filled, file, silent)
    before = everything()
    with pytest.raises(BackupRefused, match=r"is not empty \(.* rows\): restore into a new database"):
        restore(filled, file, silent)
    assert everything() == before


def test_restore__of_an_old_schema__is_upgraded(
    database: Database, at_revision: Callable[[str], Database], fill: Callable[[], None], file: Path, empty: Database
) -> None:
    database.downgrade("0001")
    fill()
    back_up(database, file, silent)
    empty.upgrade()
    restored = restore(empty, file, silent)
    assert restored.schema == "0001"
    assert empty.revisions()[0] == empty.revisions()[1]
    with empty.unit_of_work(write=False) as store:
        assert len(store.predictions.history("btc-usdt-4h", None, None, 10)) == 1


@pytest.fixture
def spoilt(sqlite_database: Database, file: Path) -> Callable[[Callable[[Path], Any]], Path]:
    """A backup that something was done to."""

    def make(spoil: Callable[[Path], Any]) -> Path:
        back_up(sqlite_database, file, silent)
        spoil(file)
        return file

    return make


def _newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0123'")
        connection.commit()


def _somebody_elses(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (id)")


def _cut(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_newer, "has schema '0123', which this version does not know"),
        (_somebody_elses, "is no backup of a VeriRegime database"),
        (_cut, "is damaged|malformed"),
        (lambda file: file.write_bytes(b"no database " * 500), "cannot be read: file is not a database"),
        (Path.unlink, "there is no file"),
    ],
    ids=["newer", "somebody-elses", "truncated", "no-database", "gone"],
)
def test_restore__of_a_file_that_is_no_sound_backup__is_refused_before_anything_is_made(
    spoilt: Callable[[Callable[[Path], Any]], Path],
    spoil: Callable[[Path], Any],
    said: str,
    tmp_path: Path,
    migrations: Path,
) -> None:
    file = spoilt(spoil)
    target = Database(f"sqlite:///{tmp_path / 'target.db'}", migrations)
    with pytest.raises(BackupRefused, match=said):
        restore(target, file, silent)
    assert not (tmp_path / "target.db").exists()


def test_restore__of_what_a_downgrade_would_need__goes_along(
    at_revision: Callable[[str], Database],
    connection: sa.Connection,
    fill: Callable[[], None],
    file: Path,
    empty: Database,
) -> None:
    database = at_revision("0002")
    fill()
    connection.execute(sa.text("UPDATE submissions SET state = 'sent'"))
    connection.execute(sa.text("UPDATE predictions SET status = 'submitted'"))
    database.upgrade()
    assert back_up(database, file, silent).rows["former_submissions"] == 1
    restore(empty, file, silent)
    empty.downgrade("0002")
    with empty.one_look() as restored:
        assert restored.execute(sa.text("SELECT state FROM submissions")).scalars().all() == ["sent"]
