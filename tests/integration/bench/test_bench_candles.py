"""The bench of the candle store, on eight days."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.bench.candles import as_text, bench_candles, scratch_database
from app.errors import BadInput
from app.store.database import Database


def test_bench_candles__times_reading_adding_and_pruning_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with scratch_database(tmp_path, None) as database:
        found = bench_candles(database, days=8, say=lambda _: None)
    assert (found["database"], found["venues"], found["candles"]) == ("sqlite", 3, 3 * 8 * 1440)
    assert 0 < found["window_ms"]["one_venue"] < found["window_ms"]["three_venues"]
    assert found["add_ms"] > 0
    assert found["prune_ms"] > 0
    assert 10_080 * 6 * 8 < found["bytes_per_week"] < 2_000_000  # at least the numbers, at most twice as much around
    assert "MiB" in as_text(found)
    assert list(tmp_path.iterdir()) == []


def test_bench_candles__a_database_that_is_in_use__is_refused_and_left_alone(
    sqlite_database: Database, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="is in use"), scratch_database(tmp_path, sqlite_database.name):
        pass
    assert sqlite_database.revisions()[0] is not None
