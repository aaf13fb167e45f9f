"""What the candle store takes and gives: ``veriregime bench candles``.

A database of its own is filled with the history of three venues, as the fetchers would, and asked what the collector
asks: the window of a week, on a connection that was not open before.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.errors import BadInput
from app.features.variation import CANDLES_NEEDED
from app.settings import asset
from app.sim.market import SimulatedMarket
from app.store.database import Database
from app.types import MINUTE_MS, Candles

Say = Callable[[str], None]
MARKETS = {"binance": "BTC/USDT", "coinbase": "BTC/USD", "kraken": "BTC/USD"}
_SYMBOL = "BTC/USDT"
_END_MS = 1_757_937_600_000
_DAY_MINUTES = 1_440
_WEEK_MINUTES = 7 * _DAY_MINUTES
_REPEATS = 15


@contextmanager
def scratch_database(folder: Path, url: str | None) -> Iterator[Database]:
    """A new SQLite file under ``folder`` that is gone afterwards, or the database at ``url``, emptied again.

    Raises `BadInput` when that one is not empty, `StoreUnavailable` when it cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        chosen = url or f"sqlite:///{Path(scratch) / 'candles.db'}"
        with closing(Database(chosen, asset("migrations"))) as database:
            if database.revisions()[0] is not None:
                raise BadInput(f"{database.name} is in use: name an empty database with --database-url")
            database.upgrade()
            try:
                yield database
            finally:
                database.downgrade("base")


def bench_candles(database: Database, *, days: int, say: Say) -> dict[str, Any]:
    """Milliseconds, medians, each of a whole transaction. ``database`` has its schema and no candles."""
    minutes = days * _DAY_MINUTES
    history = SimulatedMarket(0).candles(_SYMBOL, _END_MS - minutes * MINUTE_MS, _END_MS + _REPEATS * MINUTE_MS)
    empty_bytes = _size(database)
    _fill(database, history.between(0, _END_MS), say)
    filled_bytes = _size(database)
    say("reading")
    one = dict(list(MARKETS.items())[:1])
    return {
        "database": database.name.split(":")[0].split("+")[0],
        "venues": len(MARKETS),
        "days": days,
        "candles": len(MARKETS) * minutes,
        "window_minutes": CANDLES_NEEDED,
        "window_ms": {"one_venue": _reading_ms(database, one), "three_venues": _reading_ms(database, MARKETS)},
        "add_ms": _adding_ms(database, history.between(_END_MS, _END_MS + _REPEATS * MINUTE_MS)),
        "prune_ms": _pruning_ms(database),
        "rows_per_week": _WEEK_MINUTES,
        "bytes_per_week": round((filled_bytes - empty_bytes) * _WEEK_MINUTES / (len(MARKETS) * minutes)),
    }


def as_text(found: dict[str, Any]) -> str:
    window_ms = found["window_ms"]
    return "\n".join(
        (
            f"{found['database']}: {found['candles']:,} candles of {found['venues']} venues, {found['days']} days",
            f"window of {found['window_minutes']:,} minutes on a new connection: one venue "
            f"{window_ms['one_venue']:.1f} ms, {found['venues']} venues {window_ms['three_venues']:.1f} ms",
            f"adding a minute {found['add_ms']:.1f} ms, pruning a slice {found['prune_ms']:.1f} ms",
            f"a venue's week: {found['rows_per_week']:,} rows, {found['bytes_per_week'] / 2**20:.2f} MiB",
        )
    )


def _size(database: Database) -> int:
    with database.unit_of_work(write=False) as store:
        return store.size_bytes()


def _fill(database: Database, history: Candles, say: Say) -> None:
    first_ms = int(history.open_time_ms[0])
    for start_ms in range(first_ms, _END_MS, _DAY_MINUTES * MINUTE_MS):
        say(f"filling, {(start_ms - first_ms) * 100 // (_END_MS - first_ms)} %")
        for venue, symbol in MARKETS.items():
            _add(database, venue, symbol, history.between(start_ms, start_ms + _DAY_MINUTES * MINUTE_MS))


def _add(database: Database, venue: str, symbol: str, page: Candles) -> None:
    with database.unit_of_work() as store:
        store.candles.add(venue, symbol, page)
        store.candles.cover(venue, symbol, int(page.open_time_ms[0]), int(page.open_time_ms[-1]) + MINUTE_MS)


def _reading_ms(database: Database, markets: Mapping[str, str]) -> float:
    def read() -> None:
        with database.unit_of_work(write=False) as store:
            as_of = store.candles.seq()
            store.candles.window(markets, _END_MS - CANDLES_NEEDED * MINUTE_MS, _END_MS, as_of)

    taken = []
    for _ in range(_REPEATS):
        database.close()  # the next transaction opens a connection anew
        taken.append(_ms(read))
    return _median(taken)


def _adding_ms(database: Database, candles: Candles) -> float:
    times = candles.open_time_ms.tolist()
    pages = [candles.between(opened, opened + MINUTE_MS) for opened in times]
    venue, symbol = next(iter(MARKETS.items()))
    return _median([_ms(partial(_add, database, venue, symbol, page)) for page in pages])


def _pruning_ms(database: Database) -> float:
    """Of one slice, while which others wait; all that is older than the window goes."""
    pruned = [-1]

    def prune() -> None:
        with database.unit_of_work() as store:
            pruned.append(store.candles.prune(_END_MS - CANDLES_NEEDED * MINUTE_MS))

    taken = []
    while pruned[-1]:
        taken.append(_ms(prune))
    return _median(taken[:-1])


def _ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - started)


def _median(taken: list[float]) -> float:
    return round(statistics.median(taken), 2)
