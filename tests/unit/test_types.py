from __future__ import annotations

import hashlib
import struct
from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.types import MINUTE_MS, Candles, ModelId, iso, parse_time, prediction_id

ROWS = [[60_000, 1.0, 3.0, 0.5, 2.0, 10.0], [180_000, 2.0, 2.5, 1.5, 1.75, 0.0]]


@pytest.fixture
def candles() -> Candles:
    return Candles.from_rows(ROWS)


def test_candles__from_rows_and_back__are_the_same_rows(candles: Candles) -> None:
    assert candles.rows() == ROWS


def test_candles__time_in_rows__is_an_int(candles: Candles) -> None:
    assert [type(row[0]) for row in candles.rows()] == [int, int]


def test_candles__from_no_rows__are_empty() -> None:
    assert len(Candles.from_rows([])) == 0


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "expected"),
    [(60_000, 180_000, [60_000]), (60_001, 180_001, [180_000]), (0, 60_000, []), (0, 10**13, [60_000, 180_000])],
)
def test_between__bounds__include_the_start_and_not_the_end(
    candles: Candles, start_ms: int, end_ms: int, expected: list[int]
) -> None:
    assert candles.between(start_ms, end_ms).open_time_ms.tolist() == expected


def test_between__every_column__is_cut_alike(candles: Candles) -> None:
    assert candles.between(180_000, 240_000).rows() == ROWS[1:]


def test_digest__is_sha256_of_little_endian_doubles(candles: Candles) -> None:
    packed = b"".join(struct.pack("<6d", *row) for row in ROWS)
    assert candles.digest() == hashlib.sha256(packed).hexdigest()


@pytest.mark.parametrize("column", ["open_time_ms", "open", "high", "low", "close", "volume"])
def test_digest__smallest_change_of_any_column__is_another(candles: Candles, column: str) -> None:
    values = getattr(candles, column).copy()
    values[1] = values[1] + 1 if column == "open_time_ms" else np.nextafter(values[1], np.inf)
    assert replace(candles, **{column: values}).digest() != candles.digest()


def test_candles__once_made__cannot_be_reassigned(candles: Candles) -> None:
    with pytest.raises(FrozenInstanceError):
        candles.close = candles.open  # type: ignore[misc]


def test_prediction_id__is_the_head_of_a_sha256_of_its_key() -> None:
    whole = hashlib.sha256(b"btc-usdt-4h|1757937600000|abcd").hexdigest()
    assert prediction_id("btc-usdt-4h", 1_757_937_600_000, ModelId("abcd")) == whole[:32]


def test_iso__whole_second__has_no_fraction() -> None:
    assert iso(1_757_937_600_000) == "2025-09-15T12:00:00Z"


def test_iso__milliseconds__are_kept() -> None:
    assert iso(1_757_937_600_007) == "2025-09-15T12:00:00.007Z"


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_parse_time__of_iso__is_the_same_millisecond(time_ms: int) -> None:
    assert parse_time(iso(time_ms)) == time_ms


def test_parse_time__without_zone__is_utc() -> None:
    assert parse_time("2025-09-15T12:00:00") == 1_757_937_600_000


def test_parse_time__with_another_zone__is_converted() -> None:
    there = datetime(2025, 9, 15, 14, tzinfo=timezone(timedelta(hours=2)))
    assert parse_time(there.isoformat()) == 1_757_937_600_000


def test_parse_time__thirteen_digits__are_epoch_milliseconds() -> None:
    assert parse_time("1757937600123") == 1_757_937_600_123


def test_parse_time__a_date__is_its_midnight() -> None:
    assert parse_time("2025-09-15") == 1_757_937_600_000 - 12 * 60 * MINUTE_MS


@pytest.mark.parametrize("text", ["", "yesterday", "2025-13-01", "25:00", "1757937600"])
def test_parse_time__something_else__is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 2025-09-15T12:00:00Z"):
        parse_time(text)
