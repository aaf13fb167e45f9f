from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest

from app.candles.recording import Gaps, Recording, _Parts, record, sparingly
from app.candles.venue import Page, Venue
from app.errors import BadInput, CandleFileInvalid
from app.types import MINUTE_MS, Candles

MINUTES = 3_000
SYMBOL = "BTC/USDT"


@pytest.fixture
def candles(make_candles: Callable[..., Candles]) -> Candles:
    """A file keeps volumes as float32, so these are."""
    made = make_candles(MINUTES)
    return replace(made, volume=made.volume.astype(np.float32).astype(np.float64))


@pytest.fixture
def venue(candles: Candles, make_venue: Callable[..., Any], window_end_ms: int) -> Any:
    """Pages of a scripted market whose clock stands at its end."""
    scripted = make_venue(candles)
    scripted.time_ms = lambda: window_end_ms
    return scripted


@pytest.fixture
def fetch(venue: Any, tmp_path: Path, window_end_ms: int) -> Callable[..., Recording]:
    def fetched(**options: Any) -> Recording:
        start_ms = window_end_ms - MINUTES * MINUTE_MS
        return record(tmp_path / "btc.parquet", cast(Venue, venue), SYMBOL, start_ms, window_end_ms, **options)

    return fetched


@pytest.fixture
def parts(tmp_path: Path) -> _Parts:
    folder = tmp_path / "btc.parquet.parts"
    folder.mkdir()
    return _Parts(folder, "binance", SYMBOL)


def minutes(*numbers: int) -> Any:
    return np.asarray(numbers, dtype=np.int64) * MINUTE_MS


@pytest.mark.parametrize(
    ("open_times", "gaps"),
    [
        (minutes(1, 2, 3), Gaps(0, 0, 0, None)),
        (minutes(1), Gaps(0, 0, 0, None)),
        (minutes(1, 3, 10, 11, 18), Gaps(3, 13, 6, 4 * MINUTE_MS)),
    ],
    ids=["none", "one candle", "the first of two longest"],
)
def test_gaps__of_open_times__are_counted_between_first_and_last(open_times: Any, gaps: Gaps) -> None:
    assert Gaps.of(open_times) == gaps


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ([], [(10, 20)]),
        ([(10, 20)], []),
        ([(5, 25)], []),
        ([(10, 12), (12, 15)], [(15, 20)]),
        ([(5, 8), (12, 14), (18, 30)], [(10, 12), (14, 18)]),
        ([(22, 30)], [(10, 20)]),
    ],
)
def test_parts__missing__is_what_no_part_covers(
    parts: _Parts, window_end_ms: int, there: list[tuple[int, int]], missing: list[tuple[int, int]]
) -> None:
    def at(minute: int) -> int:
        return window_end_ms + minute * MINUTE_MS

    for first, last in there:
        parts.keep(at(first), at(last), Candles.from_rows([]))
    assert parts.missing(at(10), at(20)) == [(at(first), at(last)) for first, last in missing]


def test_record__ctrl_c_between_pages__loses_no_page(
    fetch: Callable[..., Recording], venue: Any, candles: Candles, parts: _Parts
) -> None:
    venue.error, venue.fails_at_page = KeyboardInterrupt(), 3
    with pytest.raises(KeyboardInterrupt):
        fetch()
    assert len(parts.spans()) == 2
    venue.fails_at_page = None
    assert fetch().candles.digest() == candles.digest()
    first_ms = int(candles.open_time_ms[0])
    assert venue.asked[-1] == (first_ms + 2_000 * MINUTE_MS, first_ms + MINUTES * MINUTE_MS)


def test_record__stretch_without_candles__is_not_asked_for_again(
    fetch: Callable[..., Recording], venue: Any, candles: Candles
) -> None:
    venue.hidden = set(candles.open_time_ms[:1_500].tolist())
    venue.error, venue.fails_at_page = KeyboardInterrupt(), 2
    with pytest.raises(KeyboardInterrupt):
        fetch()
    venue.fails_at_page = None
    made = fetch()
    assert venue.asked[-1][0] == candles.open_time_ms[1_000]
    assert len(made.candles) == 1_500


