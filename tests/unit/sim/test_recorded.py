from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import CandleFileInvalid
from app.sim.market import Listing
from app.sim.recorded import RecordedMarket
from app.types import MINUTE_MS, Candles, parse_time

START = parse_time("2025-09-15T12:00:00Z")
ROWS = [
    [START, 115_000.1, 115_010.0, 114_990.25, 115_000.0, 1.5],
    [START + MINUTE_MS, 115_000.0, 115_000.0, 114_000.0, 114_500.5, 2.125],
    [START + 5 * MINUTE_MS, 114_600.0, 114_700.0, 114_600.0, 114_650.0, 0.0],
]


def test_recorded__candles__keep_times_values_and_gaps() -> None:
    recorded = Candles.from_rows(ROWS)
    market = RecordedMarket("BTC/USDT", recorded)
    assert market.symbols == ("BTC/USDT",)
    assert market.span("BTC/USDT") == (START, START + 6 * MINUTE_MS)
    assert market.candles("BTC/USDT", 0, START + 60 * MINUTE_MS).rows() == recorded.rows()
    assert market.candles("BTC/USDT", START + MINUTE_MS, START + 5 * MINUTE_MS).rows() == ROWS[1:2]


def test_recorded__listing__has_the_decimals_of_the_data() -> None:
    assert RecordedMarket("BTC/USDT", Candles.from_rows(ROWS)).listing("BTC/USDT") == Listing("BTC/USDT", 2, 3)


def test_recorded__another_symbol__is_a_key_error() -> None:
    market = RecordedMarket("BTC/USDT", Candles.from_rows(ROWS))
    with pytest.raises(KeyError):
        market.candles("ETH/USDT", 0, START)


def test_recorded__file_that_is_not_there__is_refused(tmp_path: Path) -> None:
    with pytest.raises(CandleFileInvalid, match="does not exist"):
        RecordedMarket.of_file(tmp_path / "none.parquet", "BTC/USDT")
