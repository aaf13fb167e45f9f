from __future__ import annotations

from pathlib import Path

import pytest

from app.sim.__main__ import main

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
        (["--at", "tomorrow"], "'tomorrow' is not a time: write it like 2025-09-15T12:00:00Z"),
        (["--speed", "0"], "'0' is not a speed"),
        (["--port", "65536"], "'65536' is not a port"),
        (["--symbol", "BTCUSDT"], "write it like BTC/USDT"),
    ],
)
def test_main__argument_that_does_not_fit__is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert words in capsys.readouterr().err