def test_record__progress__counts_from_what_is_there_to_the_whole(fetch: Callable[..., Recording], venue: Any) -> None:
    shown: list[tuple[str, int, int]] = []
    venue.error, venue.fails_at_page = KeyboardInterrupt(), 2
    with pytest.raises(KeyboardInterrupt):
        fetch(show=lambda *progress: shown.append(progress))
    venue.fails_at_page = None
    fetch(show=lambda *progress: shown.append(progress))
    assert shown == [("binance", done, MINUTES) for done in (1_000, 2_000, 3_000)]


def test_record__trailing_minutes_that_came_late__are_in_the_extended_file(
    venue: Any, candles: Candles, tmp_path: Path, window_end_ms: int
) -> None:
    start_ms, earlier_ms = int(candles.open_time_ms[0]), window_end_ms - 100 * MINUTE_MS
    venue.hidden = {earlier_ms - MINUTE_MS}
    made = record(tmp_path / "btc.parquet", venue, SYMBOL, start_ms, earlier_ms)
    assert "binance has nothing from 2025-09-15T10:19:00Z to 2025-09-15T10:20:00Z" in made.summary()
    venue.hidden = set()
    extended = record(tmp_path / "btc.parquet", venue, SYMBOL, start_ms, window_end_ms)
    assert extended.candles.digest() == candles.digest()


def test_record__file_that_is_complete__is_said_to_be(fetch: Callable[..., Recording]) -> None:
    said: list[str] = []
    fetch()
    fetch(say=said.append)
    assert len(said) == 1
    assert "btc.parquet is complete: nothing to fetch" in said[0]


def test_record__disk_that_is_full__is_one_line_and_keeps_the_parts(
    fetch: Callable[..., Recording], monkeypatch: pytest.MonkeyPatch, parts: _Parts
) -> None:
    write = pa_parquet.write_table

    def until_full(table: Any, *where: Any, **options: Any) -> None:
        if len(parts.spans()) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(table, *where, **options)

    monkeypatch.setattr(pa_parquet, "write_table", until_full)
    with pytest.raises(CandleFileInvalid, match=r"cannot be written: .*No space left on device"):
        fetch()
    assert len(parts.spans()) == 2


def test_record__range_that_begins_now__has_nothing_to_fetch(venue: Any, tmp_path: Path, window_end_ms: int) -> None:
    with pytest.raises(BadInput, match="there is nothing to fetch"):
        record(tmp_path / "btc.parquet", venue, SYMBOL, window_end_ms, None)
    assert list(tmp_path.iterdir()) == []


def test_record__page_that_overlaps_another__never_becomes_a_file(
    fetch: Callable[..., Recording], venue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = venue.pages

    def overlapping(*asked: Any) -> Iterator[Page]:
        first, *others = pages(*asked)
        yield from (first, Page(first.candles, done=2_000, total=MINUTES), others[-1])

    monkeypatch.setattr(venue, "pages", overlapping)
    with pytest.raises(CandleFileInvalid, match="is earlier than the row before it"):
        fetch()
    assert not (tmp_path / "btc.parquet").exists()


def test_sparingly__thousands_of_pages__become_a_line_a_percent_and_ten_seconds() -> None:
    now_s = 0.0
    shown: list[int] = []
    show = sparingly(lambda _, done, total: shown.append(done * 100 // total), clock=lambda: now_s)
    for done in range(1, 2_501):
        now_s += 0.5
        show("binance", done, 2_500)
    assert shown == [0, *range(1, 101)]


def test_sparingly__quick_fetch__shows_its_first_and_last_page_alone() -> None:
    shown: list[int] = []
    show = sparingly(lambda _, done, total: shown.append(done), clock=lambda: 0.0)
    for done in (1, 2, 3, 4):
        show("binance", done, 4)
    assert shown == [1, 4]
