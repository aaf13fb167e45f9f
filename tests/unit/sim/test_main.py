from __future__ import annotations

from pathlib import Path

import pytest

from app.candles.files import read_candles
from app.sim.__main__ import main, markets_of, venue_and_file
from app.sim.market import FOREVER_MS

START = 1_757_937_600_000
CSV = """open_time,open,high,low,close,volume
1757937600000,100,101,99,100.5,1
1757937660000,100.5,101,99,100,1
"""


@pytest.fixture
def candle_file(tmp_path: Path) -> Path:
    path = tmp_path / "candles.csv"
    path.write_text(CSV)
    return path


def test_main__time_outside_the_file__says_what_the_file_holds(
    candle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--candles", str(candle_file), "--at", "2025-09-15T13:00:00Z"]) == 2
    assert capsys.readouterr().err == (
        f"2025-09-15T13:00:00Z is outside {candle_file}, "
        "which runs from 2025-09-15T12:00:00Z to 2025-09-15T12:02:00Z: choose a time with --at\n"
    )


def test_main__file_that_is_wrong__says_why(candle_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    candle_file.write_text(CSV + "1757937660000,1,1,1,1,1\n")
    assert main(["--candles", str(candle_file)]) == 2
    assert "stands twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fault", "okx:late"], "'okx' is not a simulated venue: it is one of binance, coinbase, kraken\n"),
        (["--candles", "{file}", "--fault", "kraken:late"], "'kraken' does not run here: only binance\n"),
        (
            ["--candles", "{file}", "--candles", "binance={file}"],
            "binance has two files of candles: give each venue one\n",
        ),
    ],
)
def test_main__fault_or_file_that_does_not_fit__says_why(
    candle_file: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [argument.format(file=candle_file) for argument in arguments]
    assert main(["--at", "2025-09-15T12:01:00Z", *told]) == 2
    assert capsys.readouterr().err == words


def test_candles__with_a_venue_or_without__are_whose_they_are() -> None:
    assert venue_and_file("kraken=a=b.csv") == ("kraken", Path("a=b.csv"))
    assert venue_and_file("a=b.csv") == ("binance", Path("a=b.csv"))


def test_markets__two_files__are_the_only_venues(candle_file: Path) -> None:
    markets = markets_of([str(candle_file), f"kraken={candle_file}"], "BTC/USDT", 0, START)
    assert set(markets) == {"binance", "kraken"}
    assert markets["kraken"].candles("BTC/USDT", 0, FOREVER_MS).rows() == read_candles(candle_file).rows()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--at", "tomorrow"], "'tomorrow' is not a time: write it like 2025-09-15T12:00:00Z"),
        (["--speed", "0"], "'0' is not a speed"),
        (["--port", "65536"], "'65536' is not a port"),
        (["--symbol", "BTCUSDT"], "write it like BTC/USDT"),
        (["--clients", "0"], "'0' is not a number of clients"),
    ],
)
def test_main__argument_that_does_not_fit__is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert words in capsys.readouterr().err
